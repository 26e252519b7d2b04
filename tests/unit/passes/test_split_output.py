from __future__ import annotations

import importlib.util
from collections import Counter

import numpy as np
import onnx
import pytest

from espdeploy.passes import PASSES, pipeline_for
from espdeploy.passes.split_output import PASS, PASS_RESIZED

FEED = np.random.default_rng(1).standard_normal((1, 4, 48, 48)).astype(np.float32)
FEEDS = np.random.default_rng(2).standard_normal((3, 4, 48, 48)).astype(np.float32)
IMAGE, IMAGES = "float[1, 4, 48, 48] input", "float[n, 4, 48, 48] input"
DIRECT = "output = Conv(input, w, b)"
RESIZED = 'a = Conv(input, w, b) output = Resize<mode = "linear">(a, , twice)'


def outputs(channels: int, side: int = 48, batch: str = "1") -> str:
    return f"float[{batch}, {channels}, {side}, {side}] output"


def weights(channels: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(channels)
    return {
        "w": random.standard_normal((channels, 4, 1, 1)),
        "wt": random.standard_normal((4, channels, 2, 2)),
        "b": random.standard_normal(channels),
        "twice": np.array([1, 1, 2, 2], np.float32),
        "deeper": np.array([1, 2, 2, 2], np.float32),
        "sizes": np.array([1, channels, 96, 96], np.int64),
    }


def ops(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize(("channels", "parts"), [(16, 2), (20, 2), (31, 3), (64, 5)])
@pytest.mark.parametrize(
    ("body", "side"),
    [
        (DIRECT, 48),
        ("output = Conv(input, w)", 48),
        ("output = ConvTranspose<strides = [2, 2]>(input, wt, b)", 96),
        ("a = Conv(input, w, b) c = LeakyRelu<alpha = 0.1>(a) output = Sigmoid(c)", 48),
    ],
)
def test_each_part_computes_its_own_channels(request, body, side, channels, parts) -> None:
    build, equal = request.getfixturevalue("build"), request.getfixturevalue("equal")
    model = build(body, weights(channels), inputs=IMAGE, outputs=outputs(channels, side), opset=20)
    before = type(model).FromString(model.SerializeToString())
    result = PASS.run(model)
    assert result.changes == 1
    counted = ops(result.model)
    assert counted["Conv"] + counted["ConvTranspose"] == parts
    assert (counted["Reshape"], counted["Concat"]) == (parts + 1, 1)
    equal(result.model, before, FEED)
    assert not PASS.run(result.model).modified


@pytest.mark.parametrize(("body", "side", "chosen"), [(DIRECT, 48, PASS), (RESIZED, 96, PASS_RESIZED)])
def test_of_any_batch(body, side, chosen, build, equal) -> None:
    model = build(body, weights(20), inputs=IMAGES, outputs=outputs(20, side, "n"))
    before = type(model).FromString(model.SerializeToString())
    assert chosen.run(model).changes == 1
    equal(model, before, FEED)
    equal(model, before, FEEDS)


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")
@pytest.mark.parametrize(("body", "side", "chosen"), [(DIRECT, 48, PASS), (RESIZED, 96, PASS_RESIZED)])
def test_in_openvino_for_which_it_is_meant(body, side, chosen, build, run) -> None:
    from espdeploy.backends.openvino import core as shared_core

    for inputs, feed in ((IMAGE, FEED), (IMAGES, FEEDS)):
        model = build(body, weights(20), inputs=inputs, outputs=outputs(20, side, "n"))
        expected = run(model, feed)[0]
        changed = shared_core().read_model(chosen.run(model).model.SerializeToString())
        compiled = shared_core().compile_model(changed, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        np.testing.assert_allclose(compiled(feed)[0], expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_which_of_the_two_takes_an_output_that_is_resized(build, equal) -> None:
    for body, side, taker, other in ((DIRECT, 48, PASS, PASS_RESIZED), (RESIZED, 96, PASS_RESIZED, PASS)):
        model = build(body, weights(20), inputs=IMAGE, outputs=outputs(20, side))
        before = type(model).FromString(model.SerializeToString())
        assert not other.run(model).modified
        assert taker.run(model).changes == 1
        equal(model, before, FEED)


@pytest.mark.parametrize(
    ("body", "channels", "side"),
    [
        pytest.param(DIRECT, 15, 48, id="few channels"),
        pytest.param(DIRECT, 65, 48, id="many channels"),
        pytest.param("a = Conv<strides = [2, 2]>(input, w) output = Relu(a)", 20, 24, id="a small output"),
        pytest.param("output = Conv<group = 2>(input, grouped)", 20, 48, id="groups"),
        pytest.param("a = Conv(input, w) output = Softmax<axis = 1>(a)", 20, 48, id="channels mixed"),
        pytest.param("a = Conv(input, w) output = Resize(a, , , sizes)", 20, 96, id="resized to a size"),
        pytest.param("a = Conv(input, w) output = Resize(a, , deeper)", 40, 96, id="channels resized"),
        pytest.param("a = Conv(input, w) output = Add(a, a)", 20, 48, id="read twice"),
        pytest.param("a = Relu(input) output = Concat<axis = 1>(a, a, a, a, a)", 20, 48, id="no convolution"),
    ],
)
def test_what_gains_nothing_or_cannot_be_split_stays(body, channels, side, build) -> None:
    arrays = weights(20 if "deeper" in body else channels) | {"grouped": np.ones((20, 2, 1, 1))}
    model = build(body, arrays, inputs=IMAGE, outputs=outputs(channels, side))
    assert not PASS.run(model).modified
    assert not PASS_RESIZED.run(model).modified


@pytest.mark.parametrize("body", ["a = Conv(input, w) output = Relu(a)", "output = Conv(input, w) a = Relu(output)"])
def test_a_tensor_that_somebody_else_reads_is_still_written_in_one_piece(body, build, equal) -> None:
    both = f"{outputs(20)}, float[1, 20, 48, 48] a"
    model = build(body, weights(20), inputs=IMAGE, outputs=both)
    before = type(model).FromString(model.SerializeToString())
    assert not PASS.run(model).modified
    equal(model, before, FEED)


def test_a_weight_that_can_be_overridden_stays(build) -> None:
    given = f"{IMAGE}, float[20, 4, 1, 1] w"
    assert not PASS.run(build(DIRECT, weights(20), inputs=given, outputs=outputs(20))).modified


def test_open_extents_and_fp16_outputs_stay(build) -> None:
    open_side = build(DIRECT, weights(20), inputs="float[1, 4, 48, w] input", outputs="float[1, 20, 48, w] output")
    assert not PASS.run(open_side).modified
    half = build(
        "a = Conv(input, w) output = Cast<to = 10>(a)",
        weights(20),
        inputs=IMAGE,
        outputs=outputs(20).replace("float", "float16"),
    )
    assert not PASS.run(half).modified


def test_a_resize_of_an_old_opset_stays(build) -> None:
    old = build(RESIZED.replace(", , ", ", "), weights(20), inputs=IMAGE, outputs=outputs(20, 96), opset=10)
    assert not PASS_RESIZED.run(old).modified


def test_two_outputs_and_a_weight_that_they_share(build, equal) -> None:
    both = f"{outputs(20)}, float[1, 20, 48, 48] second"
    body = "output = Conv(input, w, b) a = Neg(input) second = Conv(a, w, b)"
    model = build(body, weights(20), inputs=IMAGE, outputs=both)
    before = type(model).FromString(model.SerializeToString())
    assert PASS.run(model).changes == 2
    equal(model, before, FEED)


@pytest.mark.data
@pytest.mark.parametrize(("opset", "dynamic"), [(13, False), (20, True)])
def test_the_released_network(opset, dynamic, released, equal) -> None:
    before = released(pipeline_for(simplify=True), opset=opset, dynamic=dynamic)
    result = PASSES["split-output"].run(type(before).FromString(before.SerializeToString()))
    assert result.changes == 1
    feed = np.random.default_rng(0).standard_normal((2 if dynamic else 1, 3, 128, 256)).astype(np.float32)
    equal(result.model, before, feed)
