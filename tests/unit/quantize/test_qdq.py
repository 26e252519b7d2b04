"""Q/DQ graphs: what they compute, held against rounding in NumPy and graphs written by hand, and how they are built."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper, parser

from espdeploy.accuracy.images import preprocess, read_rgb
from espdeploy.artifacts import ModelCard
from espdeploy.backends.openvino import core as shared_core
from espdeploy.errors import InputFileError, UsageError
from espdeploy.quantize.algorithms import mse
from espdeploy.quantize.qdq import quantizable, quantize
from espdeploy.quantize.sketch import Sketch
from espdeploy.specs import ImageSize

Exported = Callable[..., tuple[onnx.ModelProto, ModelCard]]


def run(model: onnx.ModelProto, *, optimized: bool = False, **feed: np.ndarray) -> list[np.ndarray]:
    """In ONNX Runtime; unless ``optimized``, node by node as the graph says."""
    options = onnxruntime.SessionOptions()
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, feed)


def run_openvino(model: onnx.ModelProto, **feed: np.ndarray) -> list[np.ndarray]:
    core = shared_core()
    read = core.read_model(model.SerializeToString())
    compiled = core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return [tensor.copy() for tensor in compiled.create_infer_request().infer(feed).to_tuple()]


def assert_close(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * np.abs(other).max())


def fake(values: np.ndarray, amax: float | np.ndarray, lowest: int = -128) -> np.ndarray:
    """Rounded to what INT8 can hold: round half to even of x / scale, clipped, times scale, all in float32."""
    scale = np.asarray(amax / 127, np.float32)
    return (np.clip(np.rint(values / scale), lowest, 127) * scale).astype(np.float32)


def parse(body: str, *, constants: str = "", inputs: str = "", outputs: str = "", opset: int = 13) -> onnx.ModelProto:
    """Most graphs here: (1, 2, 4, 4) in, under the name x, and y out."""
    model = parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : {opset}]>
        g ({inputs or "float[1, 2, 4, 4] x"}) => ({outputs or "float[n, c, h, w] y"}) <{constants}> {{ {body} }}"""
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def constant(model: onnx.ModelProto, name: str) -> np.ndarray:
    return next(numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.name == name)


