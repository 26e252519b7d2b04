"""What an FP16 graph looks like: types, casts, constants, inputs and outputs."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from espdeploy.errors import InputFileError, UsageError
from espdeploy.quantize.fp16 import HalfGraph, to_fp16

FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
TYPED = {FLOAT: "float", HALF: "float16"}
X = np.linspace(-2, 2, 24, dtype=np.float32).reshape(1, 2, 3, 4)


def graph(text: str, *, opset: int = 13, **constants: np.ndarray | list[float] | float) -> onnx.ModelProto:
    """``inputs => outputs { nodes }`` in ONNX text, and constants by name; lists become FP32."""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}, "custom" : 1]> g {text}')
    for name, values in constants.items():
        array = values if isinstance(values, np.ndarray) else np.array(values, np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    onnx.checker.check_model(model)
    return model


def run(model: onnx.ModelProto, **feed: np.ndarray) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feed)


def types(model: onnx.ModelProto) -> dict[str, str]:
    """Of every tensor but integers, as ONNX infers them from the nodes alone."""
    bare = onnx.ModelProto.FromString(model.SerializeToString())
    del bare.graph.value_info[:]
    found = onnx.shape_inference.infer_shapes(bare, check_type=True, strict_mode=True).graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in [*found.value_info, *found.input, *found.output]}
    kinds |= {tensor.name: tensor.data_type for tensor in found.initializer}
    return {name: TYPED[kind] for name, kind in kinds.items() if kind in TYPED}


def ops(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def check_casts(model: onnx.ModelProto) -> None:
    """No cast follows a cast, none changes nothing, and no tensor is cast twice to one type."""
    kinds = types(model)
    written = {name: node for node in model.graph.node for name in node.output}
    between = [node for node in model.graph.node if node.op_type == "Cast" and node.output[0] in kinds]
    seen = [(node.input[0], kinds[node.output[0]]) for node in between if node.input[0] in kinds]
    assert len(seen) == len(set(seen))
    for source, kind in seen:
        assert kinds[source] != kind
        assert source not in written or written[source] not in between


def converted(model: onnx.ModelProto, **options: object) -> HalfGraph:
    """Converted, and found valid by ONNX; what is written down of the tensors is what ONNX infers."""
    before = model.SerializeToString(deterministic=True)
    half = to_fp16(model, **options)
    assert model.SerializeToString(deterministic=True) == before  # the argument stays as it was
    onnx.checker.check_model(half.model, full_check=True)
    described = {value.name: TYPED.get(value.type.tensor_type.elem_type) for value in half.model.graph.value_info}
    kinds = types(half.model)
    assert {name: kind for name, kind in described.items() if kind} == {
        name: kind for name, kind in kinds.items() if name in described
    }
    check_casts(half.model)
    return half


CONV = "(float[1, 2, 3, 4] x) => (float[1, 2, 3, 4] y) { a = Conv(x, w, b)  y = Relu(a) }"
WEIGHTS = {"w": np.arange(4, dtype=np.float32).reshape(2, 2, 1, 1) / 3, "b": [0.1, -0.2]}


@pytest.mark.parametrize("opset", [13, 20])
def test_weights_and_activations_become_fp16_and_the_border_stays(opset: int) -> None:
    model = graph(CONV, opset=opset, **WEIGHTS)
    half = converted(model)
    assert ops(half.model) == ["Cast", "Conv", "Relu", "Cast"]
    kinds = types(half.model)
    assert {name for name, kind in kinds.items() if kind == "float"} == {"x", "y"}
    assert half.kept == {}
    np.testing.assert_allclose(run(half.model, x=X)[0], run(model, x=X)[0], rtol=0, atol=4 * 2**-11 * 2)


def test_inputs_and_outputs_become_fp16_on_request() -> None:
    half = converted(graph(CONV, **WEIGHTS), keep_io=False)
    assert ops(half.model) == ["Conv", "Relu"]
    assert set(types(half.model).values()) == {"float16"}
    assert run(half.model, x=X.astype(np.float16))[0].dtype == np.float16


def test_names_and_metadata_stay_and_unnamed_nodes_get_names() -> None:
    model = graph(CONV, **WEIGHTS)
    model.graph.node[0].name = "stage/Conv"
    helper.set_model_props(model, {"espdeploy.name": "net"})
    half = converted(model).model
    assert [value.name for value in [*half.graph.input, *half.graph.output]] == ["x", "y"]
    assert [node.name for node in half.graph.node if node.op_type != "Cast"] == ["stage/Conv", "Relu"]
    assert {entry.key: entry.value for entry in half.metadata_props} == {"espdeploy.name": "net"}


def test_each_weight_is_the_nearest_fp16_number() -> None:
    values = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    half = converted(graph("(float[1000] x) => (float[1000] y) { y = Mul(x, w) }", w=values)).model
    np.testing.assert_array_equal(numpy_helper.to_array(half.graph.initializer[0]), values.astype(np.float16))


def test_numbers_too_small_are_flushed_and_counted_and_subnormal_ones_stay() -> None:
    tiny = [1.0, 1e-40, 2.9e-8, -2.9e-8, 6e-8, 1e-5, 0.0]  # half the smallest subnormal is 2.98e-8
    half = converted(graph("(float[7] x) => (float[7] y) { y = Add(x, w) }", w=tiny))
    weights = numpy_helper.to_array(half.model.graph.initializer[0])
    assert half.flushed == 3
    np.testing.assert_array_equal(weights != 0, [True, False, False, False, True, True, False])


def test_a_kept_node_stands_between_casts_that_readers_share() -> None:
    model = graph(
        """(float[1, 2, 3, 4] x) => (float[1, 2, 3, 4] y) {
        a = Relu(x)  [k] b = Sigmoid(a)  c = Neg(b)  d = Abs(b)  e = Add(c, d)  y = Add(e, a) }"""
    )
    half = converted(model, keep_fp32={"k": "sensitive"})
    assert half.kept == {"k": "sensitive"}
    assert ops(half.model).count("Cast") == 4  # input, into k, out of k for both readers, output
    kinds = types(half.model)
    assert kinds["b"] == "float"
    assert {kinds[name] for name in "acde"} == {"float16"}


def test_there_is_no_cast_between_two_kept_nodes() -> None:
    model = graph("(float[4] x) => (float[4] y) { [p] a = Exp(x)  [q] b = Neg(a)  [r] c = Abs(b)  y = Relu(c) }")
    half = converted(model, keep_fp32={"q": "asked for"})
    assert list(half.kept) == ["p", "q"]
    assert ops(half.model) == ["Exp", "Neg", "Cast", "Abs", "Relu", "Cast"]


def test_an_output_that_is_kept_and_read_again_is_cast_for_the_reader_alone() -> None:
    model = graph("(float[4] x) => (float[4] y, float[4] z) { [k] y = Neg(x)  z = Relu(y) }")
    half = converted(model, keep_fp32={"k": "asked for"})
    assert ops(half.model) == ["Neg", "Cast", "Relu", "Cast"]
    half = converted(model, keep_fp32={"k": "asked for"}, keep_io=False)
    assert types(half.model)["y"] == "float16"
    y, z = run(half.model, x=np.array([1, -2, 3, 4], np.float16))
    np.testing.assert_array_equal(y, [-1, 2, -3, -4])
    np.testing.assert_array_equal(z, [0, 2, 0, 0])


def test_an_fp16_output_that_is_kept_and_read_again_shares_its_cast() -> None:
    model = graph("(float[4] x) => (float[4] y, float[4] z) { y = Neg(x)  [k] z = Relu(y) }")
    half = converted(model, keep_fp32={"k": "asked for"})
    assert ops(half.model) == ["Cast", "Neg", "Cast", "Relu"]  # what k reads is the output y itself
    assert half.model.graph.node[3].input[0] == "y"


@pytest.mark.parametrize("keep_io", [True, False])
def test_an_input_that_is_an_output(keep_io: bool) -> None:
    half = converted(graph("(float[4] x) => (float[4] x, float[4] y) { y = Neg(x) }"), keep_io=keep_io).model
    kind = np.float32 if keep_io else np.float16
    assert [value.dtype for value in run(half, x=np.ones(4, kind))] == [kind, kind]


def test_a_constant_for_both_sides_is_there_twice() -> None:
    model = graph("(float[2] x) => (float[2] y) { [a] b = Mul(x, w)  [k] y = Mul(b, w) }", w=[0.1, 0.2])
    half = converted(model, keep_fp32={"k": "asked for"}).model
    assert {tensor.name: TYPED[tensor.data_type] for tensor in half.graph.initializer} == {
        "w": "float",
        "w_fp16": "float16",
    }
    np.testing.assert_allclose(run(half, x=np.ones(2, np.float32))[0], [0.01, 0.04], rtol=2e-3)


@pytest.mark.parametrize("keep_io", [True, False])
def test_a_constant_that_is_an_output(keep_io: bool) -> None:
    model = graph("(float[2] x) => (float[2] y, float[2] w) { y = Mul(x, w) }", w=[0.1, 0.2])
    half = converted(model, keep_io=keep_io).model
    assert types(half)["w"] == ("float" if keep_io else "float16")


@pytest.mark.parametrize("attribute", ["value_float = 0.5", "value = float {0.5}", "value_floats = [0.5]"])
def test_constant_nodes_become_fp16(attribute: str) -> None:
    half = converted(graph(f"(float[4] x) => (float[4] y) {{ c = Constant<{attribute}>()  y = Mul(x, c) }}")).model
    assert types(half)["c"] == "float16"
    np.testing.assert_array_equal(run(half, x=np.ones(4, np.float32))[0], [0.5] * 4)


def test_integers_and_shapes_are_left_alone() -> None:
    model = graph(
        """(float[1, 2, 3, 4] x) => (float[n] y) {
        s = Shape(x)  i = Constant<value = int64 {1}>()  n = Mul(s, i)  p = ReduceProd<keepdims = 1>(n)
        y = Reshape(x, p) }"""
    )
    half = converted(model)
    assert ops(half.model) == ["Shape", "Constant", "Mul", "ReduceProd", "Cast", "Reshape", "Cast"]
    np.testing.assert_allclose(run(half.model, x=X)[0], X.ravel(), rtol=2**-11)


def test_shape_reads_a_tensor_as_it_is() -> None:
    half = converted(graph("(float[4] x) => (float[4] y, int64[1] s) { s = Shape(x)  y = Neg(x) }"))
    assert next(node for node in half.model.graph.node if node.op_type == "Shape").input[0] == "x"


def test_a_cast_to_fp32_becomes_one_to_fp16() -> None:
    model = graph("(uint8[1, 2] x, float[1, 2] z) => (float[1, 2] y) { a = Cast<to = 1>(x)  y = Mul(a, z) }")
    half = converted(model)
    assert half.kept == {}
    assert types(half.model)["a"] == "float16"


def test_a_cast_to_fp32_for_kept_readers_stays() -> None:
    model = graph("(uint8[1, 2] x) => (float[1, 2] y) { a = Cast<to = 1>(x)  [k] y = Neg(a) }")
    half = converted(model, keep_fp32={"k": "asked for"})
    assert ops(half.model) == ["Cast", "Neg"]
    assert types(half.model)["a"] == "float"


def test_a_last_cast_to_fp32_is_the_border() -> None:
    half = converted(graph("(float[2] x) => (float[2] y) { a = Greater(x, x)  y = Cast<to = 1>(a) }"))
    assert ops(half.model) == ["Cast", "Greater", "Cast"]


def test_casts_that_the_graph_had_between_the_two_types_go() -> None:
    model = graph(
        """(float[4] x) => (float[4] y, float16[4] z) {
        a = Cast<to = 10>(x)  b = Neg(a)  c = Cast<to = 1>(b)  y = Abs(c)  d = Relu(x)  z = Cast<to = 10>(d) }"""
    )
    half = converted(model)
    assert ops(half.model) == ["Cast", "Neg", "Abs", "Relu", "Cast"]  # input and output y; Relu writes z
    values = np.array([1, -2, 3, -4], np.float32)
    y, z = run(half.model, x=values)
    np.testing.assert_array_equal(y, np.abs(values))
    np.testing.assert_array_equal(z, np.maximum(values, 0).astype(np.float16))


def test_a_fill_takes_the_type_of_its_readers() -> None:
    model = graph(
        """(float[2, 3] x) => (float[2, 3] y) {
        s = Shape(x)  f = ConstantOfShape<value = float[1] {1.5}>(s)  g = ConstantOfShape(s)
        a = Add(x, f)  [k] y = Add(a, g) }"""
    )
    half = converted(model, keep_fp32={"k": "asked for"})
    kinds = types(half.model)
    assert (kinds["f"], kinds["g"]) == ("float16", "float")
    np.testing.assert_array_equal(run(half.model, x=np.ones((2, 3), np.float32))[0], np.full((2, 3), 2.5))


@pytest.mark.parametrize("opset", [13, 20])
def test_resize_keeps_its_scales_and_region_in_fp32(opset: int) -> None:
    model = graph(
        """(float[1, 2, 3, 4] x) => (float[1, 2, 6, 8] y) {
        y = Resize<mode = "linear", coordinate_transformation_mode = "tf_crop_and_resize">(x, roi, scales) }""",
        opset=opset,
        roi=[0, 0, 0, 0, 1, 1, 1, 1],
        scales=[1, 1, 2, 2],
    )
    half = converted(model)
    assert half.kept == {}
    assert types(half.model)["roi"] == types(half.model)["scales"] == "float"
    np.testing.assert_allclose(run(half.model, x=X)[0], run(model, x=X)[0], atol=2 * 2**-10)


def test_branches_stay_whole_and_read_fp32() -> None:
    model = graph(
        """(bool c, float[2] x) => (float[2] y) {
        h = Mul(x, w)
        [choice] r = If (c) <
            then_branch = t () => (float[2] p) { p = Add(h, w) },
            else_branch = e () => (float[2] q) { q = Neg(h) }>
        y = Relu(r) }""",
        w=[0.5, 0.25],
    )
    half = converted(model)
    assert list(half.kept) == ["choice"]
    assert "If" in half.kept["choice"]
    assert types(half.model)["r"] == "float"
    for condition in (True, False):
        feed = {"c": np.array(condition), "x": np.array([4, -8], np.float32)}
        np.testing.assert_array_equal(run(half.model, **feed)[0], run(model, **feed)[0])


def test_functions_of_the_model_are_converted_too() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 13, "local" : 1]>
        g (float[4] x) => (float[4] y) { y = local.twice(x) }
        <opset_import: ["" : 13], domain: "local"> twice (a) => (b) { b = Add(a, a) }"""
    )
    half = converted(model)
    assert ops(half.model) == ["Cast", "Add", "Cast"]


