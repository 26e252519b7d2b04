"""Whatever network comes, the passes keep its answers and have nothing left to do the second time."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from espdeploy.passes import apply, pipeline_for

CHANNELS, SIDE = 4, 5
KINDS = ("Conv", "ConvTranspose", "BatchNormalization", "PRelu", "Relu", "Add", "Concat", "Identity", "Dropout", "Dead")


class Builder:
    """Grows a graph of layers that each read tensors written before; every tensor is (1, 4, 5, 5)."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.tensors = ["input"]

    def constant(self, *shape: int, low: float = -1.0, high: float = 1.0) -> str:
        values = self.random.uniform(low, high, shape).astype(np.float32)
        values[self.random.random(shape) < 0.1] *= np.float32(1e-39)  # denormal where |value| < 1
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def add(self, kind: str, back: int) -> None:
        source = self.tensors[max(0, len(self.tensors) - 1 - back)]
        output = f"t{len(self.nodes)}"
        if kind in ("Conv", "ConvTranspose"):
            weight = self.constant(CHANNELS, CHANNELS, 3, 3)
            node = helper.make_node(kind, [source, weight], [output], pads=[1, 1, 1, 1])
        elif kind == "BatchNormalization":
            inputs = [self.constant(CHANNELS) for _ in range(3)]
            variance = self.constant(CHANNELS, low=0.5, high=2.0)
            node = helper.make_node(kind, [source, *inputs, variance], [output])
        elif kind == "PRelu":
            node = helper.make_node(kind, [source, self.constant(CHANNELS, 1, 1)], [output])
        elif kind == "Add":
            node = helper.make_node(kind, [source, self.tensors[-1]], [output])
        elif kind == "Concat":  # and back to four channels
            joined = f"{output}_joined"
            self.nodes.append(helper.make_node(kind, [source, self.tensors[-1]], [joined], axis=1))
            node = helper.make_node("Conv", [joined, self.constant(CHANNELS, 2 * CHANNELS, 1, 1)], [output])
        elif kind == "Dead":
            self.nodes.append(helper.make_node("Neg", [source], [output]))
            return
        else:
            node = helper.make_node(kind, [source], [output])
        self.nodes.append(node)
        self.tensors.append(output)

    def model(self, extra_output: bool) -> onnx.ModelProto:
        self.nodes.append(helper.make_node("Identity", [self.tensors[-1]], ["output"]))
        outputs = ["output"]
        if extra_output and self.tensors[-1] != "input":
            outputs.append(self.tensors[-1])
        graph = helper.make_graph(
            self.nodes,
            "g",
            [helper.make_tensor_value_info("input", 1, [1, CHANNELS, SIDE, SIDE])],
            [helper.make_tensor_value_info(name, 1, [1, CHANNELS, SIDE, SIDE]) for name in outputs],
            self.constants,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)


@st.composite
def networks(draw: st.DrawFn) -> onnx.ModelProto:
    builder = Builder(draw(st.integers(0, 2**16)))
    layers = draw(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 2)), min_size=1, max_size=10))
    for kind, back in layers:
        builder.add(kind, back)
    return builder.model(draw(st.booleans()))


def run(model: onnx.ModelProto) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3  # it warns of unread constants, which are here on purpose
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = np.random.default_rng(0).standard_normal((1, CHANNELS, SIDE, SIDE)).astype(np.float32)
    return session.run(None, {"input": feed})


@given(model=networks(), simplify=st.booleans())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_answers_stay_and_a_second_run_changes_nothing(model: onnx.ModelProto, simplify: bool) -> None:
    names = pipeline_for(simplify=simplify)
    first = apply(model, names)
    onnx.checker.check_model(first.model, full_check=True)
    for actual, expected in zip(run(first.model), run(model), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-6 * max(1.0, np.abs(expected).max()))
    second = apply(first.model, names)
    assert second.changed_by == ()
    assert second.model.SerializeToString(deterministic=True) == first.model.SerializeToString(deterministic=True)


@given(model=networks())
@settings(max_examples=30, deadline=None, derandomize=True)
def test_names_are_unique_and_every_tensor_is_described(model: onnx.ModelProto) -> None:
    graph = apply(model, pipeline_for(simplify=True)).model.graph
    assert max(Counter(node.name for node in graph.node).values()) == 1
    assert all(node.name for node in graph.node)
    described = {value.name for value in [*graph.value_info, *graph.output]}
    assert described >= {name for node in graph.node for name in node.output}
    inputs = {value.name for value in graph.input}
    assert {value.name for value in model.graph.output} == {value.name for value in graph.output}
    assert inputs == {"input"}
