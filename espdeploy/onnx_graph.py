"""Questions to an ONNX graph that several passes ask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from espdeploy import lazy

if TYPE_CHECKING:
    from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs inside a node, such as the branches of If."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def uses(graph: GraphProto) -> Counter[str]:
    """How often each tensor is read: by nodes, by graphs inside them, and as an output of the graph."""
    counted = Counter(output.name for output in graph.output)
    for node in graph.node:
        counted.update(name for name in node.input if name)
        for inner in subgraphs(node):
            counted.update(uses(inner))
    return counted


def producers(graph: GraphProto) -> dict[str, NodeProto]:
    """The node that writes each tensor."""
    return {name: node for node in graph.node for name in node.output if name}


def constants(graph: GraphProto) -> dict[str, TensorProto]:
    """Tensors with a fixed value, by name; an initializer that is an input too may be overridden and is none."""
    overridable = {value.name for value in graph.input}
    found = {tensor.name: tensor for tensor in graph.initializer if tensor.name not in overridable}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            found[node.output[0]] = node.attribute[0].t
    return found


def attribute(node: NodeProto, name: str) -> AttributeProto | None:
    """An attribute of a node; None where it is left at its default."""
    return next((entry for entry in node.attribute if entry.name == name), None)


def rename(graph: GraphProto, names: dict[str, str]) -> None:
    """Give tensors new names wherever they are written, read or described, in graphs inside nodes too."""
    if not names:
        return
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for inner in subgraphs(node):
            rename(inner, names)
    for items in (graph.initializer, graph.value_info, graph.input, graph.output):
        for item in items:
            item.name = names.get(item.name, item.name)


def redirect(graph: GraphProto, names: dict[str, str]) -> None:
    """Let every reader of a tensor read another one instead; who writes them stays."""
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        for inner in subgraphs(node):
            redirect(inner, names)
            for output in inner.output:
                output.name = names.get(output.name, output.name)


def drop_nodes(graph: GraphProto, positions: list[int]) -> int:
    """Remove the nodes at these positions; returns how many.

    Positions, not objects: protobuf makes a new Python object for a node each time it is looked at.
    """
    for position in sorted(positions, reverse=True):
        del graph.node[position]
    return len(positions)


def opset_of(model: ModelProto) -> int:
    """The version of ONNX's own operator set, 0 where the model names none."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)


def scope_path(name: str) -> str:
    """``/block/block.0/conv/Conv`` of the TorchScript exporter as ``block.0.conv``, empty for another kind of name.

    A Sequential's children repeat its name in theirs.
    """
    if not name.startswith("/"):
        return ""
    parts: list[str] = []
    for part in name.split("/")[1:-1]:
        if parts and part.startswith(f"{parts[-1]}."):
            parts.pop()
        parts.append(part)
    return ".".join(parts)


def fresh_name(wanted: str, taken: set[str]) -> str:
    """``wanted``, or with the first number from 2 on that makes it free; it is taken from then on."""
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    taken.add(name)
    return name


def check(model: ModelProto) -> None:
    """ONNX's own check of a model.

    Raises:
        onnx.checker.ValidationError: with the node and the rule that it breaks.
    """
    lazy.require("onnx", extra="export").checker.check_model(model)
