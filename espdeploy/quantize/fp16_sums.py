"""How many numbers an operator adds up, and whether FP16 can hold their sum."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING

from espdeploy.onnx_graph import attribute
from espdeploy.quantize.fp16_facts import LARGEST, SIGNIFICAND, Facts

if TYPE_CHECKING:
    from onnx import NodeProto

#: the power that operators raise numbers to before they add them up
_POWERS = MappingProxyType(
    {
        "AveragePool": 1,
        "GlobalAveragePool": 1,
        "ReduceMean": 1,
        "ReduceSum": 1,
        "ReduceL1": 1,
        "CumSum": 1,
        "LpPool": 2,
        "GlobalLpPool": 2,
        "ReduceL2": 2,
        "ReduceSumSquare": 2,
        "LpNormalization": 2,
        "InstanceNormalization": 2,
        "GroupNormalization": 2,
        "MeanVarianceNormalization": 2,
    }
)
_SPATIAL = ("GlobalAveragePool", "GlobalLpPool", "InstanceNormalization")


def sum_reason(node: NodeProto, facts: Facts, *, headroom: float) -> str | None:
    """Why the node's sum is not safe in FP16; None where it is, or where it adds up nothing.

    Runtimes are free to add up in the type of the tensor. A sum of n equal numbers then stops growing at 2048 of
    them, and one of numbers up to m is infinite from n m = 65520 on. Softmax adds numbers of at most 1.
    """
    if node.op_type in ("Softmax", "LogSoftmax"):
        terms = _terms_of_softmax(node, facts)
        return None if terms is not None and terms <= SIGNIFICAND else _too_many(terms)
    power = _POWERS.get(node.op_type)
    if power is None or _stashes(node, facts):
        return None
    terms = _terms(node, facts)
    if terms is None or (power == 1 and terms > SIGNIFICAND):
        return _too_many(terms)
    largest = facts.amax.get(node.input[0])
    if largest is None:
        return "it adds up squares, which exceed FP16 from 256 on; no range was measured" if power == 2 else None
    if terms * largest**power * headroom <= LARGEST:
        return None
    what = "squares of numbers" if power == 2 else "numbers"
    return f"it adds up {terms} {what} of up to {largest:.3g}; FP16 ends at {LARGEST:.0f}"


def _too_many(terms: int | None) -> str:
    if terms is None:
        return f"how many numbers it adds up is open; FP16 adds up {SIGNIFICAND} safely"
    return f"it adds up {terms} numbers; FP16 adds up {SIGNIFICAND} safely"


def _stashes(node: NodeProto, facts: Facts) -> bool:
    """GroupNormalization has its statistics in FP32 by definition from opset 21 on."""
    return node.op_type == "GroupNormalization" and facts.opsets.get("", 0) >= 21


def _terms(node: NodeProto, facts: Facts) -> int | None:
    """How many numbers go into one sum; None where the graph leaves it open."""
    if node.op_type in ("AveragePool", "LpPool"):
        kernel = attribute(node, "kernel_shape")
        return None if kernel is None else math.prod(kernel.ints)
    shape = facts.shapes.get(node.input[0])
    if shape is None:
        return None
    axes = _axes(node, facts, len(shape))
    if axes is None or any(shape[axis] is None for axis in axes):
        return None
    return math.prod(shape[axis] or 0 for axis in axes)


def _axes(node: NodeProto, facts: Facts, rank: int) -> list[int] | None:
    if node.op_type in _SPATIAL:
        return list(range(2, rank))
    if node.op_type == "GroupNormalization":
        return list(range(1, rank))  # at most: all channels in one group
    if node.op_type == "LpNormalization":
        axis = attribute(node, "axis")
        return [-1 if axis is None else axis.i]
    if node.op_type == "MeanVarianceNormalization":
        given = attribute(node, "axes")
        return [0, 2, 3] if given is None else list(given.ints)
    return _reduced(node, facts, rank)


def _reduced(node: NodeProto, facts: Facts, rank: int) -> list[int] | None:
    """The axes of Reduce… and CumSum: an attribute or, in newer opsets, an input; without them all axes."""
    given = attribute(node, "axes")
    if given is not None:
        return list(given.ints)
    if len(node.input) > 1 and node.input[1]:
        values = facts.values(node.input[1])
        if values is None:
            return None
        if values.size:
            return [int(value) for value in values.ravel()]
    empty_is_none = attribute(node, "noop_with_empty_axes")
    return [] if empty_is_none is not None and empty_is_none.i else list(range(rank))


def _terms_of_softmax(node: NodeProto, facts: Facts) -> int | None:
    """Before opset 13 all axes from ``axis`` on count."""
    shape = facts.shapes.get(node.input[0])
    if shape is None:
        return None
    newer = facts.opsets.get("", 0) >= 13
    given = attribute(node, "axis")
    axis = (-1 if newer else 1) if given is None else given.i
    extents = [shape[axis]] if newer else shape[axis:]
    return None if any(extent is None for extent in extents) else math.prod(extent or 0 for extent in extents)
