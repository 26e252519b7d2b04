from __future__ import annotations

import numpy as np
from onnx import helper, numpy_helper

from espdeploy.passes import flush_denormals

SMALLEST_NORMAL = 2.0**-126  # IEEE 754 binary32


def test_only_what_lies_below_the_smallest_normal_number_becomes_zero() -> None:
    values = np.array(
        [0.0, 1e-45, -1e-40, SMALLEST_NORMAL / 2, SMALLEST_NORMAL, -SMALLEST_NORMAL, 1e-30, 1.0], np.float32
    )
    doubles = np.array([1e-300], np.float64)
    graph = helper.make_graph(
        [
            helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(values)),
            helper.make_node("Add", ["c", "w"], ["output"]),
        ],
        "g",
        [],
        [helper.make_tensor_value_info("output", 1, [8])],
        [numpy_helper.from_array(values, "w"), numpy_helper.from_array(doubles, "d")],
    )
    result = flush_denormals.run(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]))
    assert result.changes == 6  # three in each of the two FP32 tensors
    expected = [0, 0, 0, 0, SMALLEST_NORMAL, -SMALLEST_NORMAL, np.float32(1e-30), 1]
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in result.model.graph.initializer}
    assert weights["w"].tolist() == expected
    assert weights["d"].tolist() == doubles.tolist()
    assert numpy_helper.to_array(result.model.graph.node[0].attribute[0].t).tolist() == expected
    assert not flush_denormals.run(result.model).modified
