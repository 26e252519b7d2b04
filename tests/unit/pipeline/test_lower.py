"""Passes first, then the lower precision; what changed the graph is told in every precision."""

from __future__ import annotations

import pytest

from espdeploy.pipeline.building.lower import lower

onnx = pytest.importorskip("onnx")

NET = """<ir_version: 8, opset_import: ["" : 13]> g (float[1,1,4,4] x) => (float[1,1,4,4] y)
    <float[1,1,1,1] w = {2.0}> { a = Identity(x) c = Conv(a, w) y = Relu(c) }"""


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16", "int8"])
def test_the_passes_that_changed_the_graph_are_named(precision: str) -> None:
    model = onnx.parser.parse_model(NET)
    before = model.SerializeToString()
    lowered = lower(model, precision, amax={"x": 1.0, "c": 2.0, "y": 2.0}, names=("remove-dead", "flush-denormals"))
    assert lowered.changed_by == ("remove-dead",)
    assert "Identity" not in {node.op_type for node in lowered.model.graph.node}
    assert model.SerializeToString() == before
