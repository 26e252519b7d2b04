"""Small changes to a graph that several passes make, and what they need to know for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from espdeploy import lazy
from espdeploy.onnx_graph import fresh_name, subgraphs

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TypeProto


@dataclass(frozen=True, kw_only=True)
class TensorType:
    """Element type (ONNX's number for it) and extents of a tensor; None for an extent that is not fixed."""

    element: int
    shape: tuple[int | None, ...]


def tensor_types(model: ModelProto) -> dict[str, TensorType]:
    """What shape inference knows of each tensor; those of unknown rank are left out."""
    onnx = lazy.require("onnx", extra="export")
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    described = {value.name: value.type for value in (*graph.value_info, *graph.input, *graph.output)}
    return {name: _tensor_type(kind) for name, kind in described.items() if kind.tensor_type.HasField("shape")}


def _tensor_type(kind: TypeProto) -> TensorType:
    dims = kind.tensor_type.shape.dim
    shape = tuple(int(dim.dim_value) if dim.HasField("dim_value") else None for dim in dims)
    return TensorType(element=kind.tensor_type.elem_type, shape=shape)


def names_in(graph: GraphProto) -> set[str]:
    """Every name of a tensor in the graph and in graphs inside its nodes."""
    names = {item.name for items in (graph.initializer, graph.input, graph.output) for item in items}
    for node in graph.node:
        names.update(node.input, node.output)
        for inner in subgraphs(node):
            names |= names_in(inner)
    return names


def add_constant(graph: GraphProto, array: Any, wanted: str, taken: set[str]) -> str:
    """Store an array under ``wanted`` or the next free name, and return that name."""
    onnx = lazy.require("onnx", extra="export")
    name = fresh_name(wanted, taken)
    graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return name


def replace_nodes(graph: GraphProto, replacements: Mapping[int, Sequence[NodeProto]]) -> None:
    """Put other nodes, or none, where the nodes at these positions stood."""
    for position in sorted(replacements, reverse=True):
        del graph.node[position]
        for node in reversed(replacements[position]):
            graph.node.insert(position, node)


def forget_shape(graph: GraphProto, name: str) -> None:
    """Remove what the graph says about the type of a tensor that has changed."""
    stale = [position for position, value in enumerate(graph.value_info) if value.name == name]
    for position in reversed(stale):
        del graph.value_info[position]
