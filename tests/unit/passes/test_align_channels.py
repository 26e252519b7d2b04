from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from espdeploy.passes import align_channels, pipeline_for

FEED = np.random.default_rng(1).standard_normal((2, 4, 7, 9)).astype(np.float32)
PLANE = "float[n, 4, 7, 9] input"
READ_TWICE = "b = Conv<pads = [1, 1, 1, 1]>(a, w1, b1) c = Conv(a, w2) output = Add(b, c)"


def weights(channels: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(channels)
    return {
        "w0": random.standard_normal((channels, 4, 1, 1)),
        "b0": random.standard_normal(channels),
        "w1": random.standard_normal((5, channels, 3, 3)),
        "b1": random.standard_normal(5),
        "w2": random.standard_normal((5, channels, 1, 1)),
    }


def extents(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    return {tensor.name: numpy_helper.to_array(tensor).shape for tensor in model.graph.initializer}


@pytest.mark.parametrize(("channels", "filled"), [(17, 20), (25, 28), (131, 132)])
@pytest.mark.parametrize(("bias", "opset"), [("", 13), (", b0", 20)])
def test_channels_are_filled_up_and_the_answers_stay(request, bias, opset, channels, filled) -> None:
    build, equal = request.getfixturevalue("build"), request.getfixturevalue("equal")
    model = build(f"a = Conv(input, w0{bias}) {READ_TWICE}", weights(channels), inputs=PLANE, opset=opset)
    model.graph.value_info.append(onnx.helper.make_tensor_value_info("a", 1, ["n", channels, 7, 9]))
    before = type(model).FromString(model.SerializeToString())
    result = align_channels.run(model)
    assert result.changes == 1
    first, second, third, _ = result.model.graph.node
    known = extents(result.model)
    assert known[first.input[1]][0] == known[second.input[1]][1] == known[third.input[1]][1] == filled
    assert [known[name] for name in first.input[2:]] == [(filled,)] * bool(bias)
    equal(result.model, before, FEED)
    assert not align_channels.run(result.model).modified


def test_one_after_another_and_a_shared_weight(build, equal) -> None:
    random = np.random.default_rng(0)
    arrays = {"w0": random.standard_normal((18, 4, 1, 1)), "w1": random.standard_normal((18, 18, 1, 1))}
    body = "a = Conv(input, w0) b = Conv(a, w1) c = Conv(b, w1) output = Relu(c)"
    model = build(body, arrays, inputs=PLANE)
    before = type(model).FromString(model.SerializeToString())
    result = align_channels.run(model)
    assert result.changes == 2  # a and b; c is read by no convolution
    equal(result.model, before, FEED)


@pytest.mark.parametrize(
    ("body", "channels"),
    [
        pytest.param(f"a = Conv(input, w0) {READ_TWICE}", 24, id="a multiple"),
        pytest.param(f"a = Conv(input, w0) {READ_TWICE}", 13, id="few"),
        pytest.param("r = Conv(input, w0) a = Relu(r) output = Conv(a, w1)", 17, id="an activation between"),
        pytest.param(
            "a = Conv(input, w0) b = Conv(a, w1) c = ReduceMax(a) output = Add(b, c)", 17, id="another reader"
        ),
        pytest.param("a = Conv(input, w0) output = Conv<group = 17>(a, one)", 17, id="a grouped reader"),
        pytest.param("a = ConvTranspose(input, wt) output = Conv(a, w1)", 17, id="transposed"),
    ],
)
def test_what_cannot_be_filled_or_need_not_be_stays(body, channels, build) -> None:
    extra = {"one": np.ones((channels, 1, 3, 3)), "wt": np.ones((4, channels, 1, 1))}
    assert not align_channels.run(build(body, weights(channels) | extra, inputs=PLANE)).modified


def test_what_is_an_output_or_read_inside_a_branch_or_can_be_overridden_stays(build) -> None:
    arrays = weights(17)
    outputs = "float[n, c, h, w] output, float[n, d, g, k] a"
    body = "a = Conv(input, w0) output = Conv(a, w1)"
    assert not align_channels.run(build(body, arrays, outputs=outputs, inputs=PLANE)).modified
    for name, shape in (("w0", "17, 4, 1, 1"), ("w1", "5, 17, 3, 3")):
        inputs = f"{PLANE}, float[{shape}] {name}"
        assert not align_channels.run(build(body, arrays, inputs=inputs)).modified
    inner = """a = Conv(input, w0) b = Conv(a, w2) c = If (yes) <
        then_branch = t () => (float[n, d, h, w] x) { x = Neg(a) },
        else_branch = e () => (float[n, d, h, w] y) { y = Abs(a) }
    > m = ReduceMax(c) output = Add(b, m)"""
    assert not align_channels.run(build(inner, arrays | {"yes": np.array(True)}, inputs=PLANE)).modified


@pytest.mark.data
@pytest.mark.parametrize(("opset", "dynamic"), [(13, False), (20, True)])
def test_the_released_network_reduces_to_28_channels(opset, dynamic, released, equal) -> None:
    before = released(pipeline_for(simplify=True), opset=opset, dynamic=dynamic)
    result = align_channels.run(type(before).FromString(before.SerializeToString()))
    assert result.changes == 9
    feed = np.random.default_rng(0).standard_normal((2 if dynamic else 1, 3, 128, 256)).astype(np.float32)
    equal(result.model, before, feed)
