"""What no output depends on goes, and nodes that pass their input on."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from espdeploy import lazy
from espdeploy.onnx_graph import constants, drop_nodes, opset_of, producers, redirect, rename, subgraphs, uses
from espdeploy.passes.base import Pass, PassResult

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

#: operators with optional outputs at the end, and how many they need: TensorRT refuses some that nobody reads
_NEEDED_OUTPUTS = MappingProxyType({"MaxPool": 1, "Dropout": 1, "BatchNormalization": 1, "LayerNormalization": 1})
#: from here on Dropout has an input that switches it on
_DROPOUT_SWITCH_OPSET = 12


def run(model: ModelProto) -> PassResult:
    """Remove pass-through nodes, unread optional outputs, and nodes and constants that no output needs."""
    graph = model.graph
    nodes = _remove_unreachable(graph)  # first: what nobody needs reads nothing any more
    trimmed = _trim_outputs(graph)
    bypassed = _bypass(graph, opset_of(model))
    nodes += _remove_unreachable(graph)  # a Dropout's ratio may have been a node
    tensors = _remove_unread_constants(graph)
    parts = {"passed through": bypassed, "outputs": trimmed, "nodes": nodes, "constants": tensors}
    note = ", ".join(f"{count} {what}" for what, count in parts.items() if count)
    return PassResult(model=model, changes=sum(parts.values()), note=note)


def _bypass(graph: GraphProto, opset: int) -> int:
    """Take pass-through nodes out of the way; their readers read what they read."""
    fixed = constants(graph)
    outputs = {value.name for value in graph.output}
    removed = []
    for position, node in enumerate(graph.node):
        if not _passes_through(node, opset, fixed):
            continue
        source, target = node.input[0], node.output[0]
        if target not in outputs:
            redirect(graph, {target: source})
        elif source in producers(graph) and source not in outputs:
            node.output[0] = ""  # only the node that computes the value writes it from here on
            rename(graph, {source: target})
        else:
            continue  # an input, a constant or a second output: the output's name needs a node of its own
        removed.append(position)
    return drop_nodes(graph, removed)


def _passes_through(node: NodeProto, opset: int, fixed: dict[str, TensorProto]) -> bool:
    if node.domain not in ("", "ai.onnx"):
        return False
    if node.op_type == "Identity":
        return True
    if node.op_type != "Dropout" or any(node.output[1:]):
        return False
    if opset < _DROPOUT_SWITCH_OPSET or len(node.input) < 3 or not node.input[2]:
        return True
    onnx = lazy.require("onnx", extra="export")
    switch = fixed.get(node.input[2])
    return switch is not None and not onnx.numpy_helper.to_array(switch).any()


def _trim_outputs(graph: GraphProto) -> int:
    """Drop optional outputs at a node's end that nobody reads."""
    read = uses(graph)
    trimmed = 0
    for node in graph.node:
        needed = _NEEDED_OUTPUTS.get(node.op_type, len(node.output))
        while len(node.output) > needed and not read[node.output[-1]]:
            node.output.pop()
            trimmed += 1
    return trimmed


def _remove_unreachable(graph: GraphProto) -> int:
    needed = {value.name for value in graph.output}
    unreached = []
    for position in reversed(range(len(graph.node))):  # ONNX keeps nodes in topological order
        node = graph.node[position]
        if needed.isdisjoint(name for name in node.output if name):
            unreached.append(position)
            continue
        needed.update(node.input)
        for inner in subgraphs(node):
            needed.update(uses(inner))
    return drop_nodes(graph, unreached)


def _remove_unread_constants(graph: GraphProto) -> int:
    read = uses(graph)
    unread = [position for position, tensor in enumerate(graph.initializer) if not read[tensor.name]]
    for position in reversed(unread):
        del graph.initializer[position]
    return len(unread)


PASS = Pass(
    name="remove-dead",
    does="removes what no output depends on",
    run=run,
    ensures=frozenset({"live", "no-identities"}),
    breaks=frozenset({"names", "shapes"}),
)
