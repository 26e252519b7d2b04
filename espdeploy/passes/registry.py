"""All graph passes, and the order in which they run."""

from __future__ import annotations

from types import MappingProxyType

from espdeploy.passes import (
    flush_denormals,
    fold_batch_norm,
    infer_shapes,
    name_nodes,
    remove_dead,
    simplify,
)

#: every pass by name
PASSES = MappingProxyType(
    {
        "name-nodes": name_nodes.PASS,
        "simplify": simplify.PASS,
        "remove-dead": remove_dead.PASS,
        "fold-batch-norm": fold_batch_norm.PASS,
        "flush-denormals": flush_denormals.PASS,
        "infer-shapes": infer_shapes.PASS,
    }
)

#: Names come first because simplification drops where a node came from, and again at the end for what it made.
_SIMPLIFY = (
    "name-nodes",
    "simplify",
    "remove-dead",
    "fold-batch-norm",
    "remove-dead",
    "flush-denormals",
    "name-nodes",
    "infer-shapes",
)
#: the graph as it was traced: no node is added or removed
_AS_TRACED = ("name-nodes", "flush-denormals", "infer-shapes")


def pipeline_for(*, simplify: bool) -> tuple[str, ...]:
    """The names of the passes that an export runs, in order; without ``simplify`` no node is added or removed."""
    return _SIMPLIFY if simplify else _AS_TRACED
