from __future__ import annotations

import numpy as np
import onnx
import pytest

from espdeploy.passes import pool_to_convolution

FEED = np.random.default_rng(1).standard_normal((2, 4, 7, 9)).astype(np.float32)
COUNTED = "kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1], count_include_pad = 1"
PLANE = "float[n, 4, 7, 9] input"


def ops(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize(
    ("attributes", "opset"),
    [
        (COUNTED, 13),
        (COUNTED, 20),
        ("kernel_shape = [2, 2], strides = [2, 2]", 13),
        ("kernel_shape = [1, 3], ceil_mode = 0, pads = [0, 0, 0, 0]", 13),
        ("kernel_shape = [3, 1], strides = [1, 2], pads = [2, 0, 0, 0], count_include_pad = 1", 13),
        ("kernel_shape = [3, 3], dilations = [2, 1]", 19),
    ],
)
def test_the_convolution_computes_the_same_for_any_batch(attributes, opset, build, equal) -> None:
    model = build(f"a = AveragePool<{attributes}>(input) output = Relu(a)", inputs=PLANE, opset=opset)
    before = type(model).FromString(model.SerializeToString())
    result = pool_to_convolution.run(model)
    assert result.changes == 1
    assert ops(result.model) == ["Conv", "Relu"]
    assert list(result.model.graph.node[0].output) == ["a"]
    equal(result.model, before, FEED)
    assert not pool_to_convolution.run(result.model).modified


def test_of_one_and_three_dimensions(build, equal) -> None:
    for kernel, shape in (("3", (2, 5, 8)), ("2, 1, 2", (2, 5, 3, 4, 4))):
        extents = ", ".join(map(str, shape))
        outputs = f"float[{', '.join('abcde'[: len(shape)])}] output"
        body = f"output = AveragePool<kernel_shape = [{kernel}]>(input)"
        model = build(body, inputs=f"float[{extents}] input", outputs=outputs)
        before = type(model).FromString(model.SerializeToString())
        assert pool_to_convolution.run(model).changes == 1
        equal(model, before, np.random.default_rng(0).standard_normal(shape).astype(np.float32))


@pytest.mark.parametrize(
    ("attributes", "inputs"),
    [
        pytest.param("kernel_shape = [3, 3], pads = [1, 1, 1, 1]", PLANE, id="borders have another divisor"),
        pytest.param("kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1", PLANE, id="rounded up"),
        pytest.param('kernel_shape = [3, 3], auto_pad = "SAME_UPPER"', PLANE, id="padded by itself"),
        pytest.param("kernel_shape = [5, 2]", PLANE, id="a wide window"),
        pytest.param("kernel_shape = [3, 3]", "float[n, c, 7, 9] input", id="channels unknown"),
        pytest.param("kernel_shape = [3, 3]", "float16[1, 4, 7, 9] input", id="FP16"),
    ],
)
def test_what_is_no_plain_convolution_stays(attributes, inputs, build) -> None:
    outputs = f"{inputs.split('[')[0]}[n, c, h, w] output"
    body = f"output = AveragePool<{attributes}>(input)"
    assert not pool_to_convolution.run(build(body, inputs=inputs, outputs=outputs)).modified


def test_two_of_one_tensor_and_one_after_another(build, equal) -> None:
    body = f"""a = AveragePool<{COUNTED}>(input) b = AveragePool<{COUNTED}>(a)
    c = AveragePool<{COUNTED}>(a) output = Add(b, c)"""
    model = build(body, inputs=PLANE)
    before = type(model).FromString(model.SerializeToString())
    assert pool_to_convolution.run(model).changes == 3
    equal(model, before, FEED)


@pytest.mark.data
@pytest.mark.parametrize(("opset", "dynamic"), [(13, False), (20, False), (20, True)])
def test_the_released_network(opset, dynamic, released, equal) -> None:
    before = released(["name-nodes", "remove-dead"], opset=opset, dynamic=dynamic)
    result = pool_to_convolution.run(type(before).FromString(before.SerializeToString()))
    assert result.changes == ops(before).count("AveragePool") > 0
    feed = np.random.default_rng(0).standard_normal((2 if dynamic else 1, 3, 128, 256)).astype(np.float32)
    equal(result.model, before, feed)
