"""Batch normalization after a Concat becomes part of the convolutions that write the Concat's inputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from espdeploy.onnx_graph import attribute, constants, drop_nodes, producers, uses
from espdeploy.passes.affine import (
    Affine,
    Weights,
    affine_of,
    folded_behind,
    has_fixed_weights,
    set_weights,
    weights_of,
)
from espdeploy.passes.base import Pass, PassResult
from espdeploy.passes.edits import names_in

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto


@dataclass(frozen=True, kw_only=True)
class _Facts:
    written: Mapping[str, NodeProto]
    read: Counter[str]
    fixed: Mapping[str, TensorProto]


def run(model: ModelProto) -> PassResult:
    """Fold each batch normalization after a Concat along the channels if convolutions write all of its inputs.

    Each convolution takes in the scales and shifts of its own channels, in float64 and rounded once. Nobody else may
    read what the convolutions and the Concat write. ESPNet's decoder has one such place.
    """
    folded = 0
    while _fold_one(model.graph):
        folded += 1
    return PassResult(model=model, changes=folded, note=f"{folded} folded" if folded else "")


def _fold_one(graph: GraphProto) -> bool:
    facts = _Facts(written=producers(graph), read=uses(graph), fixed=constants(graph))
    for position, norm in enumerate(graph.node):
        affine = affine_of(norm, facts.fixed)
        concat = None if affine is None else facts.written.get(norm.input[0])
        if affine is None or concat is None or concat.op_type != "Concat" or facts.read[norm.input[0]] != 1:
            continue
        new = _folded(concat, affine, facts)
        if new is None:
            continue
        taken = names_in(graph)
        for name, weights in zip(concat.input, new, strict=True):
            convolution = facts.written[name]
            set_weights(graph, convolution, weights, convolution.name or name, taken)
        concat.output[0] = norm.output[0]
        drop_nodes(graph, [position])
        return True
    return False


def _folded(concat: NodeProto, affine: Affine, facts: _Facts) -> list[Weights] | None:
    """New weights of each branch; None where a branch is no convolution, or is not the Concat's alone."""
    new: list[Weights] = []
    channel = 0
    for name in concat.input:
        convolution = facts.written.get(name)
        if convolution is None or facts.read[name] != 1 or not has_fixed_weights(convolution, facts.fixed):
            return None
        old = weights_of(convolution, facts.fixed)
        if _axis(concat, rank=old.weight.ndim) != 1:
            return None
        folded = folded_behind(convolution, affine.part(channel, channel + len(old.bias)), facts.fixed)
        if folded is None:
            return None
        new.append(folded)
        channel += len(old.bias)
    return new


def _axis(concat: NodeProto, *, rank: int) -> int | None:
    given = attribute(concat, "axis")
    return None if given is None else int(given.i) % rank


PASS = Pass(
    name="fold-norm-into-branches",
    does="folds batch normalization after a Concat into the convolutions before the Concat",
    run=run,
    requires=frozenset({"no-identities"}),
    breaks=frozenset({"names", "shapes", "no-denormals", "live"}),
)
