from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import parser

from espdeploy.errors import ToolFailed
from espdeploy.passes import simplify


def parse(body: str) -> onnx.ModelProto:
    return parser.parse_model(
        f"""<ir_version: 7, opset_import: ["" : 13]>
        g (float[1, 4] input) => (float[1, 4] output) <float[1] two = {{2.0}}, float[1] three = {{3.0}}> {{ {body} }}"""
    )


def test_constants_are_folded_and_the_frame_stays(run, capfd) -> None:
    model = parse("six = Mul(two, three) output = Mul(input, six)")
    onnx.helper.set_model_props(model, {"author": "someone"})
    result = simplify.run(model)
    assert [node.op_type for node in result.model.graph.node] == ["Mul"]
    assert (result.model.ir_version, result.model.opset_import[0].version) == (7, 13)
    assert {entry.key: entry.value for entry in result.model.metadata_props} == {"author": "someone"}
    feed = np.array([[1, 2, 3, 4]], np.float32)
    np.testing.assert_array_equal(run(result.model, feed)[0], feed * 6)
    assert not simplify.run(result.model).modified
    assert capfd.readouterr() == ("", "")


def test_what_onnxsim_refuses_is_said_with_the_way_around() -> None:
    model = parse("output = Mul(input, two)")
    model.graph.node[0].input[1] = "nowhere"
    with pytest.raises(ToolFailed, match="onnxsim could not simplify") as caught:
        simplify.run(model)
    assert caught.value.do == "export with --no-simplify"
    assert caught.value.why
