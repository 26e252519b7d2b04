"""NVIDIA's builder takes every network of the zoo in every precision and from both exporters, and computes in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from espdeploy.backends.tensorrt.api import Api
from espdeploy.backends.tensorrt.build import build
from espdeploy.backends.tensorrt.layers import is_convolution
from espdeploy.backends.tensorrt.plan import TensorRTPlan
from espdeploy.networks.registry import REGISTRY
from espdeploy.quantize.fp16 import to_fp16
from espdeploy.quantize.qdq import quantize

Plans = Callable[..., TensorRTPlan]


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
    rtx: Api, plan_for: Plans, written: Callable[..., Any], tmp_path: Path, name: str
) -> None:
    for precision, model in lowered(onnx.load(written(name).path)).items():
        file = tmp_path / f"{precision}.onnx"
        onnx.save(model, file)
        report = build(plan_for(rtx, file, precision), rtx.kind)
        found = {(layer.type, layer.precision) for layer in report.layers if is_convolution(layer)}
        # TensorRT-RTX has no transposed convolution in INT8, and the engine says so
        transposed = "fp32" if precision == "int8" else precision
        assert found <= {("convolution", precision), ("deconvolution", transposed)}
        assert ("convolution", precision) in found
        assert report.layers_from == "engine"
        assert report.size_mb * 1e6 > sum(len(tensor.raw_data) for tensor in model.graph.initializer)


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_network_is_built_from_the_default_opset(
    rtx: Api, plan_for: Plans, written: Callable[..., Any], name: str
) -> None:
    exported = written(name, opset=20).exported
    report = build(plan_for(rtx, exported.artifact.path), rtx.kind)
    assert report.size_mb * 1e6 > 4 * 0.95 * exported.params  # an engine carries the weights, but for folded ones
    assert {layer.precision for layer in report.layers if is_convolution(layer)} == {"fp32"}
