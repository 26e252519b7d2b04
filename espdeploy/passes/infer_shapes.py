"""Every tensor gets its type and shape written down."""

from __future__ import annotations

from typing import TYPE_CHECKING

from espdeploy import lazy
from espdeploy.passes.base import Pass, PassResult

if TYPE_CHECKING:
    from onnx import ModelProto


def run(model: ModelProto) -> PassResult:
    """Infer the shape of every tensor anew; the note says how many stay unknown."""
    onnx = lazy.require("onnx", extra="export")
    before = {value.SerializeToString(deterministic=True) for value in model.graph.value_info}
    del model.graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, data_prop=True)
    described = sorted(inferred.graph.value_info, key=lambda value: value.name)
    after = {value.SerializeToString(deterministic=True) for value in described}
    model.graph.value_info.extend(described)
    known = {value.name for value in [*described, *model.graph.output]}
    unknown = sum(1 for node in model.graph.node for name in node.output if name and name not in known)
    return PassResult(
        model=model, changes=len(before ^ after), note=f"{unknown} tensors of unknown shape" if unknown else ""
    )


PASS = Pass(
    name="infer-shapes",
    does="writes down the type and shape of every tensor",
    run=run,
    requires=frozenset({"names"}),  # shapes are stored by name
    ensures=frozenset({"shapes"}),
)
