"""Which tensors of joined branches are in INT8, with which scale; and that every runtime computes just that."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper, parser

from espdeploy.backends.openvino import core as shared_core
from espdeploy.quantize.qdq import quantize


def run(model: onnx.ModelProto, *, optimized: bool = False, **feed: np.ndarray) -> np.ndarray:
    """In ONNX Runtime; unless ``optimized``, node by node as the graph says."""
    options = onnxruntime.SessionOptions()
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, feed)[0]


def run_openvino(model: onnx.ModelProto, **feed: np.ndarray) -> np.ndarray:
    core = shared_core()
    read = core.read_model(model.SerializeToString())
    compiled = core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled.create_infer_request().infer(feed)[0].copy()


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def fake(values: np.ndarray, amax: np.ndarray) -> np.ndarray:
    """Weights rounded to what INT8 can hold."""
    scale = np.asarray(amax / 127, np.float32)
    return (np.clip(np.rint(values / scale), -127, 127) * scale).astype(np.float32)


def parse(body: str, *, constants: str, inputs: str = "float[1, 2, 4, 4] x") -> onnx.ModelProto:
    model = parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 13]>
        g ({inputs}) => (float[n, c, h, w] y) <{constants}> {{ {body} }}"""
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def scales(model: onnx.ModelProto) -> dict[str, float]:
    """Of activations, by tensor."""
    found = {}
    for tensor in model.graph.initializer:
        if tensor.name.endswith(".scale") and not tensor.dims:
            found[tensor.name.removesuffix(".scale")] = float(numpy_helper.to_array(tensor))
    return found


X = np.random.default_rng(5).standard_normal((1, 2, 4, 4), dtype=np.float32)
ONE = "float[2, 2, 1, 1] w = {0.5, -0.25, 1.0, 0.125}"

# Two branches that meet: an Add of b and c, a Concat of a and that sum, and a layer that reads it.
MEETING = """[la] a = Conv(x, w) [lb] b = Conv(x, v) [sum] s = Add(a, b) [join] c = Concat<axis = 1>(a, s)
             n = Relu(c) [lc] d = Conv(c, u) y = Add(n, d)"""
MEETING_CONSTANTS = f"""{ONE}, float[2, 2, 1, 1] v = {{-0.75, 0.5, 0.25, 1.0}},
                        float[4, 4, 1, 1] u = {{1.0, 0.5, 0.25, 0.125, -1.0, 0.5, -0.25, 0.75, 0.3, 0.1, 0.2, 0.9,
                                                0.6, -0.6, 0.7, -0.7}}"""
RANGES = {"x": 2.5, "a": 1.5, "b": 2.0, "s": 2.5, "c": 1.75}


def by_hand(body: str, ranges: dict[str, float]) -> onnx.ModelProto:
    """``body`` with ``$t`` for the Q/DQ pair of a tensor t; weights are rounded in NumPy. Nothing of the product."""
    parts = []
    for statement in body.split(";"):
        text = statement
        for name, amax in ranges.items():
            if f"${name}" in text and f"{name}_dq =" not in " ".join(parts):
                scale = f"Constant<value = float {{{float(np.float32(amax / 127))!r}}}>()"
                parts.append(f"{name}_s = {scale} {name}_z = Constant<value = int8 {{0}}>()")
                parts.append(f"{name}_q = QuantizeLinear({name}, {name}_s, {name}_z)")
                parts.append(f"{name}_dq = DequantizeLinear({name}_q, {name}_s, {name}_z)")
            text = text.replace(f"${name}", f"{name}_dq")
        parts.append(text)
    model = parse(" ".join(parts), constants=MEETING_CONSTANTS)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        amax = np.abs(values).max(axis=(1, 2, 3), keepdims=True).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(fake(values, amax), tensor.name))
    return model


FIRST = "a = Conv($x, w); b = Conv($x, v)"
PLACED = {
    # of the Concat: quantized for the layer that reads it; Relu, which reads it too, gets it as it was
    "convolutions": (
        f"{FIRST}; s = Add(a, b); c = Concat<axis = 1>(a, s); n = Relu(c); d = Conv($c, u); y = Add(n, d)",
        {"x": 2.5, "c": 1.75},
    ),
    # a, s and c share the greatest range of the three, b has its own, and Relu reads what went through INT8
    "dense": (
        f"{FIRST}; s = Add($a, $b); c = Concat<axis = 1>($a, $s); n = Relu($c); d = Conv($c, u); y = Add(n, d)",
        {"x": 2.5, "a": 2.5, "s": 2.5, "c": 2.5, "b": 2.0},
    ),
}


