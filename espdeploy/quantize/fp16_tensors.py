"""Which tensors must not be FP16: they leave its range, fall below it, or need more digits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from espdeploy.onnx_graph import attribute
from espdeploy.quantize.fp16_facts import FLOAT, LARGEST, SIGNIFICAND, SMALLEST_NORMAL, Facts, array, in_half

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

#: other images may reach higher than those that the ranges were measured on
HEADROOM = 2.0
#: of a softmax's inputs. FP16 is off by 2^-11 of a number: at 128 by 1/16, which is 6 % of a probability
_MOST_SOFTMAX = 128.0
_SOFTMAX = ("Softmax", "LogSoftmax")
_WHOLE_NUMBERS = (5, 6, 7, 4, 12, 13)  # onnx.TensorProto: INT16, INT32, INT64, UINT16, UINT32, UINT64


def wide_tensors(graph: GraphProto, facts: Facts) -> dict[str, str]:
    """FP32 tensors that must not be FP16, each with the reason as it goes on after the tensor's name."""
    wide = _computed_from_shapes(graph, facts)
    for name, largest in facts.amax.items():
        reason = range_reason(largest)
        if reason is not None:
            wide[name] = reason
    for node in graph.node:
        for name, reason in _judged(node, facts):
            wide.setdefault(name, reason)
    return wide


def range_reason(largest: float) -> str | None:
    """Why a tensor whose largest magnitude is this cannot be FP16; None where it can."""
    if not largest * HEADROOM <= LARGEST:  # NaN does not compare
        return f"reaches {largest:.3g}; FP16 ends at {LARGEST:.0f}, and other images may reach higher"
    if 0 < largest < HEADROOM * SMALLEST_NORMAL:
        return f"reaches only {largest:.3g}; FP16 loses accuracy below {SMALLEST_NORMAL:.1g}"
    return None


def constant_beyond(node: NodeProto, facts: Facts) -> str | None:
    """Which constant of the node FP16 would make infinite; None where there is none."""
    if node.op_type == "BatchNormalization":  # its parameters become others
        return None
    for index, name in facts.halves_read(node):
        values = facts.values(name)
        if values is None or (node.op_type == "Clip" and index > 0):  # such a bound bounds nothing, as it should
            continue
        largest = np.abs(values[np.isfinite(values)]).max(initial=0)
        if np.isinf(in_half(largest)):
            return f"its constant {name} reaches {largest:.3g}; FP16 ends at {LARGEST:.0f}"
    return None


def _judged(node: NodeProto, facts: Facts) -> Iterator[tuple[str, str]]:
    """Tensors that are wide because of what writes or reads them; a measured range goes before a guess."""
    for name in node.output[:1]:
        reason = None if name in facts.amax else _written_too_wide(node, facts)
        if reason is not None:
            yield name, reason
    largest = facts.amax.get(node.input[0], 0.0) if node.op_type in _SOFTMAX else 0.0
    if largest > _MOST_SOFTMAX:
        yield node.input[0], f"reaches {largest:.3g}, where FP16 is too coarse for {node.op_type}"
    whole = node.op_type == "Cast" and facts.types.get(node.input[0]) in _WHOLE_NUMBERS
    if whole and not facts.amax.get(node.output[0], np.inf) <= SIGNIFICAND:
        yield node.output[0], f"holds whole numbers, of which FP16 has all up to {SIGNIFICAND}"


def _written_too_wide(node: NodeProto, facts: Facts) -> str | None:
    """Why what the node writes may leave FP16's range for inputs that do not."""
    if constant_beyond(node, facts) is not None:
        return f"is computed with a number beyond {LARGEST:.0f}; no range was measured"
    if node.op_type == "ConstantOfShape":
        given = attribute(node, "value")
        value = np.float32(0) if given is None else np.abs(array(given.t)).max()
        return f"is filled with {value:.3g}" if np.isfinite(value) and np.isinf(in_half(value)) else None
    if node.op_type == "Mul" and node.input[0] == node.input[1]:
        return "is a square, which exceeds FP16 from 256 on; no range was measured"
    if node.op_type in ("Exp", "ReduceLogSumExp"):
        return "is an exponential, which exceeds FP16 from 11.1 on; no range was measured"
    if node.op_type == "Pow":
        power = facts.values(node.input[1])
        if power is None or (np.asarray(power, dtype=np.float64) > 1).any():
            return "is a power, which soon exceeds FP16; no range was measured"
    return None


def _computed_from_shapes(graph: GraphProto, facts: Facts) -> dict[str, str]:
    """Numbers computed from shapes alone: extents and areas beyond 2048 are not exact in FP16."""
    derived: set[str] = set()
    for node in graph.node:
        varying = [name for name in node.input if name and name not in facts.fixed]
        from_shapes = node.op_type in ("Shape", "Size") or (varying and derived.issuperset(varying))
        if from_shapes and node.op_type != "ConstantOfShape":  # that takes a shape for itself alone
            derived.update(node.output)
    return {name: "is computed from shapes" for name in derived if facts.types.get(name) == FLOAT}
