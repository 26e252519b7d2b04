"""Whatever network comes, a runtime's passes keep its answers, the tensors that they leave, and their own result."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from espdeploy.passes import apply, pipeline_for, pipeline_for_runtime

SIDE = 44  # 20 channels of 44x44 are an output that is worth splitting
KINDS = ("Conv", "Pair", "Transposed", "Grouped", "PRelu", "Pool", "Add", "Branches", "Norm", "Relu", "Twice")


class Builder:
    """Grows a graph of layers; every tensor but those inside a layer is (n, channels, 44, 44)."""

    def __init__(self, seed: int, channels: int, batch: int | str) -> None:
        self.random = np.random.default_rng(seed)
        self.channels = channels
        self.batch = batch
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.tensors = ["input"]

    def constant(self, *shape: int, low: float = -1.0, high: float = 1.0) -> str:
        name = f"c{len(self.constants)}"
        array = self.random.uniform(low, high, shape) / np.sqrt(np.prod(shape[1:]))
        self.constants.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def node(self, kind: str, inputs: list[str], **attributes: object) -> str:
        output = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=f"layer{len(self.nodes)}", **attributes))
        return output

    def conv(self, source: str, outputs: int, inputs: int) -> str:
        weights = [self.constant(outputs, inputs, 3, 3), self.constant(outputs)][: self.random.integers(1, 3)]
        return self.node("Conv", [source, *weights], pads=[1, 1, 1, 1])

    def norm(self, source: str, channels: int) -> str:
        values = [self.constant(channels) for _ in range(3)]
        return self.node("BatchNormalization", [source, *values, self.constant(channels, low=0.5, high=2.0)])

    def add(self, kind: str, back: int) -> None:
        source, c = self.tensors[max(0, len(self.tensors) - 1 - back)], self.channels
        if kind == "Pair":
            inner = int(self.random.choice([16, 17, 25]))
            result = self.conv(self.conv(source, inner, c), c, inner)
        elif kind == "Transposed":
            result = self.node("ConvTranspose", [source, self.constant(c, c, 3, 3)], pads=[1, 1, 1, 1])
        elif kind == "Grouped":
            result = self.node("Conv", [source, self.constant(c, 1, 1, 1)], group=c)
        elif kind == "PRelu":
            slope = self.constant(*((c, 1, 1) if back else (1,)), high=1.5)
            result = self.node("PRelu", [source, slope])
        elif kind == "Pool":
            counted = int(self.random.integers(2))
            window = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": counted}
            result = self.node("AveragePool", [source], **window)
        elif kind == "Branches":  # and back to the usual number of channels
            other = self.conv(self.tensors[-1], c, c)
            joined = self.node("Concat", [self.conv(source, 3, c), other], axis=1)
            result = self.conv(self.norm(joined, c + 3), c, c + 3)
        elif kind == "Twice":
            scales = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), f"c{len(self.constants)}")
            self.constants.append(scales)
            half = self.node("MaxPool", [source], kernel_shape=[2, 2], strides=[2, 2])
            result = self.node("Resize", [half, "", scales.name], mode="linear")
        else:
            result = self.one(kind, source)
        self.tensors.append(result)

    def one(self, kind: str, source: str) -> str:
        if kind == "Conv":
            return self.conv(source, self.channels, self.channels)
        if kind == "Norm":
            return self.norm(source, self.channels)
        return self.node(kind, [source, self.tensors[-1]] if kind == "Add" else [source])

    def model(self, *, extra_output: bool) -> onnx.ModelProto:
        shape = [self.batch, self.channels, SIDE, SIDE]
        outputs = [self.tensors[-1], *([self.tensors[-2]] if extra_output and len(self.tensors) > 2 else [])]
        graph = helper.make_graph(
            self.nodes,
            "g",
            [helper.make_tensor_value_info("input", 1, shape)],
            [helper.make_tensor_value_info(name, 1, shape) for name in outputs],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        return onnx.shape_inference.infer_shapes(model)


@st.composite
def networks(draw: st.DrawFn) -> onnx.ModelProto:
    channels = draw(st.sampled_from([4, 17, 20]))
    builder = Builder(draw(st.integers(0, 2**16)), channels, draw(st.sampled_from([2, "batch"])))
    for kind, back in draw(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 2)), min_size=1, max_size=7)):
        builder.add(kind, back)
    return builder.model(extra_output=draw(st.booleans()))


def run(model: onnx.ModelProto, wanted: list[str]) -> list[np.ndarray]:
    """The values of these tensors, outputs or not, with the runtime's own graph optimizations off."""
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    outputs = {value.name for value in probed.graph.output}
    probed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted if name not in outputs)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(probed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    channels = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    feed = np.random.default_rng(0).standard_normal((2, channels, SIDE, SIDE)).astype(np.float32)
    return session.run(wanted, {"input": feed})


def written(model: onnx.ModelProto) -> list[str]:
    return [name for node in model.graph.node for name in node.output if name]


@pytest.mark.parametrize(
    ("runtime", "precision"), [("openvino", "fp32"), ("openvino", "bf16"), ("onnxruntime", "fp32")]
)
@given(model=networks())
@settings(max_examples=80, deadline=None, derandomize=True)
def test_answers_and_tensors_of_the_same_name_stay(runtime: str, precision: str, model: onnx.ModelProto) -> None:
    names = pipeline_for_runtime(runtime, precision)
    first = apply(model, names)
    onnx.checker.check_model(first.model, full_check=True)
    assert [value.name for value in first.model.graph.output] == [value.name for value in model.graph.output]
    common = [name for name in written(model) if name in set(written(first.model))]
    assert {value.name for value in model.graph.output} <= set(common)
    for actual, wanted in zip(run(first.model, common), run(model, common), strict=True):
        kept = actual[:, : wanted.shape[1]]  # channels may have been filled up behind the old ones
        np.testing.assert_allclose(kept, wanted, rtol=0, atol=5e-6 * max(1.0, np.abs(wanted).max()))
    assert apply(first.model, names).changed_by == ()


@given(model=networks())
@settings(max_examples=80, deadline=None, derandomize=True)
def test_normalization_before_and_after_joins_folds_without_a_trace(model: onnx.ModelProto) -> None:
    names = [name for name in pipeline_for(simplify=True) if name != "simplify"]
    first = apply(model, names)
    onnx.checker.check_model(first.model, full_check=True)
    outputs = [value.name for value in model.graph.output]
    for actual, wanted in zip(run(first.model, outputs), run(model, outputs), strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=5e-6 * max(1.0, np.abs(wanted).max()))
    assert apply(first.model, names).changed_by == ()