@pytest.mark.parametrize("placement", PLACED)
def test_placements_are_those_of_the_decision(placement: str) -> None:
    model = parse(MEETING, constants=MEETING_CONSTANTS)
    found = quantize(
        model,
        RANGES | {"n": 1.0, "d": 1.0},
        placement=placement,
        joins=["sum", "join"] if placement == "dense" else None,  # and not the Add that writes y
    )
    assert found.quantized == ("la", "lb", "lc")
    assert found.joined == (("sum", "join") if placement == "dense" else ())
    onnx.shape_inference.infer_shapes(found.model, check_type=True, strict_mode=True)
    expected = run(by_hand(*PLACED[placement]), x=X)
    np.testing.assert_array_equal(run(found.model, x=X), expected)
    assert_close(run(found.model, optimized=True, x=X), expected)
    assert_close(run_openvino(found.model, x=X), expected)


@pytest.mark.parametrize("placement", PLACED)
def test_concatenation_is_of_int8(placement: str) -> None:
    """Quantizing before a Concat gives the same values as after it, and OpenVINO 2026.4 computes the latter wrongly."""
    found = quantize(
        parse(MEETING, constants=MEETING_CONSTANTS),
        RANGES,
        placement=placement,
        joins=["join"] if placement == "dense" else None,
    ).model
    written = {name: node for node in found.graph.node for name in node.output}
    concats = [node for node in found.graph.node if node.op_type == "Concat"]
    in_int8 = [node for node in concats if written[node.input[0]].op_type == "QuantizeLinear"]
    assert len(in_int8) == 1
    assert len(concats) == (2 if placement == "convolutions" else 1)  # Relu reads the one in FP32
    quantizers = [node for node in found.graph.node if node.op_type == "QuantizeLinear"]
    assert all(written[node.input[0]].op_type != "Concat" for node in quantizers if node.input[0] in written)


@pytest.mark.parametrize("axis", [1, -3, 2])
def test_the_smallest_graph_that_openvino_gets_wrong_is_right_here(axis: int) -> None:
    """Concat, QuantizeLinear, DequantizeLinear, Conv with a weight in INT8: OpenVINO 2026.4 rounds to whole numbers.

    Written like that it gives 0.89 instead of 0.986 for the first value.
    """
    model = parse(
        f"c = Concat<axis = {axis}>(x, k) y = Conv(c, w)",
        constants=f"float[1, {1 if axis == 2 else 2}, 1, 1] w = {{{'0.89' if axis == 2 else '0.89, 0.35'}}}",
        inputs="float[1, 1, 1, 4] x, float[1, 1, 1, 4] k",
    )
    found = quantize(model, {"c": 3.81}).model
    feed = {
        "x": np.array([1.0, -1.0, 2.0, 0.5], np.float32).reshape(1, 1, 1, 4),
        "k": np.array([0.3, -0.6, 3.0, -2.0], np.float32).reshape(1, 1, 1, 4),
    }
    assert_close(run_openvino(found, **feed), run(found, **feed))
    np.testing.assert_allclose(run(found, **feed), run(model, **feed), atol=0.03)


def test_concats_of_concats_share_one_scale() -> None:
    model = parse(
        "a = Relu(x) b = Neg(x) c = Concat<axis = 1>(a, b) d = Concat<axis = 1>(c, x) [l] y = Conv(d, w)",
        constants="float[1, 6, 1, 1] w = {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}",
    )
    outputs = []
    for placement in ("convolutions", "dense"):
        found = quantize(model, {"a": 1.0, "b": 3.0, "c": 3.0, "d": 3.0, "x": 2.0}, placement=placement).model
        assert [node.op_type for node in found.graph.node].count("Concat") == 2
        assert set(scales(found).values()) == {float(np.float32(3 / 127))}
        outputs.append(run(found, x=X))
        assert_close(run_openvino(found, x=X), outputs[-1])
    np.testing.assert_array_equal(*outputs)


def test_joins_away_from_layers_in_int8_stay() -> None:
    model = parse(
        "[far] t = Add(x, x) r = Relu(t) [la] a = Conv(r, w) b = Abs(a) c = Neg(b) [off] y = Add(b, c)", constants=ONE
    )
    found = quantize(model, dict.fromkeys("xtrabc", 2.0), placement="dense")
    assert found.joined == ()
    assert found.left == {}


def test_a_join_without_ranges_stays_and_is_named() -> None:
    model = parse("[la] a = Conv(x, w) [lb] b = Conv(x, w) [sum] y = Add(a, b)", constants=ONE)
    for ranges, reason in (
        ({"a": 1.0}, "b has no calibrated range"),
        ({"a": 1.0, "b": 0.0}, "b was never anything but 0"),
    ):
        found = quantize(model, {"x": 2.0} | ranges, placement="dense")
        assert (found.joined, found.left) == ((), {"sum": reason})


def test_adding_a_constant_is_no_join() -> None:
    model = parse("[la] a = Conv(x, w) y = Add(a, k)", constants=f"{ONE}, float[1, 2, 1, 1] k = {{1.0, 2.0}}")
    assert quantize(model, {"x": 2.0, "a": 2.0}, placement="dense").joined == ()
