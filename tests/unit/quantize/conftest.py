"""The zoo as it is exported, and a runtime that computes in FP16 what a graph says is FP16."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from espdeploy import export
from espdeploy.artifacts import ModelCard
from espdeploy.networks.build import build
from espdeploy.networks.registry import REGISTRY
from espdeploy.passes import apply, pipeline_for
from espdeploy.specs import ImageSize, ModelSpec

SIZE = ImageSize(width=128, height=64)
SMALL_ERU = {"seq_len": "4", "layers": "2", "hidden": "80", "classes": "500"}


@pytest.fixture(scope="session")
def rounding_session() -> Callable[[onnx.ModelProto], onnxruntime.InferenceSession]:
    """Opens a model in ONNX Runtime with every FP16 tensor rounded, as a device does that adds up in FP32.

    On its own ONNX Runtime's CPU provider computes FP16 graphs in FP32 throughout: it leaves out a cast to FP16 that
    a cast back follows. It does not where two nodes that move FP16 stand between.
    """

    def open_session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
        rounding = onnx.ModelProto.FromString(model.SerializeToString())
        described = onnx.shape_inference.infer_shapes(model).graph
        values = [*described.value_info, *described.output]
        half = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT16}
        nodes = []
        for original in model.graph.node:
            node = onnx.NodeProto.FromString(original.SerializeToString())
            node.output[:] = [f"{name}/exact" if name in half else name for name in original.output]
            nodes.append(node)
            for name in half.intersection(original.output):
                nodes.append(helper.make_node("Identity", [f"{name}/exact"], [f"{name}/rounded"]))
                nodes.append(helper.make_node("Identity", [f"{name}/rounded"], [name]))
        del rounding.graph.node[:], rounding.graph.value_info[:]
        rounding.graph.node.extend(nodes)
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return onnxruntime.InferenceSession(rounding.SerializeToString(), options, providers=["CPUExecutionProvider"])

    return open_session


@pytest.fixture(scope="session")
def run_rounding(rounding_session: Callable[..., onnxruntime.InferenceSession]) -> Callable[..., np.ndarray]:
    """The first output of a model for one set of inputs, as :func:`rounding_session` computes it."""
    return lambda model, **feed: rounding_session(model).run(None, feed)[0]


@pytest.fixture(scope="session")
def exported() -> Callable[..., tuple[onnx.ModelProto, ModelCard]]:
    """A network of the zoo, at 128x64 with fresh weights where nothing else is asked for, simplified."""

    @functools.cache
    def make(
        name: str, *, opset: int = 13, weights: Path | None = None, size: ImageSize = SIZE, dynamic: bool = False
    ) -> tuple[onnx.ModelProto, ModelCard]:
        if REGISTRY[name].inputs is None:
            network = build(ModelSpec(name=name, weights=weights), size=size)
        else:
            network = build(ModelSpec(name=name, settings=SMALL_ERU))
        batch = None if dynamic else 1
        model = export.trace_named(
            network.module, inputs=network.inputs, outputs=network.outputs, batch=batch, opset=opset
        )
        return apply(model, pipeline_for(simplify=True)).model, network.card

    return make
