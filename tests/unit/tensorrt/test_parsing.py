"""What NVIDIA's parser refuses comes out with operator, node and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from espdeploy.backends.tensorrt.api import Api
from espdeploy.backends.tensorrt.build import build
from espdeploy.errors import InputFileError

Write = Callable[..., Path]
Plan = Callable[..., object]


def refused(api: Api, plan_for: Callable[..., object], file: Path) -> InputFileError:
    with pytest.raises(InputFileError) as caught:
        build(plan_for(api, file), api.kind)  # type: ignore[arg-type]
    assert not (file.parent / "made").exists() or not list((file.parent / "made").iterdir())
    assert str(file) in caught.value.what
    assert "\n" not in caught.value.what + caught.value.why + caught.value.do
    assert caught.value.do
    return caught.value


def test_an_unknown_operator_is_named_with_its_node(api: Api, plan_for: Plan, write_onnx: Write) -> None:
    error = refused(
        api, plan_for, write_onnx("g (float[4] input) => (float[4] output) { [odd] output = NotAnOperator(input) }")
    )
    assert 'the operator NotAnOperator (node "odd")' in error.what
    assert "has no NotAnOperator" in error.why


def test_a_node_without_a_name_is_known_by_what_it_writes(api: Api, plan_for: Plan, write_onnx: Write) -> None:
    text = "g (float[4] input) => (float[4] output) { a = Foo(input)\n b = Bar(a)\n output = Add(a, b) }"
    error = refused(api, plan_for, write_onnx(text))
    assert 'Foo (the node that writes "a") and 1 more' in error.what
    assert 'Bar (the node that writes "b")' in error.why


@pytest.mark.parametrize(
    ("text", "operator", "why", "do"),
    [
        ("output = Det(input)", "Det", "has no Det", "onnxruntime"),
        ("output = LpPool <kernel_shape=[4,4], p=3> (input)", "LpPool", "Only L1 and L2", "other operators"),
        ("output = Add(input, nowhere)", "Add", "not registered", "export the network again"),
        ("q = QuantizeLinear(input, s, z)\n output = DequantizeLinear(q, s, z)", "QuantizeLinear", "zero", "symmetric"),
        ("b = DequantizeLinear(i, s)\n output = Add(input, b)", "DequantizeLinear", "Int32", "QuantizeBias"),
        ("output = Add(input, five)", "Add", "conformable", "shapes"),
    ],
)
def test_a_reason_comes_with_its_remedy(  # noqa: PLR0917  # four facts about one case
    api: Api, plan_for: Plan, write_onnx: Write, text: str, operator: str, why: str, do: str
) -> None:
    weights = {
        "s": np.array(0.1, np.float32),
        "z": np.array(128, np.uint8),
        "i": np.zeros(4, np.int32),
        "five": np.zeros(5, np.float32),
    }
    used = {name: value for name, value in weights.items() if name in text}
    file = write_onnx(f"g (float[1,1,4,4] input) => (float[] output) {{ {text} }}", **used)
    error = refused(api, plan_for, file)
    assert operator in error.what
    assert why in error.why
    assert do in error.do


def test_weights_that_lie_elsewhere_are_named(api: Api, plan_for: Plan, write_onnx: Write, tmp_path: Path) -> None:
    model = onnx.load(write_onnx("g (float[4] input) => (float[4] output) { output = Add(input, w) }"))
    model.graph.initializer.append(numpy_helper.from_array(np.ones(4, np.float32), "w"))
    file = tmp_path / "split.onnx"
    onnx.save(model, file, save_as_external_data=True, location="split.bin", size_threshold=0)
    (tmp_path / "split.bin").unlink()
    assert "split.bin" in refused(api, plan_for, file).what


@pytest.mark.parametrize("content", [b"", b"hello world" * 10, bytes(4096)])
def test_what_is_no_onnx_file_does_not_reach_the_parser(
    api: Api, plan_for: Plan, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "net.onnx").write_bytes(content)  # the parser takes some of these for an empty network
    refused(api, plan_for, tmp_path / "net.onnx")


def test_a_network_without_an_output_is_refused(api: Api, plan_for: Plan, write_onnx: Write) -> None:
    refused(api, plan_for, write_onnx("g (float[4] input) => () { a = Relu(input) }"))
