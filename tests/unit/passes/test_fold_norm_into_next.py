from __future__ import annotations

import numpy as np
import onnx
import pytest

from espdeploy.passes import fold_norm_into_next

FEED = np.random.default_rng(1).standard_normal((1, 4, 7, 9)).astype(np.float32)
BN = "a = Relu(input) b = BatchNormalization(a, gamma, beta, mean, var)"


def constants(norm, **changed: np.ndarray) -> dict[str, np.ndarray]:
    random = np.random.default_rng(2)
    conv = {"w": random.standard_normal((6, 4, 3, 3)), "w2": random.standard_normal((6, 2, 3, 3))}
    return conv | {"c": random.standard_normal(6)} | norm(4) | changed


def ops(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("opset", [13, 20])
@pytest.mark.parametrize(
    "conv",
    [
        "output = Conv(b, w)",
        "output = Conv(b, w, c)",
        "output = Conv<group = 2, strides = [2, 1]>(b, w2, c)",
        'output = Conv<auto_pad = "VALID", dilations = [2, 1]>(b, w)',
        "output = Conv<pads = [0, 0, 0, 0]>(b, w)",
    ],
)
def test_the_folded_graph_computes_the_same(conv, opset, build, norm, equal) -> None:
    model = build(f"{BN} {conv}", constants(norm), opset=opset)
    before = type(model).FromString(model.SerializeToString())
    result = fold_norm_into_next.run(model)
    assert result.changes == 1
    assert ops(result.model) == ["Relu", "Conv"]
    equal(result.model, before, FEED)


def test_padding_is_no_hindrance_where_nothing_is_shifted(build, norm, equal) -> None:
    still = {"beta": np.zeros(4), "mean": np.zeros(4)}
    model = build(f"{BN} output = Conv<pads = [1, 1, 1, 1]>(b, w)", constants(norm, **still))
    before = type(model).FromString(model.SerializeToString())
    assert fold_norm_into_next.run(model).changes == 1
    equal(model, before, FEED)


@pytest.mark.parametrize(
    "rest",
    [
        pytest.param("output = Conv<pads = [1, 0, 0, 0]>(b, w)", id="padded"),
        pytest.param('output = Conv<auto_pad = "SAME_UPPER">(b, w)', id="padded by itself"),
        pytest.param("output = ConvTranspose(b, w4)", id="transposed"),
        pytest.param("d = Conv(b, w) e = Conv(b, w) output = Add(d, e)", id="two readers"),
        pytest.param("d = PRelu(b, slope) output = Conv(d, w)", id="an activation between"),
        pytest.param("output = Conv(input, b)", id="as a weight"),
    ],
)
def test_where_algebra_does_not_allow_it_stays(rest, build, norm) -> None:
    extra = {"w4": np.ones((4, 2, 3, 3)), "slope": np.full((4, 1, 1), 0.2)}
    assert not fold_norm_into_next.run(build(f"{BN} {rest}", constants(norm) | extra)).modified


def test_what_is_an_output_or_can_be_overridden_stays(build, norm) -> None:
    outputs = "float[n, c, h, w] output, float[n, d, g, k] b"
    assert not fold_norm_into_next.run(build(f"{BN} output = Conv(b, w)", constants(norm), outputs=outputs)).modified
    inputs = "float[1, 4, 7, 9] input, float[6, 4, 3, 3] w"
    assert not fold_norm_into_next.run(build(f"{BN} output = Conv(b, w)", constants(norm), inputs=inputs)).modified


def test_a_weight_that_another_reads_stays_as_it_is_for_that_one(build, norm, equal) -> None:
    outputs = "float[n, c, h, w] output, float[n, c, h, w] other"
    model = build(f"{BN} output = Conv(b, w) other = Conv(input, w)", constants(norm), outputs=outputs)
    before = type(model).FromString(model.SerializeToString())
    assert fold_norm_into_next.run(model).changes == 1
    equal(model, before, FEED)
