"""Why a node stays in FP32 when its graph becomes FP16: what overflows, what loses accuracy, what has no FP16 form."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from espdeploy.onnx_graph import attribute, subgraphs
from espdeploy.quantize import fp16_batch_norm
from espdeploy.quantize.fp16_facts import FLOAT, FOLLOWERS, LARGEST, Facts, in_half
from espdeploy.quantize.fp16_sums import sum_reason
from espdeploy.quantize.fp16_tensors import HEADROOM, constant_beyond, wide_tensors

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import GraphProto, NodeProto

#: half a bit of the significand is the most that rounding alone loses: 2^-11. Twice that: FP16's small numbers did it
_MOST_LOST = 2.0**-10
#: inputs that are multiplied, so that what they lose relative to themselves is lost in the result
_FACTORS = MappingProxyType(
    {
        "Conv": (1,),
        "ConvTranspose": (1,),
        "Gemm": (0, 1),
        "MatMul": (0, 1),
        "Mul": (0, 1),
        "Div": (0, 1),
        "QuantizeLinear": (1,),
        "DequantizeLinear": (1,),
    }
)
#: a bias counts as the factor of an input of 1: weights that vanish beside it have no effect
_BIASED = ("Conv", "ConvTranspose", "Gemm")


def reasons(graph: GraphProto, facts: Facts) -> dict[str, str]:
    """The nodes that stay in FP32, each with the reason; every node has a name of its own."""
    wide = wide_tensors(graph, facts)
    found = {}
    for node in graph.node:
        reason = _reason(node, facts, wide)
        if reason is not None:
            found[node.name] = reason
    return found


def _reason(node: NodeProto, facts: Facts, wide: dict[str, str]) -> str | None:
    if any(True for _ in subgraphs(node)):
        return f"the graphs inside {node.op_type} stay as they are"
    if not facts.computes_in_float(node):
        return _wide_reason(node, facts, wide)
    form = facts.form(node)
    if form is None:
        return f"{node.op_type} of {node.domain or 'ONNX'} is not known to have an FP16 form"
    odd = next((name for name in [*node.input, *node.output] if name and name not in facts.types), None)
    if odd is not None:
        return f"{odd} is no tensor, or of unknown type"
    return (
        _form_reason(node, facts)
        or constant_beyond(node, facts)
        or _wide_reason(node, facts, wide)
        or _batch_norm_reason(node, facts)
        or _factor_reason(node, facts)
        or sum_reason(node, facts, headroom=HEADROOM)
    )


def _form_reason(node: NodeProto, facts: Facts) -> str | None:
    reads = any(True for _ in facts.halves_read(node))
    writes = any(True for _ in facts.halves_written(node))
    if not reads and not writes:
        return f"ONNX defines {node.op_type} for no FP16 in opset {facts.opsets.get(node.domain, 0)}"
    chosen = (attribute(node, name) for name in ("dtype", "output_dtype", "output_datatype"))
    if (not reads and node.op_type not in FOLLOWERS) or any(entry is not None and entry.i == FLOAT for entry in chosen):
        return "it writes FP32, whatever it reads"
    return None


def _wide_reason(node: NodeProto, facts: Facts, wide: dict[str, str]) -> str | None:
    """For each tensor that must be FP32, both who writes it and who reads it stay in FP32."""
    touched = [name for _, name in [*facts.halves_read(node), *facts.halves_written(node)]]
    return next((f"{name} {wide[name]}" for name in touched if name in wide), None)


def _batch_norm_reason(node: NodeProto, facts: Facts) -> str | None:
    if node.op_type != "BatchNormalization":
        return None
    combined = fp16_batch_norm.combine(node, facts)
    if combined is None:
        return "its statistics are computed in the graph"
    scale, shift = combined
    for what, values in (("scale", scale), ("shift", shift)):
        if not np.isfinite(in_half(values)).all():
            return f"its {what} reaches {np.abs(values).max():.3g}; FP16 ends at {LARGEST:.0f}"
    return None if lost(scale) <= _MOST_LOST else f"its scale loses {100 * lost(scale):.2g} % in FP16: it is too small"


def _factor_reason(node: NodeProto, facts: Facts) -> str | None:
    """Constant factors that fall into the lower end of FP16's range, where it has fewer digits."""
    read = {index: (name, facts.values(name)) for index, name in facts.halves_read(node)}
    for index in _FACTORS.get(node.op_type, ()):
        name, values = read.get(index, ("", None))
        if values is None:
            continue
        bias = read[2][1] if 2 in read and node.op_type in _BIASED else None
        share = lost(values if bias is None else np.concatenate([values.ravel(), bias.ravel()]))
        if share > _MOST_LOST:
            return f"its constant {name} loses {100 * share:.2g} % in FP16: it is too small"
    return None


def lost(values: NDArray[np.generic]) -> float:
    """The share of the values that FP16 loses, |rounded - exact| / |exact| in the Euclidean norm.

    Numbers within FP16's normal range lose at most 2^-11. The norm over all values leaves alone weights of channels
    that are dead: too small to matter beside the others.
    """
    exact = values.astype(np.float64)
    exact = exact[np.isfinite(exact)]
    norm = float(np.linalg.norm(exact))
    return float(np.linalg.norm(in_half(exact).astype(np.float64) - exact)) / norm if norm else 0.0
