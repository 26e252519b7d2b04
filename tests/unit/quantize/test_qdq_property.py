"""Whatever network comes: the Q/DQ graph is valid, and computes what rounding inputs and weights of layers gives."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from espdeploy.quantize.qdq import quantizable, quantize

CHANNELS = 4
KINDS = ("Conv", "ConvTranspose", "Add", "Concat", "PRelu", "Neg")
X = np.random.default_rng(0).standard_normal((1, CHANNELS, 5, 5), dtype=np.float32)


def run(model: onnx.ModelProto, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, feed)


@st.composite
def networks(draw: st.DrawFn) -> onnx.ModelProto:
    """Layers that each read tensors written before; every tensor is (1, 4, 5, 5) but for what a Concat writes."""
    random = np.random.default_rng(draw(st.integers(0, 2**16)))
    nodes, weights, tensors = [], [], ["x"]

    def constant(*shape: int) -> str:
        weights.append(numpy_helper.from_array(random.standard_normal(shape, dtype=np.float32), f"w{len(weights)}"))
        return weights[-1].name

    for drawn in draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=8)):
        kind, output = drawn, f"t{len(nodes)}"
        one, other = (tensors[draw(st.integers(max(0, len(tensors) - 3), len(tensors) - 1))] for _ in range(2))
        inputs, attributes = [one], {}
        if drawn in ("Conv", "ConvTranspose"):
            inputs, attributes = [one, constant(CHANNELS, CHANNELS, 3, 3)], {"pads": [1] * 4}
        elif drawn == "PRelu":
            inputs = [one, constant(CHANNELS, 1, 1)]
        elif drawn == "Add":
            inputs = [one, other]
        elif drawn == "Concat":
            nodes.append(helper.make_node("Concat", [one, other], [f"{output}_joined"], f"n{len(nodes)}", axis=1))
            kind, inputs = "Conv", [f"{output}_joined", constant(CHANNELS, 2 * CHANNELS, 1, 1)]
            if draw(st.booleans()):  # the Concat has a reader in FP32 too
                nodes.append(helper.make_node("Neg", [f"{output}_joined"], [f"{output}_read"]))
        nodes.append(helper.make_node(kind, inputs, [output], f"n{len(nodes)}", **attributes))
        tensors.append(output)
    nodes.append(helper.make_node("Conv", [tensors[-1], constant(CHANNELS, CHANNELS, 1, 1)], ["y"], "last"))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, X.shape)],
        [helper.make_tensor_value_info("y", 1, X.shape)],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)


def ranges(model: onnx.ModelProto) -> dict[str, float]:
    """The greatest |x| of every tensor that a node writes, cut by a fifth so that some values are clipped."""
    observed = onnx.ModelProto.FromString(model.SerializeToString())
    names = list(dict.fromkeys(name for node in model.graph.node for name in node.output))
    del observed.graph.output[:]
    observed.graph.output.extend(helper.make_tensor_value_info(name, 1, None) for name in names)
    values = dict(zip(names, run(observed, {"x": X}), strict=True)) | {"x": X}
    return {name: 0.8 * float(np.abs(value).max()) or 1.0 for name, value in values.items()}  # x - x is 0


def rounded(model: onnx.ModelProto, amax: dict[str, float]) -> np.ndarray:
    """The answer, node after node, with the inputs and weights of layers rounded in NumPy."""

    def fake(values: np.ndarray, greatest: np.ndarray | float, lowest: int) -> np.ndarray:
        scale = np.asarray(greatest / 127, np.float32)
        return (np.clip(np.rint(values / scale), lowest, 127) * scale).astype(np.float32)

    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer} | {"x": X}
    for node in model.graph.node:
        given_values = {name: known[name] for name in node.input}
        if "Conv" in node.op_type:
            data, weight = node.input[0], node.input[1]
            axes = (1, 2, 3) if node.op_type == "Conv" else None
            greatest = np.abs(known[weight]).max(axis=axes, keepdims=True).astype(np.float64)
            given_values = {data: fake(known[data], amax[data], -128), weight: fake(known[weight], greatest, -127)}
        single = helper.make_model(
            helper.make_graph(
                [node],
                "n",
                [helper.make_tensor_value_info(name, 1, value.shape) for name, value in given_values.items()],
                [helper.make_tensor_value_info(node.output[0], 1, None)],
            ),
            opset_imports=[helper.make_opsetid("", 13)],
            ir_version=7,
        )
        known[node.output[0]] = run(single, given_values)[0]
    return known["y"]


@settings(max_examples=30)
@given(model=networks())
def test_the_graph_computes_what_rounding_gives(model: onnx.ModelProto) -> None:
    amax = ranges(model)
    found = quantize(model, amax)
    assert found.quantized == quantizable(model)
    onnx.shape_inference.infer_shapes(found.model, check_type=True, strict_mode=True)
    np.testing.assert_array_equal(run(found.model, {"x": X})[0], rounded(model, amax))


@settings(max_examples=30)
@given(model=networks())
def test_joins_in_int8_leave_a_valid_graph_whose_concats_have_one_scale(model: onnx.ModelProto) -> None:
    amax = ranges(model)
    found = quantize(model, amax, placement="dense")
    onnx.shape_inference.infer_shapes(found.model, check_type=True, strict_mode=True)
    assert np.isfinite(run(found.model, {"x": X})[0]).all()
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in found.model.graph.initializer}
    scales = {node.output[0]: values[node.input[1]] for node in found.model.graph.node if "uantize" in node.op_type}
    for node in found.model.graph.node:
        if node.op_type == "Concat" and set(node.input) & scales.keys():
            reader = next(each for each in found.model.graph.node if node.output[0] in each.input)
            read_with = [scales[reader.output[0]]] if reader.output[0] in scales else []
            assert len({float(scales[name]) for name in node.input if name in scales} | set(map(float, read_with))) == 1
