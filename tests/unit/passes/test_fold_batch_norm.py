from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from espdeploy.passes import fold_batch_norm


def graph(
    kind: str, *, groups: int = 1, bias: bool = False, shared: bool = False, variance: float | None = None
) -> onnx.ModelProto:
    """input -> Conv or ConvTranspose (4 -> 6 channels) -> BatchNormalization -> output."""
    random = np.random.default_rng(3)
    shape = (6, 4 // groups, 3, 3) if kind == "Conv" else (4, 6 // groups, 3, 3)
    values = {
        "w": random.standard_normal(shape),
        "gamma": random.uniform(0.3, 2, 6),
        "beta": random.standard_normal(6),
        "mean": random.standard_normal(6),
        "var": random.uniform(0.1, 3, 6) if variance is None else np.full(6, variance),
    }
    values |= {"b": random.standard_normal(6)} if bias else {}
    outputs = ["output", "raw"] if shared else ["output"]
    return helper.make_model(
        helper.make_graph(
            [
                helper.make_node(kind, ["input", "w", *(["b"] if bias else [])], ["raw"], name="up", group=groups),
                helper.make_node(
                    "BatchNormalization", ["raw", "gamma", "beta", "mean", "var"], ["output"], name="bn", epsilon=1e-3
                ),
            ],
            "g",
            [helper.make_tensor_value_info("input", 1, [1, 4, 7, 9])],
            [helper.make_tensor_value_info(name, 1, [1, 6, None, None]) for name in outputs],
            [numpy_helper.from_array(array.astype(np.float32), name) for name, array in values.items()],
        ),
        opset_imports=[helper.make_opsetid("", 13)],
        ir_version=7,
    )


def ops(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("bias", [False, True])
def test_the_folded_graph_computes_the_same(kind, groups, bias, run) -> None:
    model = graph(kind, groups=groups, bias=bias)
    feed = np.random.default_rng(0).standard_normal((1, 4, 7, 9)).astype(np.float32)
    expected = run(model, feed)[0]
    result = fold_batch_norm.run(model)
    assert result.changes == 1
    assert ops(result.model) == {kind: 1}
    onnx.checker.check_model(result.model)
    np.testing.assert_allclose(run(result.model, feed)[0], expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_weights_are_the_closed_form_rounded_once() -> None:
    model = graph("Conv", bias=True)
    old = {tensor.name: numpy_helper.to_array(tensor).astype(np.float64) for tensor in model.graph.initializer}
    epsilon = float(np.float32(1e-3))
    scale = old["gamma"] / np.sqrt(old["var"] + epsilon)
    folded = fold_batch_norm.run(model).model
    new = {tensor.name: numpy_helper.to_array(tensor) for tensor in folded.graph.initializer}
    weight, bias = (new[name] for name in folded.graph.node[0].input[1:])
    np.testing.assert_array_equal(weight, (old["w"] * scale[:, None, None, None]).astype(np.float32))
    np.testing.assert_array_equal(bias, ((old["b"] - old["mean"]) * scale + old["beta"]).astype(np.float32))


def test_a_convolution_that_somebody_else_reads_stays() -> None:
    result = fold_batch_norm.run(graph("Conv", shared=True))
    assert not result.modified
    assert ops(result.model) == {"Conv": 1, "BatchNormalization": 1}


def test_a_variance_that_makes_weights_infinite_stays() -> None:
    assert not fold_batch_norm.run(graph("Conv", variance=-1e-3)).modified


def test_a_weight_that_two_convolutions_share_is_left_as_it_is_for_the_other(run) -> None:
    model = graph("Conv")
    model.graph.node.append(helper.make_node("Conv", ["input", "w"], ["other"]))
    model.graph.output.append(helper.make_tensor_value_info("other", 1, [1, 6, None, None]))
    feed = np.random.default_rng(0).standard_normal((1, 4, 7, 9)).astype(np.float32)
    expected = run(model, feed)
    result = fold_batch_norm.run(model)
    assert result.changes == 1
    for actual, wanted in zip(run(result.model, feed), expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())


@pytest.mark.parametrize("before", ["Add", "Concat"])
def test_after_a_join_there_are_no_weights_to_fold_into(before: str) -> None:
    body = "joined = Add(input, input)" if before == "Add" else "joined = Concat<axis = 1>(input, input)"
    count = 1 if before == "Add" else 2
    ones = ", ".join(["1.0"] * count)
    model = onnx.parser.parse_model(
        f"""<ir_version: 7, opset_import: ["" : 13]>
        g (float[1, 1, 2, 2] input) => (float[1, {count}, 2, 2] output)
        <float[{count}] s = {{{ones}}}> {{ {body}
        output = BatchNormalization(joined, s, s, s, s) }}"""
    )
    assert not fold_batch_norm.run(model).modified
