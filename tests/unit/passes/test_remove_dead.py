from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import parser

from espdeploy.passes import remove_dead

FEED = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)


def parse(
    body: str, *, constants: str = "", outputs: str = "float[n, c, h, w] output", opset: int = 13
) -> onnx.ModelProto:
    return parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : {opset}]>
        g (float[1, 1, 4, 4] input) => ({outputs}) <{constants}> {{ {body} }}"""
    )


def ops(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize(
    ("body", "constants", "outputs", "left"),
    [
        pytest.param("a = Identity(input) b = Identity(a) output = Relu(b)", "", None, ["Relu"], id="chain"),
        pytest.param("a = Relu(input) output = Identity(a)", "", None, ["Relu"], id="before the output"),
        pytest.param(
            "a = Relu(input) output = Identity(a) o2 = Neg(a)",
            "",
            "float[n, c, h, w] output, float[n, c, h, w] o2",
            ["Relu", "Neg"],
            id="before an output, with another reader",
        ),
        pytest.param(
            "a = Relu(input) output = Identity(a) o2 = Identity(a)",
            "",
            "float[n, c, h, w] output, float[n, c, h, w] o2",
            ["Relu", "Identity"],
            id="one value, two outputs",
        ),
        pytest.param("output = Identity(input)", "", None, ["Identity"], id="from input to output"),
        pytest.param(
            "v = Identity(w) output = Mul(input, v)",
            "float[1] w = {3.0}, float[1] unread = {1.0}",
            None,
            ["Mul"],
            id="constants",
        ),
        pytest.param("a = Relu(input) b = Neg(a) output = Abs(a)", "", None, ["Relu", "Abs"], id="unread node"),
        pytest.param("a, mask = Dropout(input) output = Relu(a)", "", None, ["Relu"], id="dropout"),
        pytest.param(
            "output, indices = MaxPool<kernel_shape = [2, 2]>(input)", "", None, ["MaxPool"], id="optional output"
        ),
    ],
)
def test_what_has_no_effect_goes_and_the_result_stays(body, constants, outputs, left, run) -> None:
    model = parse(body, constants=constants, **({"outputs": outputs} if outputs else {}))
    names = [value.name for value in model.graph.output]
    expected = run(model, FEED)
    result = remove_dead.run(model)
    onnx.checker.check_model(result.model, full_check=True)
    assert ops(result.model) == left
    assert [value.name for value in result.model.graph.output] == names
    for actual, wanted in zip(run(result.model, FEED), expected, strict=True):
        np.testing.assert_array_equal(actual, wanted)
    assert not remove_dead.run(result.model).modified


def test_unread_constants_and_optional_outputs_are_gone() -> None:
    model = parse("output, i = MaxPool<kernel_shape = [2, 2]>(input)", constants="float[1] unread = {1.0}")
    result = remove_dead.run(model)
    assert list(result.model.graph.node[0].output) == ["output"]
    assert not result.model.graph.initializer
    assert result.changes == 2


def test_a_dropout_that_is_switched_on_stays() -> None:
    model = parse("a = Dropout(input, ratio, on) output = Relu(a)", constants="float ratio = {0.5}, bool on = {1}")
    assert ops(remove_dead.run(model).model) == ["Dropout", "Relu"]


def test_what_only_a_branch_reads_stays(run) -> None:
    body = """kept = Relu(input) dead = Neg(input) same = Identity(kept)
    output = If (yes) <
      then_branch = t () => (float[n, c, h, w] x) { x = Mul(same, two) },
      else_branch = e () => (float[n, c, h, w] y) { y = Neg(kept) }
    >"""
    model = parse(body, constants="bool yes = {1}, float[1] two = {2.0}")
    expected = run(model, FEED)[0]
    result = remove_dead.run(model)
    onnx.checker.check_model(result.model)
    assert ops(result.model) == ["Relu", "If"]
    np.testing.assert_array_equal(run(result.model, FEED)[0], expected)
