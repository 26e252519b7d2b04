"""PRelu becomes elementary operators, which ONNX Runtime computes many times faster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from espdeploy import lazy
from espdeploy.onnx_graph import constants, fresh_name, opset_of
from espdeploy.passes.base import Pass, PassResult
from espdeploy.passes.edits import add_constant, names_in, replace_nodes

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

_BROADCASTING_OPSET = 8  # from here on Max and Min take inputs of different shapes
_ZERO = "prelu.zero"


def run(model: ModelProto) -> PassResult:
    """Replace PRelu by max(x, s x) where no slope s is 0 or above 1, else by relu(x) + s min(x, 0).

    Both give the values that PRelu gives, infinite ones and NaN too. ONNX Runtime's PRelu takes one value at a time
    with a branch on its sign, 4 to 7 ns each; the operators here are vectorised (benchmarks/passes.py). The last of
    them keeps PRelu's name and output. Slopes that are not fixed, finite FP32 numbers stay.
    """
    graph = model.graph
    fixed = constants(graph)
    found = {
        position: slopes
        for position, node in enumerate(graph.node)
        if opset_of(model) >= _BROADCASTING_OPSET and (slopes := _slopes(node, fixed)) is not None
    }
    taken = names_in(graph)
    by_maximum = {position: bool(((slopes <= 1) & (slopes != 0)).all()) for position, slopes in found.items()}
    zero = _ZERO if all(by_maximum.values()) else add_constant(graph, _zero(), _ZERO, taken)
    replacements = {
        position: _maximum(graph.node[position], taken) if simple else _general(graph.node[position], zero, taken)
        for position, simple in by_maximum.items()
    }
    replace_nodes(graph, replacements)
    return PassResult(model=model, changes=len(found), note=f"{len(found)} spelled out" if found else "")


def _slopes(node: NodeProto, fixed: Mapping[str, TensorProto]) -> Any:
    """The slopes of a PRelu that can be spelled out, else None."""
    import numpy as np

    onnx = lazy.require("onnx", extra="export")
    tensor = fixed.get(node.input[1]) if node.op_type == "PRelu" else None
    if tensor is None or tensor.data_type != onnx.TensorProto.FLOAT:
        return None
    slopes = onnx.numpy_helper.to_array(tensor)
    return slopes if np.isfinite(slopes).all() else None


def _zero() -> object:
    import numpy as np

    return np.zeros((), np.float32)


def _maximum(node: NodeProto, taken: set[str]) -> list[NodeProto]:
    value, slope = node.input
    scaled = _inner(node, "scaled", taken)
    return [_node("Mul", [value, slope], scaled), _node("Max", [value, scaled], node.output[0], node.name)]


def _general(node: NodeProto, zero: str, taken: set[str]) -> list[NodeProto]:
    value, slope = node.input
    above, below, scaled = (_inner(node, role, taken) for role in ("above", "below", "scaled"))
    return [
        _node("Relu", [value], above),
        _node("Min", [value, zero], below),
        _node("Mul", [below, slope], scaled),
        _node("Add", [above, scaled], node.output[0], node.name),
    ]


def _inner(node: NodeProto, role: str, taken: set[str]) -> str:
    return fresh_name(f"{node.name or node.output[0]}.{role}", taken)


def _node(kind: str, inputs: list[str], output: str, name: str | None = None) -> NodeProto:
    made: NodeProto = lazy.require("onnx", extra="export").helper.make_node(kind, inputs, [output], name=name or output)
    return made


PASS = Pass(
    name="spell-out-prelu",
    does="writes PRelu in operators that are faster in ONNX Runtime",
    run=run,
    breaks=frozenset({"names", "shapes"}),
)