def test_an_initializer_that_an_old_file_lists_as_an_input_is_a_weight() -> None:
    model = graph(CONV, **WEIGHTS)
    model.ir_version = 3
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, FLOAT, tensor.dims))
    half = converted(model).model
    assert [value.name for value in half.graph.input] == ["x"]
    assert types(half)["w"] == "float16"


def test_a_graph_that_is_fp16_stays_as_it_is() -> None:
    model = graph("(float16[4] x) => (float16[4] y) { [n] y = Neg(x) }")
    half = converted(model)
    assert ops(half.model) == ["Neg"]
    assert any("nothing in FP32" in note for note in half.notes)


def test_stale_descriptions_are_replaced() -> None:
    model = graph(CONV, **WEIGHTS)
    model.graph.value_info.append(helper.make_tensor_value_info("a", FLOAT, [1, 2, 3, 4]))
    model.graph.value_info.append(helper.make_tensor_value_info("gone", FLOAT, [7]))
    described = {value.name: value.type.tensor_type for value in converted(model).model.graph.value_info}
    assert described["a"].elem_type == HALF
    assert "gone" not in described


def qdq(opset: int, scale: float = 0.02) -> onnx.ModelProto:
    return graph(
        """(float[1, 2, 3, 4] x) => (float[1, 2, 3, 4] y) {
        q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)
        [weights] v = DequantizeLinear<axis = 0>(w, t, o)  c = Conv(d, v, b)  y = Relu(c) }""",
        opset=opset,
        s=0.02,
        z=np.array(0, np.int8),
        w=np.array([[-127, 50], [3, 127]], np.int8).reshape(2, 2, 1, 1),
        t=[scale, 2 * scale],
        o=np.zeros(2, np.int8),
        b=[0.1, 0.2],
    )


