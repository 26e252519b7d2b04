from __future__ import annotations

import onnx
from onnx import parser

from espdeploy.passes import infer_shapes


def shapes(model: onnx.ModelProto) -> dict[str, list[int | str]]:
    return {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in model.graph.value_info
    }


def test_every_tensor_is_described_and_what_was_wrong_is_replaced() -> None:
    model = parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 13]>
        g (float[batch, 3, 8, 8] input) => (float[batch, 4, 4, 4] output) <float[2, 3, 1, 1] w = {1,2,3,4,5,6}> {
          a = Conv<strides = [2, 2]>(input, w)
          b = Concat<axis = 1>(a, a)
          output = Relu(b)
        }"""
    )
    model.graph.value_info.append(onnx.helper.make_tensor_value_info("gone", 1, [7]))
    result = infer_shapes.run(model)
    assert shapes(result.model) == {"a": ["batch", 2, 4, 4], "b": ["batch", 4, 4, 4]}
    assert result.changes == 3  # two new, one gone
    assert not infer_shapes.run(result.model).modified


def test_what_stays_unknown_is_counted() -> None:
    model = parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 13, "mine" : 1]>
        g (float[4] input) => (float[4] output) { a = mine.Twist(input) output = Relu(a) }"""
    )
    assert infer_shapes.run(model).note == "1 tensors of unknown shape"
