"""Which layers and joins of a graph go to INT8, and which of their tensors share one scale."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from espdeploy import lazy
from espdeploy.errors import InputFileError, UsageError, nearest
from espdeploy.onnx_graph import constants
from espdeploy.quantize.weights import LARGEST, SMALLEST_SCALE

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

ONNX_DOMAINS = ("", "ai.onnx")
#: layers whose second input is a weight
_WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
#: operators that lay tensors side by side or add them
_JOINS = frozenset({"Add", "Concat"})
#: as an FP32 number it is still finite, and so is its scale
_LARGEST_RANGE = float(np.finfo(np.float32).max)
#: what may be in INT8: the inputs of layers alone, or those of Add and Concat too
PLACEMENTS = ("convolutions", "dense")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Layers and joins in INT8, by position in the graph; the FP32 scale of each tensor that they read; who was left.

    ``left`` gives the reason by name.
    """

    layers: Mapping[int, str]
    joins: Mapping[int, str]
    scales: Mapping[str, np.float32]
    left: Mapping[str, str]


def called(node: NodeProto) -> str:
    """What a node is known by: its name, or what it writes where it has none."""
    return str(node.name or node.output[0])


def is_concat(node: NodeProto) -> bool:
    """Whether the node is ONNX's Concat."""
    return node.op_type == "Concat" and node.domain in ONNX_DOMAINS


def weighted(graph: GraphProto) -> dict[int, NodeProto]:
    """Conv, ConvTranspose, Gemm and MatMul that multiply a computed tensor with a constant FP32 weight, by position."""
    onnx = lazy.require("onnx", extra="export")
    fixed = constants(graph)
    return {
        position: node
        for position, node in enumerate(graph.node)
        if node.op_type in _WEIGHTED
        and node.domain in ONNX_DOMAINS
        and node.input[0] not in fixed
        and node.input[1] in fixed
        and fixed[node.input[1]].data_type == onnx.TensorProto.FLOAT
    }


def plan(
    graph: GraphProto,
    amax: Mapping[str, float],
    *,
    layers: Collection[str] | None,
    placement: str,
    joins: Collection[str] | None,
) -> Plan:
    """Decide what goes to INT8.

    Raises:
        UsageError: an unknown placement or name.
        InputFileError: a range that is no finite number, or below 0.
    """
    if placement not in PLACEMENTS:
        raise UsageError(f'there is no placement "{placement}"', do=nearest(placement, PLACEMENTS))
    left: dict[str, str] = {}
    chosen = _named(weighted(graph), layers, "layer that can go to INT8")
    reads = {position: [node.input[0]] for position, node in chosen.items()}
    reads = _with_scales(graph, reads, amax, left)
    in_int8 = {position: called(graph.node[position]) for position in reads}
    joined: dict[int, list[str]] = {}
    if placement == "dense":
        candidates = _named(_joins(graph), joins, "Add or Concat of computed tensors")
        beside = {position: list(node.input) for position, node in candidates.items()}
        joined = _with_scales(graph, _beside(graph, beside, in_int8), amax, left)
    return Plan(
        layers=in_int8,
        joins={position: called(graph.node[position]) for position in joined},
        scales=_scales(graph, reads, joined, amax),
        left=left,
    )


def _named(nodes: dict[int, NodeProto], names: Collection[str] | None, what: str) -> dict[int, NodeProto]:
    if names is None:
        return nodes
    known = {called(node) for node in nodes.values()}
    if unknown := sorted(set(names) - known):
        raise UsageError(f'"{unknown[0]}" is no {what}', do=nearest(unknown[0], known) if known else "")
    return {position: node for position, node in nodes.items() if called(node) in names}


def _joins(graph: GraphProto) -> dict[int, NodeProto]:
    """Add and Concat of computed tensors alone, by position; what adds a constant is no meeting of branches."""
    fixed = constants(graph)
    return {
        position: node
        for position, node in enumerate(graph.node)
        if node.op_type in _JOINS
        and node.domain in ONNX_DOMAINS
        and len(node.input) > 1
        and fixed.keys().isdisjoint(node.input)
    }


def _beside(graph: GraphProto, joins: dict[int, list[str]], layers: Mapping[int, str]) -> dict[int, list[str]]:
    """The joins that a layer in INT8 reads or feeds, or that another such join feeds; elsewhere INT8 saves nothing."""
    read = {graph.node[position].input[0] for position in layers}
    written = {graph.node[position].output[0] for position in layers}
    found = {}
    for position, inputs in joins.items():
        output = graph.node[position].output[0]
        if written.intersection(inputs) or read.intersection([*inputs, output]):
            found[position] = inputs
            written.add(output)
    return found


def _with_scales(
    graph: GraphProto, reads: dict[int, list[str]], amax: Mapping[str, float], left: dict[str, str]
) -> dict[int, list[str]]:
    """The nodes whose inputs have a range that gives a scale; of the others ``left`` says why not."""
    found = {}
    for position, names in reads.items():
        reason = _no_scale(names, amax, shared=is_concat(graph.node[position]))
        if reason is None:
            found[position] = names
        else:
            left[called(graph.node[position])] = reason
    return found


def _scales(
    graph: GraphProto, layers: dict[int, list[str]], joins: dict[int, list[str]], amax: Mapping[str, float]
) -> dict[str, np.float32]:
    """amax / 127 of each tensor that is read in INT8.

    The inputs of a Concat share the greatest, and so does its output: INT8 values then pass through as they are. An Add
    computes anyway, so each of its inputs keeps its own scale: with one for both, ESPNet loses twice as much.
    """
    groups = _Groups()
    read = {name for names in [*layers.values(), *joins.values()] for name in names}
    for position, names in joins.items():
        node = graph.node[position]
        if is_concat(node):
            groups.unite([*names, node.output[0]] if node.output[0] in read else names)
    return {name: np.float32(max(amax[other] for other in groups.of(name)) / LARGEST) for name in sorted(read)}


def _no_scale(names: Sequence[str], amax: Mapping[str, float], *, shared: bool) -> str | None:
    """Why one of the tensors has no scale, or all together where they share one; None where they have."""
    for name in names:
        if name not in amax:
            return f"{name} has no calibrated range"
        if not 0 <= amax[name] <= _LARGEST_RANGE:
            raise InputFileError(
                f"the range of {name} is {amax[name]:g}; it must be a number from 0 to {_LARGEST_RANGE:.3g}",
                do="calibrate again",
            )
    name = (max if shared else min)(names, key=lambda each: amax[each])
    if not amax[name]:
        return f"{name} was never anything but 0"
    if amax[name] / LARGEST < SMALLEST_SCALE:
        return f"{name} was never above {amax[name]:.3g}, too little for a scale in FP32"
    return None


class _Groups:
    """Which tensors share a scale: a partition that only grows together."""

    def __init__(self) -> None:
        self._members: dict[str, set[str]] = {}

    def unite(self, names: Iterable[str]) -> None:
        together = set().union(*(self.of(name) for name in names))
        self._members.update(dict.fromkeys(together, together))

    def of(self, name: str) -> set[str]:
        return self._members.get(name, {name})
