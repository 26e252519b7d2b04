"""The zoo as it is exported, and a runtime that computes in FP16 what a graph says is FP16."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from espdeploy.artifacts import ModelCard


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
def exported(written: Callable[..., Any]) -> Callable[..., tuple[onnx.ModelProto, ModelCard]]:
    """As the fixture ``written`` has it on disk, in memory and with its card."""

    @functools.cache
    def make(name: str, **how: Any) -> tuple[onnx.ModelProto, ModelCard]:
        model = onnx.load(written(name, **how).path)
        card = ModelCard.from_metadata({entry.key: entry.value for entry in model.metadata_props})
        assert card is not None
        return model, card

    return make
