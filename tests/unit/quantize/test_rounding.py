"""Layers rounded to FP16 and bf16, against PyTorch's own rounding and arithmetic done by hand."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from espdeploy.errors import UsageError
from espdeploy.quantize.rounding import round_layers, rounded

torch = pytest.importorskip("torch")
TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
numbers = arrays(np.float32, 16, elements=st.floats(width=32, allow_nan=False, allow_infinity=False))
#: two convolutions, of which the first multiplies by one and the second by a third
TEXT = """<ir_version: 8, opset_import: ["" : {opset}]> g (float[1,1,1,4] x) => (float[1,1,1,4] z)
<float[1,1,1,1] one = {{1}}, float[1,1,1,1] third = {{0.33333334}}>
{{ [a] y = Conv(x, one) [b] z = Conv(y, third) }}"""


def model(opset: int = 13) -> onnx.ModelProto:
    return onnx.parser.parse_model(TEXT.format(opset=opset))


def run(net: onnx.ModelProto, values: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(net.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": values.reshape(1, 1, 1, 4)})[0]).ravel()


def as_torch(values: np.ndarray, precision: str) -> np.ndarray:
    result: np.ndarray = torch.tensor(values).to(TYPES[precision]).float().numpy()
    return result


@given(numbers, st.sampled_from(["fp16", "bf16"]))
def test_numbers_are_rounded_as_pytorch_rounds_them(values: np.ndarray, precision: str) -> None:
    assert np.array_equal(rounded(values, precision), as_torch(values, precision))


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_layer_reads_rounded_numbers_in_onnx_runtime_as_it_optimises(precision: str) -> None:
    """Were the casts left out, 1.2345678 would come through whole."""
    values = np.array([1.2345678, -1e-3, 3.1415927, 300.7], dtype=np.float32)
    assert np.array_equal(
        run(round_layers(model(), ["a"], precision), values), as_torch(values, precision) * np.float32(1 / 3)
    )


def test_the_weight_is_rounded_too_and_the_other_layer_is_not() -> None:
    values = np.array([1.0, 2.0, 4.0, 8.0], dtype=np.float32)
    third = float(as_torch(np.float32([1 / 3]), "bf16")[0])
    assert run(round_layers(model(), ["b"], "bf16"), values) == pytest.approx(values * third, rel=1e-7)
    assert third != pytest.approx(1 / 3, rel=1e-4)


def test_what_an_fp16_layer_writes_overflows_as_fp16_does_and_bf16_does_not() -> None:
    values = np.array([60000.0, 65519.0, -65520.0, 1.0], dtype=np.float32)
    assert np.isinf(run(round_layers(model(), ["a"], "fp16"), values)).tolist() == [False, False, True, False]
    assert np.isfinite(run(round_layers(model(), ["a"], "bf16"), values)).all()


def test_the_graph_that_was_given_stays_as_it_was() -> None:
    given = model()
    before = given.SerializeToString()
    round_layers(given, ["a", "b"], "fp16")
    assert given.SerializeToString() == before


def test_an_opset_before_bf16() -> None:
    with pytest.raises(UsageError, match="opset 12"):
        round_layers(model(12), ["a"], "bf16")
