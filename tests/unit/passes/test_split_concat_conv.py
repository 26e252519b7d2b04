from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper, parser

from espdeploy import export
from espdeploy.backends.openvino import core as shared_core
from espdeploy.networks.build import build
from espdeploy.passes import apply, pipeline_for, split_concat_conv
from espdeploy.quantize.qdq import quantize
from espdeploy.specs import ImageSize, ModelSpec


def values(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def graph(
    channels: list[int], kernel: tuple[int, ...] = (3, 3), *, bias: bool = True, axis: int = 1, **attributes: object
) -> onnx.ModelProto:
    """x (1, 7, ...) -> a slice of channels for each branch -> Concat -> Conv to 6 channels -> y."""
    sides = [9] * len(kernel)
    cuts = np.cumsum([0, *channels])
    constants = {"w": values(6, sum(channels), *kernel, seed=1), "b": values(6, seed=2), "axes": np.array([1])}
    nodes = []
    for index, (first, last) in enumerate(pairwise(cuts)):
        constants |= {f"first{index}": np.array([first]), f"last{index}": np.array([last])}
        nodes.append(helper.make_node("Slice", ["x", f"first{index}", f"last{index}", "axes"], [f"branch{index}"]))
    joined = [f"branch{index}" for index in range(len(channels))]
    nodes.append(helper.make_node("Concat", joined, ["joined"], name="Concat", axis=axis))
    inputs = ["joined", "w", *(["b"] if bias else [])]
    nodes.append(helper.make_node("Conv", inputs, ["y"], name="mix/Conv", **attributes))
    return helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", 1, [1, sum(channels), *sides])],
            [helper.make_tensor_value_info("y", 1, [1, 6, *[None] * len(kernel)])],
            [numpy_helper.from_array(array, name) for name, array in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 13)],
        ir_version=7,
    )


