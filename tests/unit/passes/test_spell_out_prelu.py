from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from espdeploy.passes import pipeline_for, spell_out_prelu

MAXIMUM = ["Mul", "Max"]
GENERAL = ["Relu", "Min", "Mul", "Add"]
FEED = np.random.default_rng(1).standard_normal((1, 4, 7, 9)).astype(np.float32)
FEED[0, :, 0, :4] = [0.0, np.nan, 1e-40, -1e-40]


def ops(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("opset", [13, 20])
@pytest.mark.parametrize(
    ("slope", "written"),
    [
        pytest.param(np.full((), 0.25), MAXIMUM, id="scalar"),
        pytest.param(np.full((1,), 0.25), MAXIMUM, id="one"),
        pytest.param(np.array([0.1, -0.7, 0.5, 1.0]).reshape(4, 1, 1), MAXIMUM, id="per channel"),
        pytest.param(np.array([0.1, -0.7, 0.0, 1.0]).reshape(4, 1, 1), GENERAL, id="one 0"),
        pytest.param(np.array([0.1, -0.7, 1.5, 1.0]).reshape(1, 4, 1, 1), GENERAL, id="one above 1"),
        pytest.param(np.random.default_rng(0).uniform(-1, 1, (4, 7, 9)), MAXIMUM, id="full shape"),
        pytest.param(np.random.default_rng(0).uniform(-2, 2, (4, 7, 9)), GENERAL, id="full shape, above 1"),
    ],
)
def test_every_value_stays(slope, written, opset, build, run) -> None:
    model = build("output = PRelu(input, slope)", {"slope": slope}, opset=opset)
    model.graph.node[0].name = "net.act/PRelu"
    expected = run(model, FEED)[0]
    result = spell_out_prelu.run(model)
    assert result.changes == 1
    assert ops(result.model) == written
    assert result.model.graph.node[-1].name == "net.act/PRelu"
    onnx.checker.check_model(result.model, full_check=True)
    np.testing.assert_array_equal(run(result.model, FEED)[0], expected)


@pytest.mark.parametrize("top", [0.5, 0.0, 2.0])
def test_large_values_stay_too(top, build, run) -> None:
    slope = np.array([top, -1, 0.3, 0.9]).reshape(4, 1, 1)
    model = build("output = PRelu(input, slope)", {"slope": slope})
    feed = np.resize(np.array([3e38, -3e38, np.inf, -np.inf, np.nan], np.float32), (1, 4, 7, 9))
    expected = run(model, feed)[0]
    np.testing.assert_array_equal(run(spell_out_prelu.run(model).model, feed)[0], expected)


def test_several_share_a_slope_and_the_zero(build, run) -> None:
    body = "a = PRelu(input, slope) b = PRelu(a, slope) c = Neg(a) d = PRelu(c, low) output = Add(b, d)"
    constants = {"slope": np.array([2.0, 1, 0, 0]).reshape(4, 1, 1), "low": np.full((1,), 0.5)}
    model = build(body, constants)
    expected = run(model, FEED)[0]
    result = spell_out_prelu.run(model)
    assert result.changes == 3
    assert sum(not numpy_helper.to_array(tensor).any() for tensor in result.model.graph.initializer) == 1
    onnx.checker.check_model(result.model, full_check=True)
    np.testing.assert_array_equal(run(result.model, FEED)[0], expected)
    assert not spell_out_prelu.run(result.model).modified


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_slopes_that_are_not_finite_stay(odd, build) -> None:
    assert not spell_out_prelu.run(build("output = PRelu(input, slope)", {"slope": np.full((1,), odd)})).modified


def test_slopes_that_are_not_fixed_stay(build) -> None:
    inputs = "float[1, 4, 7, 9] input, float[4, 1, 1] slope"
    assert not spell_out_prelu.run(build("output = PRelu(input, slope)", inputs=inputs)).modified
    given = {"slope": np.zeros((4, 1, 1))}
    assert not spell_out_prelu.run(build("output = PRelu(input, slope)", given, inputs=inputs)).modified
    assert not spell_out_prelu.run(build("s = Abs(input) output = PRelu(input, s)")).modified


def test_other_types_and_opsets_without_broadcasting_stay(build) -> None:
    half = {"slope": np.full((1,), 0.5, np.float16)}
    inputs, outputs = "float16[1, 4, 7, 9] input", "float16[n, c, h, w] output"
    assert not spell_out_prelu.run(build("output = PRelu(input, slope)", half, inputs=inputs, outputs=outputs)).modified
    old = build("output = PRelu(input, slope)", {"slope": np.full((1,), 0.5)}, opset=7)
    assert not spell_out_prelu.run(old).modified


@pytest.mark.data
@pytest.mark.parametrize("opset", [13, 20])
def test_the_released_network_gives_the_same_values(opset, released, run) -> None:
    before = released(pipeline_for(simplify=True), opset=opset)
    feed = np.random.default_rng(0).standard_normal((1, 3, 128, 256)).astype(np.float32)
    expected = run(before, feed)[0]
    result = spell_out_prelu.run(before)
    assert result.changes == 20
    assert {"Relu", "Max"} <= set(ops(result.model))  # released slopes go from -0.71 to 2.25: both spellings occur
    np.testing.assert_array_equal(run(result.model, feed)[0], expected)
