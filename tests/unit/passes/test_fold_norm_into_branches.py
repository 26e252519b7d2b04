from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from espdeploy.passes import fold_norm_into_branches, pipeline_for

FEED = np.random.default_rng(1).standard_normal((1, 4, 7, 9)).astype(np.float32)
BN = "output = BatchNormalization<epsilon = 0.001>(joined, gamma, beta, mean, var)"
CONVS = """a = Conv<pads = [1, 1, 1, 1]>(input, w0)
b = ConvTranspose<pads = [1, 1, 1, 1], group = 2>(input, w1, b1)"""


def weights() -> dict[str, np.ndarray]:
    random = np.random.default_rng(2)
    return {
        "w0": random.standard_normal((3, 4, 3, 3)),
        "w1": random.standard_normal((4, 3, 3, 3)),  # two groups of three: six channels
        "b1": random.standard_normal(6),
    }


def ops(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize("axis", [1, -3])
@pytest.mark.parametrize("opset", [13, 20])
def test_the_folded_graph_computes_the_same(axis, opset, build, norm, equal) -> None:
    model = build(f"{CONVS} joined = Concat<axis = {axis}>(a, b) {BN}", weights() | norm(9), opset=opset)
    before = type(model).FromString(model.SerializeToString())
    result = fold_norm_into_branches.run(model)
    assert result.changes == 1
    assert ops(result.model) == {"Conv": 1, "ConvTranspose": 1, "Concat": 1}
    equal(result.model, before, FEED)


def test_each_branch_has_the_closed_form_of_its_own_channels_rounded_once(build, norm) -> None:
    random = np.random.default_rng(5)
    arrays = {"w0": random.standard_normal((2, 4, 1, 1)), "w1": random.standard_normal((3, 4, 1, 1))}
    arrays = {name: array.astype(np.float32) for name, array in (arrays | norm(5)).items()}
    body = f"a = Conv(input, w0) b = Conv(input, w1) joined = Concat<axis = 1>(a, b) {BN}"
    graph = fold_norm_into_branches.run(build(body, arrays)).model.graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    gamma, beta, mean, var = (arrays[name].astype(np.float64) for name in ("gamma", "beta", "mean", "var"))
    scale = gamma / np.sqrt(var + float(np.float32(0.001)))
    shift = beta - mean * scale
    for node, old, part in zip(graph.node, ("w0", "w1"), (slice(0, 2), slice(2, 5)), strict=False):
        wanted = (arrays[old].astype(np.float64) * scale[part, None, None, None]).astype(np.float32)
        np.testing.assert_array_equal(stored[node.input[1]], wanted)
        np.testing.assert_array_equal(stored[node.input[2]], shift[part].astype(np.float32))


@pytest.mark.parametrize(
    ("body", "channels"),
    [
        pytest.param(f"{CONVS} joined = Concat<axis = 1>(a, a) {BN}", 6, id="one branch twice"),
        pytest.param(f"{CONVS} c = Relu(b) joined = Concat<axis = 1>(a, c) {BN}", 9, id="a branch is no convolution"),
        pytest.param(f"{CONVS} joined = Concat<axis = 1>(a, input) {BN}", 7, id="a branch is the input"),
        pytest.param(
            f"{CONVS} joined = Concat<axis = 1>(a, b) {BN.replace('output', 'c')} output = Concat<axis = 1>(c, a)",
            9,
            id="a branch has another reader",
        ),
        pytest.param(
            f"{CONVS} joined = Concat<axis = 1>(a, b) {BN.replace('output', 'c')} output = Add(c, joined)",
            9,
            id="the Concat has another reader",
        ),
        pytest.param(
            f"{CONVS} a2 = Conv<pads = [1, 1, 1, 1]>(input, w0) joined = Concat<axis = 2>(a, a2) {BN}",
            3,
            id="another axis",
        ),
    ],
)
def test_what_is_not_the_norm_s_alone_stays(body, channels, build, norm) -> None:
    assert not fold_norm_into_branches.run(build(body, weights() | norm(channels))).modified


@pytest.mark.parametrize("writes", ["output", "output, m, v"])
def test_one_that_is_training_stays(writes, build, norm) -> None:
    model = build(f"{CONVS} joined = Concat<axis = 1>(a, b) {BN}", weights() | norm(9), opset=15)
    training = model.graph.node[-1]
    training.attribute.append(onnx.helper.make_attribute("training_mode", 1))
    training.output[:] = writes.split(", ")
    assert not fold_norm_into_branches.run(model).modified


@pytest.mark.parametrize("given", ["w1", "b1", "var"])
def test_what_the_caller_can_override_stays(given, build, norm) -> None:
    shapes = {"w1": "float[4, 3, 3, 3]", "b1": "float[6]", "var": "float[9]"}
    inputs = f"float[1, 4, 7, 9] input, {shapes[given]} {given}"
    model = build(f"{CONVS} joined = Concat<axis = 1>(a, b) {BN}", weights() | norm(9), inputs=inputs)
    assert not fold_norm_into_branches.run(model).modified


@pytest.mark.parametrize("also", ["a", "joined"])
def test_what_is_an_output_stays(also, build, norm) -> None:
    outputs = f"float[n, c, h, w] output, float[n, d, h, w] {also}"
    model = build(f"{CONVS} joined = Concat<axis = 1>(a, b) {BN}", weights() | norm(9), outputs=outputs)
    assert not fold_norm_into_branches.run(model).modified


def test_a_variance_that_makes_one_branch_infinite_leaves_both(build, norm) -> None:
    broken = norm(9) | {"var": np.array([1.0] * 8 + [-0.001])}
    model = build(f"{CONVS} joined = Concat<axis = 1>(a, b) {BN}", weights() | broken)
    before = model.SerializeToString()
    assert not fold_norm_into_branches.run(model).modified
    assert model.SerializeToString() == before


def test_a_weight_that_both_branches_share_becomes_two(build, norm, equal) -> None:
    body = f"""a = Conv<pads = [1, 1, 1, 1]>(input, w0) b = Conv<pads = [2, 2, 2, 2], dilations = [2, 2]>(input, w0)
    joined = Concat<axis = 1>(a, b) {BN}"""
    model = build(body, weights() | norm(6))
    before = type(model).FromString(model.SerializeToString())
    result = fold_norm_into_branches.run(model)
    assert result.changes == 1
    equal(result.model, before, FEED)


def test_two_in_a_row_both_go(build, norm, equal) -> None:
    body = f"{CONVS} joined = Concat<axis = 1>(a, b) {BN}".replace("output", "once")
    model = build(f"{body} output = BatchNormalization(once, gamma, beta, mean, var)", weights() | norm(9))
    before = type(model).FromString(model.SerializeToString())
    result = fold_norm_into_branches.run(model)
    assert result.changes == 2
    assert ops(result.model)["BatchNormalization"] == 0
    equal(result.model, before, FEED)


@pytest.mark.data
@pytest.mark.parametrize("opset", [13, 20])
def test_the_released_network_has_one_such_place(opset, released, equal) -> None:
    names = pipeline_for(simplify=True)
    own = ("fold-norm-into-branches", "fold-norm-into-next")
    without = released([name for name in names if name not in own], opset=opset)
    folded = released(names, opset=opset)
    assert ops(without)["BatchNormalization"] - ops(folded)["BatchNormalization"] == 1
    equal(folded, without, np.random.default_rng(0).standard_normal((1, 3, 128, 256)).astype(np.float32))