@pytest.mark.parametrize("opset", [19, 21, 23])
def test_scales_of_quantized_graphs_become_fp16(opset: int) -> None:
    model = qdq(opset)
    half = converted(model)
    assert half.kept == {}
    kinds = types(half.model)
    assert {kinds[name] for name in ("s", "t", "d", "v", "c")} == {"float16"}
    assert ops(half.model).count("Cast") == 2
    step = 0.02 * 127 * 0.04  # FP16 may move an input across the border between two steps
    np.testing.assert_allclose(run(half.model, x=X)[0], run(model, x=X)[0], atol=2.1 * step)


def test_a_scale_too_small_for_fp16_stays() -> None:
    half = converted(qdq(20, scale=1e-6))
    assert list(half.kept) == ["weights"]
    assert types(half.model)["t"] == "float"


def test_quantized_graphs_of_old_opsets_are_refused() -> None:
    with pytest.raises(UsageError, match="Q/DQ graph of opset 13") as caught:
        to_fp16(qdq(13))
    assert "--opset 20" in caught.value.do


def test_a_misspelt_node_is_named() -> None:
    model = graph("(float[4] x) => (float[4] y) { [decoder] y = Neg(x) }")
    with pytest.raises(UsageError, match="decodr") as caught:
        to_fp16(model, keep_fp32={"decodr": "asked for"})
    assert "decoder" in caught.value.do


def test_ranges_of_another_graph_are_refused() -> None:
    with pytest.raises(UsageError, match="another graph"):
        to_fp16(graph(CONV, **WEIGHTS), amax={"conv1": 3.0})


@pytest.mark.parametrize("name", ["x", "y"])
def test_an_fp16_border_that_overflows_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        to_fp16(graph(CONV, **WEIGHTS), keep_io=False, amax={name: 1e5})
    assert converted(graph(CONV, **WEIGHTS), amax={name: 1e5}).kept


def test_a_graph_that_contradicts_itself_is_refused() -> None:
    axes = np.array([7], np.int64)
    with pytest.raises(InputFileError, match="do not fit together"):
        to_fp16(graph("(float[4] x) => (float[1] y) { y = ReduceSum(x, axes) }", axes=axes))
