"""Gives each tensor of a graph one of two floating-point types, with a cast where a reader wants the other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator
from typing import TYPE_CHECKING

import numpy as np

from espdeploy import lazy
from espdeploy.onnx_graph import attribute, fresh_name, redirect, subgraphs
from espdeploy.quantize.fp16_facts import FLOAT, FOLLOWERS, HALF, INDIFFERENT, LARGEST, Facts, all_names, in_half

if TYPE_CHECKING:
    from onnx import AttributeProto, GraphProto, NodeProto, TensorProto

_SUFFIXES = {FLOAT: "fp32", HALF: "fp16"}


class Retyping:
    """One graph on its way from FP32 to FP16; :meth:`apply` changes it in place.

    Every tensor is held in one type: what its writer gives. A reader that wants the other type shares one cast with
    all others that do, and there is none between two that agree. Casts between FP32 and FP16 that the graph had are
    taken out first, so that none follows another.
    """

    def __init__(self, graph: GraphProto, facts: Facts, kept: Container[str], *, keep_io: bool) -> None:
        self._graph = graph
        self._facts = facts
        self._kept = kept
        self._io = FLOAT if keep_io else HALF
        self._roots, self._dissolved = _without_casts(graph, facts)
        self._taken = all_names(graph)
        self._outputs = [value.name for value in graph.output]
        self._reserved = self._output_names()
        self._wanted: dict[str, set[int]] = defaultdict(set)
        self._held: dict[str, int] = {}
        #: the name of a tensor in a type
        self._views: dict[tuple[str, int], str] = {}
        self._nodes: list[NodeProto] = []
        self.flushed = 0

    def apply(self) -> None:
        """Change the graph: constants, nodes, casts, and the types of inputs and outputs; ``flushed`` counts zeros."""
        self._collect()
        self._set_inputs()
        self._set_constants()
        for position, node in enumerate(self._graph.node):
            if position not in self._dissolved:
                self._rewrite(node)
        for value in self._graph.output:
            self._set_output(value.name)
            if self._facts.types.get(value.name) == FLOAT:
                value.type.tensor_type.elem_type = self._io
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)

    def _collect(self) -> None:
        """Which types each tensor is wanted in."""
        for position, node in enumerate(self._graph.node):
            if position in self._dissolved:
                continue
            for index, name in enumerate(node.input):
                kind = self._kind_read(node, index)
                if kind is not None:
                    self._wanted[self._root(name)].add(kind)
            for name in _captured(node):
                self._want_as_it_is(name)
        for name in self._outputs:
            if self._facts.types.get(name) == FLOAT:
                self._wanted[self._root(name)].add(self._io)
            else:
                self._want_as_it_is(name)

    def _want_as_it_is(self, name: str) -> None:
        kind = self._facts.types.get(name)
        if kind in _SUFFIXES:
            self._wanted[self._root(name)].add(kind)

    def _kind_read(self, node: NodeProto, index: int) -> int | None:
        """The type that an input is wanted in; None for other types and where any will do."""
        kind = self._facts.types.get(node.input[index])
        if kind not in _SUFFIXES or node.op_type in INDIFFERENT:
            return None
        if kind == HALF or node.name in self._kept:
            return kind
        form = self._facts.form(node)
        return HALF if form is not None and form.reads_half(index) else FLOAT

    def _kind_written(self, node: NodeProto, index: int) -> int | None:
        name = node.output[index]
        kind = self._facts.types.get(name)
        if kind != FLOAT or node.name in self._kept:
            return kind if kind in _SUFFIXES else None
        if node.op_type in FOLLOWERS and self._wanted[name] == {FLOAT}:
            return FLOAT
        form = self._facts.form(node)
        return HALF if form is not None and form.writes_half(index) else FLOAT

    def _set_inputs(self) -> None:
        for value in self._graph.input:
            kind = self._facts.types.get(value.name)
            if kind == FLOAT:
                value.type.tensor_type.elem_type = kind = self._io
            if kind in _SUFFIXES:
                self._hold(value.name, kind, value.name)

    def _set_constants(self) -> None:
        """Convert each constant where all want it in FP16, and add a copy where only some do."""
        onnx = lazy.require("onnx", extra="export")
        bounds = _bounds(self._graph)
        for tensor in list(self._graph.initializer):
            wanted = self._wanted[tensor.name]
            if tensor.data_type not in _SUFFIXES:
                continue
            self._hold(tensor.name, tensor.data_type, tensor.name)
            if tensor.data_type == HALF or HALF not in wanted:
                continue
            half = self._converted(tensor, saturate=tensor.name in bounds)
            name = tensor.name if FLOAT not in wanted else fresh_name(f"{tensor.name}_fp16", self._taken)
            self._views[tensor.name, HALF] = name
            if name == tensor.name:
                self._held[name] = HALF
                del self._views[name, FLOAT]
                tensor.CopyFrom(onnx.numpy_helper.from_array(half, name))
            else:
                self._graph.initializer.append(onnx.numpy_helper.from_array(half, name))

    def _converted(self, tensor: TensorProto, *, saturate: bool) -> object:
        values = lazy.require("onnx", extra="export").numpy_helper.to_array(tensor)
        if saturate:
            values = np.clip(values, -LARGEST, LARGEST)
        half = in_half(values)
        self.flushed += int(((half == 0) & (values != 0)).sum())
        return half

    def _hold(self, root: str, kind: int, name: str) -> None:
        self._held[root] = kind
        self._views[root, kind] = name

    def _root(self, name: str) -> str:
        return self._roots.get(name, name)

    def _rewrite(self, original: NodeProto) -> None:
        node = type(original)()
        node.CopyFrom(original)
        for index, name in enumerate(original.input):
            kind = self._kind_read(original, index)
            if self._root(name) in self._held:
                node.input[index] = self._view(name, kind)
        captured = {name: self._view(name, self._facts.types[name]) for name in _captured(node) if self._known(name)}
        for inner in subgraphs(node):
            redirect(inner, captured)
            for value in inner.output:
                value.name = captured.get(value.name, value.name)
        for index, name in enumerate(original.output):
            kind = self._kind_written(original, index)
            if kind is not None:
                node.output[index] = self._name_written(name, kind)
                self._hold(name, kind, node.output[index])
        if node.op_type in FOLLOWERS and self._facts.types.get(original.output[0]) == FLOAT:
            _set_kind(node, self._held[original.output[0]])
        self._nodes.append(node)

    def _known(self, name: str) -> bool:
        return self._root(name) in self._held

    def _output_names(self) -> dict[tuple[str, int], str]:
        """The names that tensors must have in a type because they are outputs of the graph."""
        reserved: dict[tuple[str, int], str] = {}
        for name in sorted(self._outputs, key=lambda name: name in self._roots):  # a tensor's own name goes first
            kind = self._facts.types.get(name)
            if kind in _SUFFIXES:
                reserved.setdefault((self._root(name), self._io if kind == FLOAT else kind), name)
        return reserved

    def _name_written(self, name: str, kind: int) -> str:
        """The tensor's own name, unless it is an output's and that is another tensor or of the other type."""
        if name in self._outputs and (name, kind) not in self._reserved:
            return fresh_name(f"{name}_{_SUFFIXES[kind]}", self._taken)
        return self._reserved.get((name, kind), name)

    def _view(self, name: str, kind: int | None) -> str:
        """The name to read a tensor by in a type (None: the one that it has); casts it where nobody has yet."""
        root = self._root(name)
        kind = self._held[root] if kind is None else kind
        if (root, kind) not in self._views:
            reserved = self._reserved.get((root, kind))
            self._cast(root, kind, reserved or fresh_name(f"{root}_{_SUFFIXES[kind]}", self._taken))
        return self._views[root, kind]

    def _cast(self, root: str, kind: int, target: str) -> None:
        onnx = lazy.require("onnx", extra="export")
        source = self._views[root, self._held[root]]
        name = fresh_name(f"{root}_to_{_SUFFIXES[kind]}", self._taken)
        self._nodes.append(onnx.helper.make_node("Cast", [source], [target], name=name, to=kind))
        self._views[root, kind] = target

    def _set_output(self, name: str) -> None:
        """Write an output of the graph that so far has another type, or was written by a cast that is gone."""
        kind = self._facts.types.get(name)
        if kind not in _SUFFIXES:
            return
        kind = self._io if kind == FLOAT else kind
        root = self._root(name)
        if self._views.get((root, kind)) != name:
            self._cast(root, kind, name)


def _without_casts(graph: GraphProto, facts: Facts) -> tuple[dict[str, str], set[int]]:
    """For what casts between the two types write the tensor behind it; and the positions of these casts."""
    roots: dict[str, str] = {}
    positions = set()
    for position, node in enumerate(graph.node):
        if node.op_type == "Cast" and all(facts.types.get(name) in _SUFFIXES for name in [*node.input, *node.output]):
            roots[node.output[0]] = roots.get(node.input[0], node.input[0])
            positions.add(position)
    return roots, positions


def _captured(node: NodeProto) -> Iterator[str]:
    """The names that graphs inside the node read, from outside among others."""
    for inner in subgraphs(node):
        yield from (value.name for value in inner.output)
        for nested in inner.node:
            yield from nested.input
            yield from _captured(nested)


def _bounds(graph: GraphProto) -> set[str]:
    """Constants that are nothing but bounds of Clip: beyond FP16's range they bound nothing."""
    bounds = {name for node in graph.node if node.op_type == "Clip" for name in node.input[1:]}
    return bounds - {
        name for node in graph.node for index, name in enumerate(node.input) if node.op_type != "Clip" or not index
    }


def _set_kind(node: NodeProto, kind: int) -> None:
    """Let Cast or ConstantOfShape write this type."""
    onnx = lazy.require("onnx", extra="export")
    name = "to" if node.op_type == "Cast" else "value"
    given: AttributeProto | None = attribute(node, name)
    if node.op_type == "Cast":
        replacement = onnx.helper.make_attribute(name, kind)
    else:
        values = np.zeros(1, np.float32) if given is None else onnx.numpy_helper.to_array(given.t)
        replacement = onnx.helper.make_attribute(
            name, onnx.numpy_helper.from_array(in_half(values) if kind == HALF else values.astype(np.float32))
        )
    rest = [entry for entry in node.attribute if entry.name != name]
    del node.attribute[:]
    node.attribute.extend([*rest, replacement])
