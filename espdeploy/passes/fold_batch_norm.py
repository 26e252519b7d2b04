"""Batch normalization right after a convolution becomes part of its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from espdeploy.onnx_graph import constants, drop_nodes, producers, uses
from espdeploy.passes.affine import affine_of, folded_behind, has_fixed_weights, set_weights
from espdeploy.passes.base import Pass, PassResult
from espdeploy.passes.edits import names_in

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto


def run(model: ModelProto) -> PassResult:
    """Fold each batch normalization whose input is written by a convolution and read by nobody else.

    With s = gamma / sqrt(variance + epsilon): W' = s W and b' = s (b - mean) + beta, in float64 and rounded once.
    Those after Add and Concat stay: there are no weights right before them.
    """
    folded = 0
    while _fold_one(model.graph):
        folded += 1
    return PassResult(model=model, changes=folded, note=f"{folded} folded" if folded else "")


def _fold_one(graph: GraphProto) -> bool:
    """Fold the first that can be; looked for anew each time, since two may follow one convolution."""
    written, read, fixed = producers(graph), uses(graph), constants(graph)
    for position, norm in enumerate(graph.node):
        affine = affine_of(norm, fixed)
        convolution = None if affine is None else written.get(norm.input[0])
        if affine is None or convolution is None or not has_fixed_weights(convolution, fixed):
            continue
        new = folded_behind(convolution, affine, fixed) if read[convolution.output[0]] == 1 else None
        if new is None:
            continue
        set_weights(graph, convolution, new, norm.name or convolution.name or norm.output[0], names_in(graph))
        convolution.output[0] = norm.output[0]
        drop_nodes(graph, [position])
        return True
    return False


PASS = Pass(
    name="fold-batch-norm",
    does="folds batch normalization into the convolution before it",
    run=run,
    requires=frozenset({"no-identities"}),  # one between the two would hide the pair
    ensures=frozenset({"batch-norm-folded"}),
    breaks=frozenset({"names", "shapes", "no-denormals", "live"}),
)
