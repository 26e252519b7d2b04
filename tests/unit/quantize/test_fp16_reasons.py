"""What stays in FP32, and why: each rule on a graph where FP16 would go wrong, and on one where it would not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from espdeploy.quantize.fp16 import to_fp16

Run = Callable[..., np.ndarray]


def graph(text: str, *, opset: int = 13, **constants: object) -> onnx.ModelProto:
    """``inputs => outputs { nodes }`` in ONNX text, and constants by name; lists become FP32."""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}, "custom" : 1]> g {text}')
    for name, values in constants.items():
        array = values if isinstance(values, np.ndarray) else np.array(values, np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    onnx.checker.check_model(model)
    return model


def kept(model: onnx.ModelProto, **options: object) -> dict[str, str]:
    half = to_fp16(model, **options)
    onnx.checker.check_model(half.model, full_check=True)
    return half.kept


@pytest.fixture
def run(run_rounding: Run) -> Run:
    """Every FP16 tensor rounded: else the comparisons below could not fail."""
    return run_rounding


def test_the_runtime_here_rounds_and_overflows_as_fp16_does(run: Run) -> None:
    model = graph("(float16[2] x) => (float16[2] y) { a = Mul(x, x)  y = Sqrt(a) }")
    np.testing.assert_array_equal(run(model, x=np.array([300, 3], np.float16)), [np.inf, 3])


def test_weights_beyond_fp16() -> None:
    model = graph("(float[2] x) => (float[2] y) { [a] b = Mul(x, w)  [b] y = Mul(b, v) }", w=[1e5, 1.0], v=[1e-3, 1e-3])
    found = kept(model)
    assert list(found) == ["a", "b"]  # what comes of such a weight is likely to be as large
    assert "w reaches 1e+05" in found["a"]
    assert list(kept(model, amax={"b": 10.0})) == ["a"]


@pytest.mark.parametrize(("largest", "fits"), [(65504.0, True), (65519.0, True), (65521.0, False)])
def test_the_limit_is_where_rounding_goes_to_infinity(largest: float, fits: bool) -> None:
    model = graph("(float[1] x) => (float[1] y) { [a] y = Add(x, w) }", w=[largest])
    assert (kept(model) == {}) == fits


def test_a_weight_that_is_infinite_in_fp32_may_be() -> None:
    assert kept(graph("(float[2] x) => (float[2] y) { y = Max(x, w) }", w=[-np.inf, 0.0])) == {}


def test_a_bound_beyond_fp16_bounds_nothing(run: Run) -> None:
    model = graph("(float[3] x) => (float[3] y) { y = Clip(x, low, high) }", low=-1.0, high=3.4e38)
    half = to_fp16(model)
    assert half.kept == {}
    bounds = {tensor.name: float(numpy_helper.to_array(tensor)) for tensor in half.model.graph.initializer}
    assert bounds == {"low": -1.0, "high": 65504.0}  # TensorRT makes one layer of it if it is finite, else four
    np.testing.assert_array_equal(run(half.model, x=np.array([-5, 5, 60000], np.float32)), [-1, 5, 60000])


def test_weights_that_fall_into_fp16s_small_numbers() -> None:
    text = "(float[2] x) => (float[2] y) { [a] b = Mul(x, w)  [b] y = Mul(b, v) }"
    values = np.array([3.3e-7, 1.7e-7], np.float32)
    model = graph(text, w=values, v=[1e4, 1e4])
    found = kept(model)
    assert list(found) == ["a"]
    with np.errstate(under="ignore"):
        loss_pct = 100 * np.linalg.norm(values.astype(np.float16) - values) / np.linalg.norm(values)
    assert f"loses {loss_pct:.2g} %" in found["a"]
    assert kept(graph(text, w=[3.3e-4, 1.7e-4], v=[1e4, 1e4])) == {}


def test_channels_without_effect_lose_nothing() -> None:
    weights = np.array([[1.0, 1e-39], [1e-7, 0.5]], np.float32).reshape(2, 2, 1, 1)
    assert kept(graph("(float[1, 2, 1, 1] x) => (float[1, 2, 1, 1] y) { [c] y = Conv(x, w) }", w=weights)) == {}


@pytest.mark.parametrize(("bias", "fits"), [(0.7, True), (0.0, False)])
def test_small_weights_beside_a_bias_that_drowns_them(bias: float, fits: bool) -> None:
    weights = np.full((1, 1, 1, 1), 4e-7, np.float32)
    text = "(float[1, 1, 1, 1] x) => (float[1, 1, 1, 1] y) { [c] y = Conv(x, w, b) }"
    assert (kept(graph(text, w=weights, b=[bias])) == {}) == fits


CHAIN = "(float[2] x) => (float[2] y) { [a] p = Mul(x, k)  [b] q = Neg(p)  [c] r = Mul(q, l)  [d] y = Relu(r) }"


def test_an_activation_beyond_fp16_keeps_who_writes_and_who_reads_it(run: Run) -> None:
    model = graph(CHAIN, k=[1000.0, 1000.0], l=[-1e-3, -1e-3])
    feed = np.array([90, 5], np.float32)
    assert not np.isfinite(run(to_fp16(model).model, x=feed)).all()  # what the ranges are for
    half = to_fp16(model, amax={"x": 90.0, "p": 9e4, "q": 9e4, "r": 90.0, "y": 90.0})
    assert list(half.kept) == ["a", "b", "c"]
    assert "p reaches 9e+04" in half.kept["a"]
    np.testing.assert_allclose(run(half.model, x=feed), run(model, x=feed), rtol=2**-10)


@pytest.mark.parametrize(("largest", "fits"), [(32752.0, True), (32753.0, False), (np.nan, False)])
def test_ranges_leave_room_for_other_images(largest: float, fits: bool) -> None:
    assert (kept(graph(CHAIN, k=[1.0, 1.0], l=[1.0, 1.0]), amax={"q": largest}) == {}) == fits


def test_an_activation_of_fp16s_small_numbers() -> None:
    model = graph(CHAIN, k=[1e-3, 1e-3], l=[1.0, 1.0])
    assert set(kept(model, amax={"p": 3e-6})) == {"a", "b"}
    assert kept(model, amax={"p": 0.0}) == {}  # a dead channel


def test_batch_normalization_whose_variance_vanishes_in_fp16(run: Run) -> None:
    model = norm(variance=[1e-9, 4e-9], mean=[1e-4, 0.0], epsilon=1e-12)
    half = to_fp16(model)
    assert half.kept == {}
    assert any("1 batch normalizations" in note for note in half.notes)
    feed = np.array([1e-4, 2e-4], np.float32).reshape(1, 2, 1, 1)
    np.testing.assert_allclose(run(half.model, x=feed), run(model, x=feed), rtol=2**-9)


def norm(*, variance: list[float], mean: list[float], epsilon: float = 1e-3, opset: int = 13) -> onnx.ModelProto:
    return graph(
        f"""(float[1, 2, 1, 1] x) => (float[1, 2, 1, 1] y) {{
        [bn] y = BatchNormalization<epsilon = {epsilon:.12f}>(x, gamma, beta, mean, variance) }}""",
        opset=opset,
        gamma=[0.7, 1.3],
        beta=[0.1, -2.0],
        mean=mean,
        variance=variance,
    )


@pytest.mark.parametrize("opset", [13, 14, 20])
def test_batch_normalization_is_its_closed_form_rounded_once(opset: int, run: Run) -> None:
    half = to_fp16(norm(variance=[0.3, 9.0], mean=[1.0, -4.0], opset=opset)).model
    node = next(node for node in half.graph.node if node.op_type == "BatchNormalization")
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in half.graph.initializer}
    assert len(held) == 4  # nothing of the old parameters is left
    scale, shift, mean, variance = (held[name] for name in node.input[1:])
    exact = np.array([0.7, 1.3], np.float32) / np.sqrt(np.array([0.3, 9.0], np.float32).astype(np.float64) + 1e-3)
    np.testing.assert_array_equal(scale, exact.astype(np.float16))
    np.testing.assert_allclose(shift, [0.1 - exact[0], -2.0 + 4.0 * exact[1]], rtol=2**-11)
    np.testing.assert_array_equal((mean, variance), [[0, 0], [1, 1]])
    feed = np.array([3.0, -7.0], np.float32).reshape(1, 2, 1, 1)
    expected = exact * (feed.ravel() - [1.0, -4.0]) + [0.1, -2.0]
    np.testing.assert_allclose(run(half, x=feed).ravel(), expected, rtol=0, atol=4 * 2**-10)


@pytest.mark.parametrize(
    ("variance", "mean", "word"),
    [([1e-11, 1.0], [0.0, 0.0], "scale"), ([1.0, 1.0], [1e6, 0.0], "shift"), ([-2.0, 1.0], [0.0, 0.0], "scale")],
)
def test_batch_normalization_that_fp16_cannot_hold(variance: list[float], mean: list[float], word: str) -> None:
    found = kept(norm(variance=variance, mean=mean, epsilon=1e-12))
    assert word in found["bn"]


def test_batch_normalization_with_computed_statistics() -> None:
    model = graph(
        """(float[1, 2, 1, 1] x, float[2] m) => (float[1, 2, 1, 1] y) {
        [bn] y = BatchNormalization(x, s, s, m, s) }""",
        s=[1.0, 1.0],
    )
    assert "computed in the graph" in kept(model)["bn"]


def test_a_norm_that_the_caller_keeps_keeps_its_parameters() -> None:
    half = to_fp16(norm(variance=[0.3, 9.0], mean=[1.0, -4.0]), keep_fp32={"bn": "sensitive"})
    assert {tensor.name for tensor in half.model.graph.initializer} == {"gamma", "beta", "mean", "variance"}
    assert [node.op_type for node in half.model.graph.node] == ["BatchNormalization"]


@pytest.mark.parametrize(
    ("node", "shape", "fits"),
    [
        ("GlobalAveragePool(x)", [1, 2, 7, 7], True),
        ("GlobalAveragePool(x)", [1, 2, 32, 64], True),
        ("GlobalAveragePool(x)", [1, 2, 32, 65], False),
        ("GlobalAveragePool(x)", [1, 2, "h", 7], False),
        ("GlobalAveragePool(x)", ["n", 2, 7, 7], True),
        ("ReduceMean<axes = [2, 3]>(x)", [1, 2, 64, 64], False),
        ("ReduceMean<axes = [1]>(x)", [1, 2, 64, 64], True),
        ("ReduceMean(x)", [1, 2, 64, 64], False),
        ("AveragePool<kernel_shape = [3, 3]>(x)", [1, 2, 64, 64], True),
        ("AveragePool<kernel_shape = [64, 64]>(x)", [1, 2, 64, 64], False),
        ("Softmax<axis = 1>(x)", [1, 19, 64, 64], True),
        ("Softmax<axis = 1>(x)", [1, 5000, 1, 1], False),
        ("ReduceL2<axes = [1]>(x)", [1, 2, 4, 4], False),
        ("MaxPool<kernel_shape = [64, 64]>(x)", [1, 2, 64, 64], True),
    ],
)
def test_sums_over_many_numbers(node: str, shape: list[int | str], fits: bool) -> None:
    model = graph(f"(float[{', '.join(map(str, shape))}] x) => (float[a, b, c, d] y) {{ [s] y = {node} }}")
    assert (kept(model) == {}) == fits


@pytest.mark.parametrize(("axes", "fits"), [([2, 3], False), ([1], True)])
def test_axes_that_are_an_input(axes: list[int], fits: bool) -> None:
    model = graph(
        "(float[1, 2, 64, 64] x) => (float[a, b, c, d] y) { [s] y = ReduceMean(x, axes) }",
        opset=18,
        axes=np.array(axes, np.int64),
    )
    assert (kept(model) == {}) == fits


@pytest.mark.parametrize(
    ("node", "largest", "fits"),
    [
        ("GlobalAveragePool", 600.0, True),
        ("GlobalAveragePool", 700.0, False),
        ("InstanceNormalization", 20.0, True),
        ("InstanceNormalization", 30.0, False),
    ],
)
def test_sums_of_large_numbers(node: str, largest: float, fits: bool) -> None:
    """49 numbers of up to 668, or squares of up to 25.9, reach half of 65504."""
    more = ", one, one" if node == "InstanceNormalization" else ""
    model = graph(
        f"(float[1, 2, 7, 7] x) => (float[1, 2, c, d] y) {{ [s] y = {node}(x{more}) }}",
        **({"one": [1.0, 1.0]} if more else {}),
    )
    assert (kept(model, amax={"x": largest, "y": 1.0}) == {}) == fits


def test_layer_normalization_has_its_statistics_in_fp32_by_definition() -> None:
    model = graph(
        "(float[1, 4096] x) => (float[1, 4096] y) { y = LayerNormalization(x, s) }",
        opset=17,
        s=np.ones(4096, np.float32),
    )
    assert kept(model) == {}


@pytest.mark.parametrize("node", ["Exp(x)", "Mul(x, x)", "Pow(x, two)"])
def test_growth_that_was_not_measured(node: str) -> None:
    model = graph(f"(float[2] x) => (float[2] y) {{ [g] y = {node}  }}", **({"two": 2.0} if "two" in node else {}))
    assert "no range was measured" in kept(model)["g"]
    assert kept(model, amax={"x": 10.0, "y": 100.0}) == {}
    assert "reaches" in kept(model, amax={"x": 300.0, "y": 9e4})["g"]


def test_a_variance_of_large_numbers(run: Run) -> None:
    """As exporters write layer normalization without an operator for it: 300 squared is beyond FP16."""
    model = graph(
        """(float[1, 4] x) => (float[1, 4] y) {
        m = ReduceMean<axes = [1]>(x)  d = Sub(x, m)  [square] s = Pow(d, two)  [mean] v = ReduceMean<axes = [1]>(s)
        r = Sqrt(v)  y = Div(d, r) }""",
        two=2.0,
    )
    half = to_fp16(model)
    assert list(half.kept) == ["square", "mean"]
    feed = np.array([[300, -300, 20, -20]], np.float32)
    np.testing.assert_allclose(run(half.model, x=feed), run(model, x=feed), rtol=2**-9)


def test_a_root_does_not_grow() -> None:
    assert kept(graph("(float[2] x) => (float[2] y) { y = Pow(x, half) }", half=0.5)) == {}


def test_a_softmax_whose_inputs_are_too_coarse_keeps_their_writer_too() -> None:
    model = graph(
        "(float[1, 2] x) => (float[1, 2] y) { [m] s = MatMul(x, w)  [p] y = Softmax(s) }", w=np.eye(2, dtype=np.float32)
    )
    assert set(kept(model, amax={"s": 500.0})) == {"m", "p"}
    assert kept(model, amax={"s": 50.0}) == {}


def test_numbers_computed_from_shapes_stay_exact(run: Run) -> None:
    model = graph(
        """(float[1, 1, 600, 500] x) => (float[1, 1, 600, 500] y) {
        s = Size(x)  [count] n = Cast<to = 1>(s)  [half] h = Mul(n, k)  [share] y = Div(x, h) }""",
        k=0.5,
    )
    half = to_fp16(model)
    assert list(half.kept) == ["count", "half", "share"]
    feed = np.full((1, 1, 600, 500), 3.0, np.float32)
    np.testing.assert_allclose(run(half.model, x=feed), run(model, x=feed), rtol=2**-10)


def test_a_size_for_resize_stays_exact_and_the_resize_is_fp16(run: Run) -> None:
    model = graph(
        """(float[1, 1, 8, 8] x) => (float[a, b, c, d] y) {
        s = Shape(x)  f = Cast<to = 1>(s)  g = Mul(f, k)  t = Div(g, f)  [up] y = Resize(x, , t) }""",
        k=[1.0, 1.0, 2.0, 2.0],
    )
    half = to_fp16(model)
    assert "up" not in half.kept
    assert run(half.model, x=np.ones((1, 1, 8, 8), np.float32)).shape == (1, 1, 16, 16)


def test_whole_numbers_beyond_2048_stay_exact(run: Run) -> None:
    model = graph("(int64[2] i, float[2] x) => (float[2] y) { [c] f = Cast<to = 1>(i)  [s] y = Sub(f, x) }")
    half = to_fp16(model)
    assert set(half.kept) == {"c", "s"}
    feed = {"i": np.array([70001, 4099]), "x": np.array([70000, 4098], np.float32)}
    np.testing.assert_array_equal(run(half.model, **feed), [1, 1])
    assert kept(model, amax={"f": 255.0}) == {}


def test_a_fill_beyond_fp16() -> None:
    model = graph(
        "(int64[1] n) => (float[k] y) { [f] a = ConstantOfShape<value = float[1] {1e6}>(n)  [r] y = Relu(a) }"
    )
    assert set(kept(model)) == {"f", "r"}


@pytest.mark.parametrize(
    ("text", "opset", "word"),
    [
        ("(float s) => (float[n] y) { [n] y = Range(s, s, s) }", 13, "no FP16"),
        ("(float[4] x) => (float[4] y) { [n] y = CumSum(x, a) }", 11, "no FP16"),
        ("(float[4] x) => (float[4] y) { [n] y = custom.Thing(x) }", 13, "custom"),
        ("(int64[1] s) => (float[2] y) { [n] y = RandomNormal<shape = [2]>() }", 13, "writes FP32"),
    ],
)
def test_operators_without_an_fp16_form(text: str, opset: int, word: str) -> None:
    constants = {"a": np.array(0)} if "CumSum" in text else {}
    assert word in kept(graph(text, opset=opset, **constants))["n"]


def test_what_an_unknown_operator_writes_is_left_as_it_is_until_its_type_is_known() -> None:
    text = "(float[4] x) => (float[4] y) { [n] a = custom.Thing(x)  [m] b = Neg(a)  y = Relu(b) }"
    assert list(kept(graph(text))) == ["n", "Relu"]  # nothing is known of m
    model = graph(text)
    model.graph.value_info.append(onnx.helper.make_tensor_value_info("a", onnx.TensorProto.FLOAT, [4]))
    half = to_fp16(model)
    assert list(half.kept) == ["n"]
    assert {value.name: value.type.tensor_type.elem_type for value in half.model.graph.value_info}["a"] == 1


def test_sequences_stay() -> None:
    model = graph(
        """(float[4] x) => (float[4] y) {
        [a] s = SequenceConstruct(x)  i = Constant<value = int64 {0}>()  [b] t = SequenceAt(s, i)  [c] y = Neg(t) }"""
    )
    assert list(kept(model)) == ["a", "b"]


def test_the_callers_reason_goes_before_ours() -> None:
    model = graph("(float[2] x) => (float[2] y) { [e] y = Exp(x) }")
    assert kept(model, keep_fp32={"e": "costs 2 points"}) == {"e": "costs 2 points"}