def kinds(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize(
    ("channels", "options"),
    [
        ([3, 4], {}),
        ([3, 4], {"bias": False}),
        ([1, 4, 2], {"pads": [1, 2, 0, 1], "strides": [2, 1]}),
        ([3, 4], {"dilations": [2, 3], "axis": -3}),
        ([3, 4], {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
        ([2, 5], {"kernel": (3,), "axis": -2}),
        ([2, 5], {"kernel": (2, 1, 3), "group": 1}),
        ([6, 1], {"kernel": (1, 1)}),
    ],
)
def test_the_sum_is_the_convolution(channels: list[int], options: dict, run) -> None:
    model = graph(channels, **options)
    feed = values(*(dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim))
    expected = run(model, feed)[0]

    result = split_concat_conv.run(model)

    assert result.changes == 1
    assert kinds(result.model) == {"Slice": len(channels), "Conv": len(channels), "Add": len(channels) - 1}
    onnx.checker.check_model(result.model, full_check=True)
    onnx.shape_inference.infer_shapes(result.model, check_type=True, strict_mode=True)
    np.testing.assert_allclose(run(result.model, feed)[0], expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    assert not split_concat_conv.run(result.model).modified


def test_parts_are_named_after_the_convolution_and_hold_its_weights() -> None:
    model = graph([3, 4])
    weight = numpy_helper.to_array(model.graph.initializer[0])
    split = split_concat_conv.run(model).model
    parts = [node for node in split.graph.node if node.op_type == "Conv"]
    assert [node.name for node in parts] == ["mix/Conv.part0", "mix/Conv.part1"]
    assert [list(node.input) for node in parts] == [["branch0", "w.part0", "b"], ["branch1", "w.part1"]]
    assert split.graph.node[-1].name == "mix/Conv.sum1"
    assert split.graph.node[-1].output[0] == "y"
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in split.graph.initializer}
    np.testing.assert_array_equal(np.concatenate([found["w.part0"], found["w.part1"]], axis=1), weight)
    assert "w" not in found


def text(body: str, *, inputs: str = "float[1, 2, 4, 4] x", outputs: str = "float[n, c, h, w] y") -> onnx.ModelProto:
    model = parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 13]> g ({inputs}) => ({outputs})
        <float[1, 4, 1, 1] w = {{1.0, 2.0, 3.0, 4.0}}, float[1, 2, 1, 1] v = {{1.0, 2.0}},
         float[2, 2, 1, 1] g = {{1.0, 2.0, 3.0, 4.0}}, float[1, 6, 1, 1] u = {{1.0, 2.0, 3.0, 4.0, 5.0, 6.0}},
         float[2, 1, 1] k = {{0.25, -0.5}}> {{ {body} }}"""
    )
    onnx.checker.check_model(model, full_check=True)
    return model


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(text("c = Concat<axis = 1>(x, x) a = Conv(c, w) b = Neg(c) y = Add(a, b)"), id="another reader"),
        pytest.param(
            text("c = Concat<axis = 1>(x, x) y = Conv(c, w)", outputs="float[n, c, h, w] y, float[n, c, h, w] c"),
            id="an output",
        ),
        pytest.param(text("c = Concat<axis = 1>(x, x) y = Conv<group = 1>(c, w) z = Neg(w)"), id="a shared weight"),
        pytest.param(text("c = Concat<axis = 2>(x, x) y = Conv(c, v)"), id="rows, not channels"),
        pytest.param(text("c = Concat<axis = 1>(x, x) y = Conv<group = 2>(c, g)"), id="groups"),
        pytest.param(text("c = Concat<axis = 1>(x) y = Conv(c, v)"), id="one alone"),
        pytest.param(text("c = Relu(x) y = Conv(c, v)"), id="no Concat"),
        pytest.param(
            text("c = Concat<axis = 1>(x, m) y = Conv(c, w)", inputs="float[1, 2, 4, 4] x, float[1, n, 4, 4] m"),
            id="unknown channels",
        ),
        pytest.param(
            text("c = Concat<axis = 1>(x, x) y = Conv(c, m)", inputs="float[1, 2, 4, 4] x, float[1, 4, 1, 1] m"),
            id="a computed weight",
        ),
        pytest.param(
            text("c = Concat<axis = 1>(x, x) y = Conv(c, w)", inputs="float[1, 2, 4, 4] x, float[1, 4, 1, 1] w"),
            id="an overridable weight",
        ),
        pytest.param(
            text(
                """c = Concat<axis = 1>(x, x) a = Conv(c, w) y = If (q) <
                then_branch = p () => (float[1, 1, 4, 4] t) { t = Abs(a) },
                else_branch = r () => (float[1, 4, 4, 4] s) { s = Abs(c) }>""",
                inputs="float[1, 2, 4, 4] x, bool q",
            ),
            id="a reader inside a branch",
        ),
    ],
)
def test_it_leaves_alone_what_it_cannot_split(model: onnx.ModelProto) -> None:
    before = model.SerializeToString()
    assert not split_concat_conv.run(model).modified
    assert model.SerializeToString() == before


def test_a_concat_of_a_concat_is_split_to_the_end(run) -> None:
    model = text("a = Relu(x) b = Neg(x) c = Concat<axis = 1>(a, b) d = Concat<axis = 1>(c, x) y = Conv(d, u)")
    feed = values(1, 2, 4, 4)
    expected = run(model, feed)[0]
    result = split_concat_conv.run(model)
    assert result.changes == 2
    assert kinds(result.model) == {"Relu": 1, "Neg": 1, "Conv": 3, "Add": 2}
    np.testing.assert_allclose(run(result.model, feed)[0], expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_the_same_tensor_twice_and_a_weight_in_a_node(run) -> None:
    model = text(
        "n = Constant<value = float[1, 4, 1, 1] {1.0, 2.0, 3.0, 4.0}>() c = Concat<axis = 1>(x, x) y = Conv(c, n)"
    )
    feed = values(1, 2, 4, 4)
    expected = run(model, feed)[0]
    result = split_concat_conv.run(model)
    assert kinds(result.model) == {"Conv": 2, "Add": 1}
    np.testing.assert_allclose(run(result.model, feed)[0], expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_espnet_has_one_and_computes_the_same(run) -> None:
    network = build(ModelSpec(name="espnet"), size=ImageSize(width=64, height=32))
    traced = export.trace(network.module, input_shape=(1, 3, 32, 64), opset=13, dynamic_batch=False)
    names = pipeline_for(simplify=True)
    model = apply(traced, names).model
    split = apply(traced, [*names[:-2], "split-concat-conv", *names[-2:]]).model
    assert kinds(split)["Conv"] == kinds(model)["Conv"] + 1
    parts = [node.name for node in split.graph.node if ".part" in node.name]
    assert parts == ["decoder.mix1.conv/Conv.part0", "decoder.mix1.conv/Conv.part1"]
    feed = values(1, 3, 32, 64)
    expected = run(model, feed)[0]
    np.testing.assert_allclose(run(split, feed)[0], expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def answers_of_openvino(model: onnx.ModelProto, feed: np.ndarray) -> np.ndarray:
    core = shared_core()
    read = core.read_model(model.SerializeToString())
    compiled = core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled.create_infer_request().infer([feed])[0].copy()


@pytest.mark.parametrize("branches", ["a = Relu(x) b = Neg(x)", "a = PRelu(x, k) b = PRelu(x, k)"])
def test_openvino_computes_the_split_graph_rightly_once_it_is_quantized(branches: str, run) -> None:
    """Unsplit, with its pair behind the Concat, it rounds to whole numbers (docs/decisions/0006)."""
    split = split_concat_conv.run(text(f"{branches} c = Concat<axis = 1>(a, b) y = Conv(c, w)")).model
    quantized = quantize(split, {"a": 2.0, "b": 3.0}).model
    assert kinds(quantized)["Concat"] == 0
    feed = values(1, 2, 4, 4)
    expected = run(quantized, feed)[0]
    np.testing.assert_allclose(
        answers_of_openvino(quantized, feed), expected, rtol=0, atol=1e-5 * np.abs(expected).max()
    )
    np.testing.assert_allclose(expected, run(split, feed)[0], atol=0.2)


@pytest.mark.data
def test_the_released_network_computes_the_same(data_dir: Path, run) -> None:
    weights = data_dir / "weights" / "espnet" / "espnet_p_2_q_8_camvid.pth"
    network = build(ModelSpec(name="espnet", weights=weights), size=ImageSize(width=240, height=176))
    traced = export.trace(network.module, input_shape=(1, 3, 176, 240), opset=13, dynamic_batch=False)
    model = apply(traced, pipeline_for(simplify=True)).model
    result = apply(model, ["split-concat-conv"])
    assert result.changed_by == ("split-concat-conv",)
    feed = values(1, 3, 176, 240)
    expected, found = run(model, feed)[0], run(result.model, feed)[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
