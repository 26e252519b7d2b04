"""Which precision layers are said to compute in: by the typed network, by the engine, by the inspector."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from espdeploy.backends.tensorrt import layers, parsing, program
from espdeploy.backends.tensorrt.api import RTX, Api
from espdeploy.backends.tensorrt.build import build
from espdeploy.backends.tensorrt.layers import convolution_shares_pct, is_convolution
from espdeploy.backends.tensorrt.log import Messages
from espdeploy.backends.tensorrt.plan import LayerInfo, TensorRTPlan
from espdeploy.quantize.fp16 import to_fp16
from espdeploy.quantize.qdq import quantize

Plans = Callable[..., TensorRTPlan]


def lowered(net: Path, precision: str, only: tuple[str, ...] | None = None) -> Path:
    """The network in another precision, beside it."""
    model = onnx.load(net)
    if precision == "fp16":
        model = to_fp16(model).model
    elif precision == "int8":
        tensors = {name for node in model.graph.node for name in node.input}
        model = quantize(model, dict.fromkeys(tensors, 4.0), layers=only).model
    file = net.with_name(f"{precision}.onnx")
    onnx.save(model, file)
    return file


def typed(api: Api, file: Path) -> dict[str, str | None]:
    """What the typed network says of each convolution, by node."""
    network = parsing.parse(api, api.module.Builder(api.log.logger), file, Messages(), typed=True)
    found = layers.typed_layers(network)
    return {node: layer.precision for layer in found if is_convolution(layer) for node in layer.nodes}


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_typed_network_has_the_graphs_precision(api: Api, net: Path, precision: str) -> None:
    assert typed(api, lowered(net, precision)) == {"first": precision, "second": precision}


def test_a_layer_left_out_of_the_quantization_stays(api: Api, net: Path) -> None:
    assert typed(api, lowered(net, "int8", only=("first",))) == {"first": "int8", "second": "fp32"}


def test_weights_alone_in_int8_are_no_int8_convolution(api: Api, write_onnx: Callable[..., Path]) -> None:
    text = """g (float[1,3,16,32] input) => (float[1,8,14,30] output) {
        dq = DequantizeLinear(w, s)
        [only] output = Conv(input, dq)
    }"""
    file = write_onnx(text, w=np.ones((8, 3, 3, 3), np.int8), s=np.array(0.1, np.float32))
    assert typed(api, file) == {"only": "fp32"}


def test_int8_behind_a_reshape_is_found(api: Api, write_onnx: Callable[..., Path]) -> None:
    text = """g (float[1,3,32] input) => (float[1,8,30] output) {
        q = QuantizeLinear(input, s, z)
        d = DequantizeLinear(q, s, z)
        dw = DequantizeLinear(w, s, z)
        [flat] output = Conv(d, dw)
    }"""  # a convolution in one dimension is one in two to TensorRT
    scale, zero = np.array(0.1, np.float32), np.array(0, np.int8)
    assert typed(api, write_onnx(text, w=np.ones((8, 3, 3), np.int8), s=scale, z=zero)) == {"flat": "int8"}


@pytest.mark.parametrize(
    ("capability", "precision", "first", "second"),
    [
        ("8.9", "fp32", "fp32", "fp32"),
        ("8.9", "fp16", "fp16", "fp16"),
        ("8.9", "int8", "int8", "fp32"),  # its transposed convolutions have no INT8
        ("7.5", "int8", "fp32", "fp32"),  # NVIDIA's support matrix: no INT8 on Turing
    ],
)
def test_the_engine_says_what_it_really_computes_in(  # noqa: PLR0917  # four facts about one case
    rtx: Api, net: Path, plan_for: Plans, capability: str, precision: str, first: str, second: str
) -> None:
    plan = plan_for(rtx, lowered(net, precision), precision, compute_capability=capability)
    report = build(plan, RTX)
    by_node = {node: layer.precision for layer in report.layers if is_convolution(layer) for node in layer.nodes}
    assert (by_node["first"], by_node["second"]) == (first, second)
    assert report.layers_from == "engine"


def test_what_is_no_listing_says_nothing() -> None:
    for content in (
        b"",
        b"vtrt" + bytes(1000),
        b"\ndescriptors {\n tensor={ cut",
        b"\ndescriptors {\nmain {\n}\nmain {",
    ):
        assert program.node_precisions(content) == {}


def inspector(*entries: dict[str, object]) -> str:
    return json.dumps({"Layers": list(entries), "Bindings": ["input", "output"]})


def tensor(form: str) -> list[dict[str, object]]:
    return [{"Name": "t", "Location": "Device", "Dimensions": [1, 32, 8, 8], "Format/Datatype": form}]


@pytest.mark.parametrize(
    ("form", "precision"),
    [
        ("Row major linear FP32", "fp32"),
        ("Channel major FP16 format where channel % 8 == 0", "fp16"),
        ("Thirty-two wide channel vectorized row major Int8 format", "int8"),
        ("Half", "fp16"),
        ("Float", "fp32"),
        ("BFloat16", "bf16"),
        ("something else", None),
    ],
)
def test_the_inspectors_formats_are_read(form: str, precision: str | None) -> None:
    found = layers.inspected_layers(
        inspector(
            {
                "Name": "Conv_0 + Relu_1",
                "LayerType": "CaskConvolution",
                "Inputs": tensor(form),
                "Outputs": tensor(form),
                "ParameterType": "Convolution",
                "Metadata": "[ONNX Layer: Conv_0]\x1e[ONNX Layer: Relu_1]",
            }
        )
    )
    expected = LayerInfo(name="Conv_0 + Relu_1", type="convolution", precision=precision, nodes=("Conv_0", "Relu_1"))
    assert found == (expected,)
    assert convolution_shares_pct(found) == {precision or "unknown": 100.0}


@pytest.mark.parametrize("text", ["", "not json", "[]", "{}", '{"Layers": ["names only", "and no more"]}'])
def test_an_inspector_that_tells_little_is_no_error(text: str) -> None:
    assert layers.inspected_layers(text) == ()


def test_shares_count_convolutions_of_both_kinds_and_nothing_else() -> None:
    kinds = [("convolution", "int8"), ("caskdeconvolutionv2", "fp16"), ("matrix_multiply", "fp32")]
    found = [LayerInfo(name=kind, type=kind, precision=precision) for kind, precision in kinds]
    assert convolution_shares_pct(found) == {"fp16": 50.0, "int8": 50.0}
    assert convolution_shares_pct(found[2:]) is None
