"""What is read off an ONNX file itself, and how a runtime's error is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from espdeploy.backends import onnx_precision
from espdeploy.backends.onnxruntime import OnnxRuntimeRunner
from espdeploy.backends.source import FileSource
from espdeploy.errors import InputFileError
from espdeploy.specs import RunSpec

onnx = pytest.importorskip("onnx")


def written(path: Path, body: str, *, opset: int = 13) -> Path:
    head = f'<ir_version: 8, opset_import: ["" : {opset}]> g (float[1,3,8,8] x) => (float[1,1,8,8] y)'
    onnx.save(onnx.parser.parse_model(f"{head} {body}"), path)
    return path


@pytest.mark.parametrize(
    ("body", "shares"),
    [
        ("<float[1,3,1,1] w = {1,1,1}> { y = Conv(x, w) }", {"fp32": 100.0}),
        ("{ w = Constant<value = float[1,3,1,1] {1,1,1}>() y = Conv(x, w) }", {"fp32": 100.0}),
        ("<float[1,3,1,1] v = {1,1,1}> { w = Relu(v) y = Conv(x, w) }", {"unknown": 100.0}),
        ("{ y = ReduceMean<axes = [1]>(x) }", None),
    ],
)
def test_the_precision_of_convolutions(body: str, shares: dict[str, float] | None, tmp_path: Path) -> None:
    assert onnx_precision.convolution_shares(written(tmp_path / "net.onnx", body)) == shares


_QUANTIZED = """<float[1,3,1,1] v = {1,1,1}, float s = {0.1}, int8 z = {0}, int8[1,3,1,1] q = {1,1,1}>
    { a = QuantizeLinear(x, s, z) b = DequantizeLinear(a, s, z) w = DequantizeLinear(q, s, z) %s }"""


@pytest.mark.parametrize(
    ("body", "precision"),
    [
        ("<float[1,3,1,1] w = {1,1,1}> { y = Conv(x, w) }", "fp32"),
        ("<float[1,3,1,1] v = {1,1,1}> { w = Relu(v) y = Conv(x, w) }", "fp32"),  # computed weights say nothing
        ("{ y = ReduceMean<axes = [1]>(x) }", "fp32"),
        ("<float16[1,3,1,1] w = {1,1,1}> { h = Cast<to = 10>(x) c = Conv(h, w) y = Cast<to = 1>(c) }", "fp16"),
        ("<double[1,3,1,1] w = {1,1,1}> { h = Cast<to = 11>(x) c = Conv(h, w) y = Cast<to = 1>(c) }", "fp32"),
        (_QUANTIZED % "y = Conv(b, w)", "int8"),
        (_QUANTIZED % "c = Conv(b, w) d = Conv(x, v) y = Add(c, d)", "mixed"),
        (_QUANTIZED % "y = Conv(b, v)", "mixed"),  # pairs, and no convolution between two of them
    ],
)
def test_the_precision_that_a_graph_is_written_for(body: str, precision: str, tmp_path: Path) -> None:
    assert onnx_precision.declared(written(tmp_path / "net.onnx", body)) == precision


def test_weights_outside_and_opsets_of_the_future(tmp_path: Path) -> None:
    import numpy as np

    net = written(tmp_path / "net.onnx", "<float[1,3,1,1] w = {1,1,1}> { y = Conv(x, w) }")
    assert onnx_precision.external_data(net) is None
    assert onnx_precision.unknown_opset(net) is None
    model = onnx.load(net)
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.ones((1, 3, 1, 1), np.float32), "w"))
    onnx.save(model, net, save_as_external_data=True, location="w.bin", size_threshold=0)
    assert onnx_precision.external_data(net) == "w.bin"
    future = onnx.defs.onnx_opset_version() + 1
    assert onnx_precision.unknown_opset(written(net, "{ y = ReduceMean<axes = [1]>(x) }", opset=future)) == future
    net.write_bytes(b"\x3a\x05hello")  # a graph by its frame, and none inside
    assert onnx_precision.unknown_opset(net) is None


def test_the_reason_is_told_without_places_in_foreign_source_code(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    net = written(tmp_path / "net.onnx", "{ y = ReduceMean<axes = [1]>(x) }", opset=99)
    with (
        pytest.raises(InputFileError, match="cannot open") as caught,
        OnnxRuntimeRunner(FileSource(path=net), RunSpec(runtime="onnxruntime", threads=1)),
    ):
        pass
    assert "99" in caught.value.why
    assert "onnxruntime_src" not in caught.value.why
    assert "[ONNXRuntimeError]" not in caught.value.why