def kinds(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def photo(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


ONE = "float[2, 2, 1, 1] w = {0.5, -0.25, 1.0, 0.125}"
CONV = "y = Conv(x, w)"

# operator, its input, its weight, attributes, and the axis of the weight along which each slice has its own scale
LAYERS = {
    "conv": ("Conv", (2, 4, 7, 9), (6, 4, 3, 3), {}, 0),
    "conv, strides and groups": (
        "Conv",
        (1, 4, 9, 7),
        (6, 2, 3, 3),
        {"group": 2, "strides": [2, 2], "pads": [1] * 4},
        0,
    ),
    "depthwise, dilated": ("Conv", (1, 4, 9, 9), (4, 1, 3, 3), {"group": 4, "dilations": [2, 2]}, 0),
    "conv of a sequence": ("Conv", (1, 4, 9), (6, 4, 3), {}, 0),
    "transposed": ("ConvTranspose", (1, 4, 5, 5), (4, 6, 2, 2), {"strides": [2, 2]}, None),
    "transposed, groups": ("ConvTranspose", (1, 4, 5, 5), (4, 3, 3, 3), {"group": 2}, None),
    "gemm": ("Gemm", (3, 5), (5, 4), {"alpha": 0.5}, 1),
    "gemm, weight transposed": ("Gemm", (3, 5), (4, 5), {"transB": 1}, 0),
    "gemm, input transposed": ("Gemm", (5, 3), (5, 4), {"transA": 1}, 1),
    "matmul": ("MatMul", (2, 3, 5), (5, 4), {}, 1),
    "matmul, a matrix each": ("MatMul", (2, 3, 5), (2, 5, 4), {}, None),
    "matmul with a vector": ("MatMul", (3, 5), (5,), {}, None),
}


def layer(case: str, *, opset: int = 13) -> onnx.ModelProto:
    """One layer with a bias where its operator has one; channels of the weight differ in size as trained ones do."""
    kind, shape, weights, attributes, axis = LAYERS[case]
    weight = photo(*weights, seed=1)
    if axis is not None:
        sizes = np.geomspace(0.01, 3, weights[axis], dtype=np.float32)
        weight *= np.expand_dims(sizes, [index for index in range(len(weights)) if index != axis])
    values = {"w": weight}
    if kind != "MatMul":
        groups = attributes.get("group", 1)
        channels = {"Conv": weights[0], "ConvTranspose": weights[1] * groups, "Gemm": weights[axis or 0]}[kind]
        values["b"] = photo(channels, seed=2)
    graph = helper.make_graph(
        [helper.make_node(kind, ["x", *values], ["y"], name="layer", **attributes)],
        "g",
        [helper.make_tensor_value_info("x", 1, shape)],
        [helper.make_tensor_value_info("y", 1, [None] * (1 if case.endswith("vector") else len(shape)))],
        [numpy_helper.from_array(array, name) for name, array in values.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def with_weight(model: onnx.ModelProto, weight: np.ndarray) -> onnx.ModelProto:
    replaced = onnx.ModelProto.FromString(model.SerializeToString())
    replaced.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "w"))
    return replaced


@pytest.mark.parametrize("opset", [13, 20])
@pytest.mark.parametrize("case", LAYERS)
def test_a_layer_computes_what_rounding_its_input_and_weight_gives(case: str, opset: int) -> None:
    model = layer(case, opset=opset)
    weight, axis = constant(model, "w"), LAYERS[case][4]
    others = None if axis is None else tuple(index for index in range(weight.ndim) if index != axis)
    rounded = fake(weight, np.abs(weight).max(axis=others, keepdims=True).astype(np.float64), -127)
    x = photo(*LAYERS[case][1])

    expected = run(with_weight(model, rounded), x=fake(x, 2.5))  # 2.5: some values are clipped
    quantized = quantize(model, {"x": 2.5})

    assert quantized.quantized == quantizable(model) == ("layer",)
    assert quantized.left == {}
    np.testing.assert_array_equal(run(quantized.model, x=x)[0], expected[0])
    assert_close(run(quantized.model, optimized=True, x=x), expected)
    assert_close(run_openvino(quantized.model, x=x), expected)
    assert np.abs(run(model, x=fake(x, 2.5))[0] - expected[0]).max() > 1e-4 * np.abs(expected[0]).max()  # INT8 shows


def test_the_graph_is_built_for_tensorrt() -> None:
    model = layer("conv, strides and groups")
    helper.set_model_props(model, {"espdeploy.task": "segmentation"})
    before = model.SerializeToString()
    quantized = quantize(model, {"x": 2.54}).model

    assert model.SerializeToString() == before  # the graph that was given stays
    assert quantized.metadata_props == model.metadata_props
    assert kinds(quantized) == {"QuantizeLinear": 1, "DequantizeLinear": 2, "Conv": 1}
    conv = quantized.graph.node[-1]
    assert (conv.name, conv.input[2]) == ("layer", "b")  # its name, and nothing on its bias
    assert constant(quantized, "b").dtype == np.float32
    assert constant(quantized, "x.scale") == np.float32(0.02)
    assert constant(quantized, "w.int8").dtype == np.int8
    assert constant(quantized, "w.int8").min() >= -127
    zeros = [constant(quantized, name) for name in ("x.zero_point", "w.zero_point")]
    assert all(zero.dtype == np.int8 and not zero.any() for zero in zeros)
    assert [(node.name, node.op_type) for node in quantized.graph.node[:3]] == [
        ("x/QuantizeLinear", "QuantizeLinear"),
        ("x/DequantizeLinear", "DequantizeLinear"),
        ("w/DequantizeLinear", "DequantizeLinear"),
    ]
    assert "w" not in {tensor.name for tensor in quantized.graph.initializer}  # the file gets smaller
    inferred = onnx.shape_inference.infer_shapes(quantized, check_type=True, strict_mode=True)
    described = {value.name for value in [*quantized.graph.value_info, *quantized.graph.output]}
    assert {name for node in inferred.graph.node for name in node.output} <= described


def test_readers_in_int8_share_one_pair_and_others_keep_the_fp32_tensor() -> None:
    model = parse(
        "t = Relu(x) a = Conv(t, w) b = Conv(t, v) c = Neg(t) d = Add(a, b) y = Add(d, c)",
        constants=f"{ONE}, float[2, 2, 1, 1] v = {{1.0, 2.0, 3.0, 4.0}}",
    )
    found = quantize(model, {"t": 3.0})
    assert kinds(found.model)["QuantizeLinear"] == 1
    readers = {node.output[0]: node.input[0] for node in found.model.graph.node if node.op_type in ("Conv", "Neg")}
    assert readers == {"a": "t.dequantized", "b": "t.dequantized", "c": "t"}


def test_only_the_layers_asked_for_change() -> None:
    model = parse("[first] t = Conv(x, w) [second] y = Conv(t, w)", constants=ONE)
    assert quantizable(model) == ("first", "second")
    found = quantize(model, {"x": 3.0, "t": 3.0}, layers=["second"])
    assert found.quantized == ("second",)
    assert found.model.graph.node[0].input[:] == ["x", "w"]  # which still reads the FP32 weight
    x = photo(1, 2, 4, 4)
    weight = fake(constant(model, "w"), np.array([0.5, 1.0]).reshape(2, 1, 1, 1), -127)
    [first] = run(parse("y = Conv(x, w)", constants=ONE), x=x)
    expected = run(with_weight(parse("y = Conv(x, w)", constants=ONE), weight), x=fake(first, 3.0))
    np.testing.assert_array_equal(run(found.model, x=x)[0], expected[0])
    nothing = quantize(model, {}, layers=[])
    assert nothing.model.SerializeToString() == model.SerializeToString()


def test_nodes_without_names_are_known_by_what_they_write() -> None:
    assert quantizable(parse(CONV, constants=ONE)) == ("y",)
    assert quantize(parse(CONV, constants=ONE), {"x": 1.0}, layers=["y"]).quantized == ("y",)


def test_a_weight_of_two_operators_is_rounded_for_each() -> None:
    model = parse(
        "[a] s = Conv(x, w) [b] t = ConvTranspose(x, w) [c] u = Conv(x, w) v = Mul(s, w) k = Add(t, u) y = Add(v, k)",
        constants="float[2, 2, 1, 1] w = {0.5, -0.25, 8.0, 0.125}",
    )
    found = quantize(model, {"x": 3.0}).model
    assert kinds(found) == {
        "QuantizeLinear": 1,
        "DequantizeLinear": 3,
        "Conv": 2,
        "ConvTranspose": 1,
        "Mul": 1,
        "Add": 2,
    }
    np.testing.assert_array_equal(constant(found, "w.int8").ravel(), [127, -64, 127, 2])  # a scale for each channel
    np.testing.assert_array_equal(constant(found, "w.int8_2").ravel(), [8, -4, 127, 2])  # one for all
    np.testing.assert_array_equal(constant(found, "w"), constant(model, "w"))  # Mul reads it


def test_names_that_are_taken_are_left_alone() -> None:
    model = parse(
        '["x/QuantizeLinear"] t = Relu(x) "x.int8" = Neg(t) a = Conv(x, w) y = Add("x.int8", a)', constants=ONE
    )
    found = quantize(model, {"x": 3.0}).model
    names = [node.name for node in found.graph.node if node.name]
    assert len(set(names)) == len(names)
    assert "x.int8_2" in found.graph.node[2].output


def test_weights_of_constant_nodes_go_too() -> None:
    model = parse("w = Constant<value = float[1, 2, 1, 1] {1.0, 2.0}>() y = Conv(x, w)")
    found = quantize(model, {"x": 3.0}).model
    assert kinds(found) == {"QuantizeLinear": 1, "DequantizeLinear": 2, "Conv": 1}


def test_a_branch_inside_a_node_keeps_the_fp32_tensor() -> None:
    model = parse(
        """t = Relu(x) a = Conv(t, w) b = If (k) <
        then_branch = p () => (float[1, 2, 4, 4] q) { q = Abs(t) },
        else_branch = r () => (float[1, 2, 4, 4] s) { s = Conv(t, w) }> y = Add(a, b)""",
        constants=ONE,
        inputs="float[1, 2, 4, 4] x, bool k",
    )
    found = quantize(model, {"t": 3.0}).model
    x = photo(1, 2, 4, 4)
    for choice in (True, False):
        assert run(found, x=x, k=np.array(choice))[0].shape == (1, 2, 4, 4)
    branches = [attribute.g.node[0].input for attribute in found.graph.node[-2].attribute]
    assert [list(names) for names in branches] == [["t"], ["t", "w"]]


@pytest.mark.parametrize(
    ("body", "constants", "inputs"),
    [
        ("y = Conv(x, w)", "", "float[1, 2, 4, 4] x, float[2, 2, 1, 1] w"),  # a computed weight
        ("y = Conv(w, x)", ONE, "float[2, 2, 1, 1] x"),  # a constant input
        ("y = MatMul(x, w)", "int32[4, 4] w = {" + "1, " * 15 + "1}", "int32[1, 2, 4, 4] x"),
        ("y = Conv(x, w)", "float16[1, 2, 1, 1] w = {15360, 16384}", "float16[1, 2, 4, 4] x"),
        ("y = Relu(x)", "", ""),
    ],
)
def test_what_has_no_constant_fp32_weight_cannot_go(body: str, constants: str, inputs: str) -> None:
    kind = (inputs or "float").partition("[")[0]
    model = parse(body, constants=constants, inputs=inputs, outputs=f"{kind}[n, c, h, w] y")
    assert quantizable(model) == ()
    with pytest.raises(UsageError, match="no layer that can go to INT8") as caught:
        quantize(model, {"x": 1.0})
    assert caught.value.do


def test_a_weight_that_the_caller_may_override_is_none() -> None:
    model = parse(CONV, constants=ONE)
    model.graph.input.append(helper.make_tensor_value_info("w", 1, [2, 2, 1, 1]))
    assert quantizable(model) == ()


@pytest.mark.parametrize(
    ("amax", "reason"),
    [({}, "no calibrated range"), ({"t": 0.0}, "never anything but 0"), ({"t": 1e-37}, "too little for a scale")],
)
def test_a_layer_without_a_usable_range_stays_and_is_named(amax: dict[str, float], reason: str) -> None:
    model = parse("[first] t = Conv(x, w) [second] y = Conv(t, w)", constants=ONE)
    found = quantize(model, {"x": 1.0} | amax)
    assert found.quantized == ("first",)
    assert list(found.left) == ["second"]
    assert reason in found.left["second"]
    with pytest.raises(UsageError, match="none of the 1 layers") as caught:
        quantize(model, amax, layers=["second"])
    assert reason in caught.value.why


@pytest.mark.parametrize("amax", [-1.0, float("nan"), float("inf"), 1e39])
def test_a_range_that_is_no_number_is_refused(amax: float) -> None:
    with pytest.raises(InputFileError, match="the range of x is"):
        quantize(parse(CONV, constants=ONE), {"x": amax})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_named(value: float) -> None:
    model = with_weight(layer("conv"), np.full((6, 4, 3, 3), value, np.float32))
    with pytest.raises(InputFileError, match="the weight w holds NaN or infinity"):
        quantize(model, {"x": 1.0})


def test_channels_of_nothing_become_zeros() -> None:
    weight = np.array([[0.0, 0.0], [1e-40, -1e-41], [3e-39, 0.0], [1.1e-30, 2e-30]], np.float32).reshape(4, 2, 1, 1)
    model = with_weight(parse(CONV, constants=ONE), weight)
    found = quantize(model, {"x": 1.0}).model
    np.testing.assert_array_equal(constant(found, "w.scale")[:3], 1)
    np.testing.assert_array_equal(constant(found, "w.int8")[:, :, 0, 0], [[0, 0], [0, 0], [0, 0], [70, 127]])
    assert np.isfinite(run(found, x=photo(1, 2, 4, 4))[0]).all()


def test_unknown_names_are_answered_with_the_nearest() -> None:
    model = parse("[first] t = Conv(x, w) y = Relu(t)", constants=ONE)
    with pytest.raises(UsageError, match='"firstt" is no layer') as caught:
        quantize(model, {"x": 1.0}, layers=["firstt"])
    assert caught.value.do == 'did you mean "first"?'
    with pytest.raises(UsageError, match="no placement") as caught:
        quantize(model, {"x": 1.0}, placement="dens")
    assert caught.value.do == 'did you mean "dense"?'
    with pytest.raises(UsageError, match='"sum" is no Add or Concat'):
        quantize(model, {"x": 1.0}, placement="dense", joins=["sum"])


def test_a_quantized_graph_is_not_quantized_again() -> None:
    once = quantize(parse(CONV, constants=ONE), {"x": 1.0}).model
    with pytest.raises(UsageError, match="quantized already: x/QuantizeLinear"):
        quantize(once, {"x": 1.0})


def test_an_opset_without_scales_for_channels_is_refused() -> None:
    with pytest.raises(UsageError, match="opset 12") as caught:
        quantize(parse(CONV, constants=ONE, opset=12), {"x": 1.0})
    assert "--opset 13" in caught.value.do


def test_any_batch_size_stays_possible() -> None:
    found = quantize(parse(CONV, constants=ONE, inputs="float[N, 2, h, w] x"), {"x": 3.0}).model
    for batch in (1, 3):
        assert run(found, x=photo(batch, 2, 4, 5))[0].shape == (batch, 2, 4, 5)


def tensors(model: onnx.ModelProto) -> list[str]:
    return ["input", *(name for node in model.graph.node for name in node.output)]


@pytest.mark.data
def test_int8_answers_as_fp32_does_on_real_frames(data_dir: Path, exported: Exported) -> None:
    """ESPNet for CamVid, calibrated on five training frames, on three others; OpenVINO and ONNX Runtime."""
    size = ImageSize(width=480, height=360)
    weights = data_dir / "weights" / "espnet" / "espnet_p_2_q_8_camvid.pth"
    model, card = exported("espnet", weights=weights, size=str(size))

    def frames(split: str, count: int) -> list[np.ndarray]:
        paths = sorted((data_dir / "data" / "camvid" / split).glob("*.png"))[::5][:count]
        return [preprocess(read_rgb(path), card.preprocessing, size) for path in paths]

    observed = onnx.ModelProto.FromString(model.SerializeToString())
    outputs = {value.name for value in model.graph.output}
    observed.graph.output.extend(
        helper.make_tensor_value_info(t, 1, None) for t in tensors(model)[1:] if t not in outputs
    )
    session = onnxruntime.InferenceSession(observed.SerializeToString())
    names = [value.name for value in session.get_outputs()]
    sketches = {name: Sketch() for name in ["input", *names]}
    for frame in frames("train", 5):
        for name, values in zip(sketches, [frame, *session.run(None, {"input": frame})], strict=True):
            sketches[name].update(values)
    found = quantize(model, {name: mse(sketch) for name, sketch in sketches.items()})
    assert found.left == {}
    assert len(found.model.SerializeToString()) < 0.4 * len(model.SerializeToString())
    for frame in frames("val", 3):
        expected = run(model, optimized=True, input=frame)[0].argmax(1)
        for answer in (run(found.model, optimized=True, input=frame), run_openvino(found.model, input=frame)):
            assert (answer[0].argmax(1) == expected).mean() > 0.975
