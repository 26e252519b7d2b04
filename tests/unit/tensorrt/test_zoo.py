"""NVIDIA's builder takes every network of the zoo in every precision, and the engines compute in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from espdeploy import export
from espdeploy.backends.tensorrt.api import Api
from espdeploy.backends.tensorrt.build import build
from espdeploy.backends.tensorrt.layers import is_convolution
from espdeploy.backends.tensorrt.plan import TensorRTPlan
from espdeploy.networks.build import build as build_network
from espdeploy.networks.registry import REGISTRY
from espdeploy.passes import apply, pipeline_for
from espdeploy.quantize.fp16 import to_fp16
from espdeploy.quantize.qdq import quantize
from espdeploy.specs import ImageSize, ModelSpec

SMALL_ERU = {"seq_len": "4", "layers": "2", "hidden": "80", "classes": "500"}


def exported(name: str) -> onnx.ModelProto:
    if REGISTRY[name].inputs is None:
        network = build_network(ModelSpec(name=name), size=ImageSize(width=128, height=64))
    else:
        network = build_network(ModelSpec(name=name, settings=SMALL_ERU))
    model = export.trace_named(network.module, inputs=network.inputs, outputs=network.outputs, batch=1, opset=13)
    return apply(model, pipeline_for(simplify=True)).model


def lowered(model: onnx.ModelProto) -> dict[str, onnx.ModelProto]:
    """The network in each precision; the ranges are made up, since nothing is run."""
    tensors = {name for node in model.graph.node for name in node.input}
    return {
        "fp32": model,
        "fp16": to_fp16(model).model,
        "int8": quantize(model, dict.fromkeys(tensors, 4.0)).model,
    }


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_network_is_built_in_every_precision(
    rtx: Api, plan_for: Callable[..., TensorRTPlan], tmp_path: Path, name: str
) -> None:
    for precision, model in lowered(exported(name)).items():
        file = tmp_path / f"{precision}.onnx"
        onnx.save(model, file)
        report = build(plan_for(rtx, file, precision), rtx.kind)
        found = {(layer.type, layer.precision) for layer in report.layers if is_convolution(layer)}
        # TensorRT-RTX has no transposed convolution in INT8, and the engine says so
        transposed = "fp32" if precision == "int8" else precision
        assert found <= {("convolution", precision), ("deconvolution", transposed)}
        assert ("convolution", precision) in found
        assert report.layers_from == "engine"
