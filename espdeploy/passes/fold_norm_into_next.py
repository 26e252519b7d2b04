"""Batch normalization right before a convolution becomes part of its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from espdeploy.onnx_graph import attribute, constants, drop_nodes, uses
from espdeploy.passes.affine import Affine, affine_of, folded_ahead, has_fixed_weights, set_weights
from espdeploy.passes.base import Pass, PassResult
from espdeploy.passes.edits import names_in

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onnx import GraphProto, ModelProto, NodeProto, TensorProto


def run(model: ModelProto) -> PassResult:
    """Fold each batch normalization that one Conv alone reads, in float64 and rounded once.

    Zeros that the Conv pads with stand behind the normalization, so it must pad nothing unless all shifts are zero.
    A ConvTranspose stays: at the border of its output fewer shifts meet.
    """
    folded = 0
    while _fold_one(model.graph):
        folded += 1
    return PassResult(model=model, changes=folded, note=f"{folded} folded" if folded else "")


def _fold_one(graph: GraphProto) -> bool:
    read, fixed = uses(graph), constants(graph)
    readers = {node.input[0]: node for node in graph.node if node.op_type == "Conv"}
    for position, norm in enumerate(graph.node):
        affine = affine_of(norm, fixed)
        convolution = None if affine is None else readers.get(norm.output[0])
        if affine is None or convolution is None or read[norm.output[0]] != 1:
            continue
        new = folded_ahead(convolution, affine, fixed) if _exact(convolution, affine, fixed) else None
        if new is None:
            continue
        convolution.input[0] = norm.input[0]
        set_weights(graph, convolution, new, convolution.name or norm.output[0], names_in(graph))
        drop_nodes(graph, [position])
        return True
    return False


def _exact(convolution: NodeProto, affine: Affine, fixed: Mapping[str, TensorProto]) -> bool:
    pads, auto_pad = attribute(convolution, "pads"), attribute(convolution, "auto_pad")
    pads_nothing = (pads is None or not any(pads.ints)) and (
        auto_pad is None or auto_pad.s in (b"", b"NOTSET", b"VALID")
    )
    return has_fixed_weights(convolution, fixed) and (pads_nothing or not affine.shift.any())


PASS = Pass(
    name="fold-norm-into-next",
    does="folds batch normalization into the convolution after it",
    run=run,
    requires=frozenset({"no-identities"}),
    breaks=frozenset({"names", "shapes", "no-denormals", "live"}),
)
