"""Every node and tensor gets a name that says where in the network it stands."""

from __future__ import annotations

import ast
import re
from types import MappingProxyType
from typing import TYPE_CHECKING

from espdeploy.onnx_graph import fresh_name, rename, scope_path
from espdeploy.passes.base import Pass, PassResult

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

#: what the inputs after the first are, for operators that hold weights
_ROLES = MappingProxyType(
    {
        "Conv": ("weight", "bias"),
        "ConvTranspose": ("weight", "bias"),
        "Gemm": ("weight", "bias"),
        "PRelu": ("weight",),
        "BatchNormalization": ("weight", "bias", "running_mean", "running_var"),
    }
)
_SCOPES_KEY = "pkg.torch.onnx.name_scopes"
#: names that exporters and simplifiers count out, and our folding's
_ANONYMOUS = re.compile(r"onnx::\w+|_?(?:val?|v)_\d+|\d+|.*\.folded_\w+|.*_input_\d+(?:_\d+)?")
_OWN_NAME = re.compile(r"(?:(?P<path>[^/]+)/)?(?P<op>[A-Za-z0-9]+?)(?:_\d+)?")


def run(model: ModelProto) -> PassResult:
    """Name nodes ``module.path/Operator`` (``_2`` … where there are several), their outputs and weights after them.

    The path comes from what PyTorch's exporters leave in the graph; the graph's inputs and outputs keep their
    names, and so do nodes whose names say more than their operator. A profiler's table can so be joined with
    the network's modules.
    """
    graph = model.graph
    changes = _name_nodes(graph)
    tensors = _tensor_names(graph)
    rename(graph, tensors)
    return PassResult(model=model, changes=changes + len(tensors))


def _name_nodes(graph: GraphProto) -> int:
    taken: set[str] = set()
    changes = 0
    weights = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        wanted = _wanted_name(node, weights)
        name = fresh_name(wanted, taken)
        changes += name != node.name
        node.name = name
        node.ClearField("metadata_props")  # read; PyTorch's notes hold this machine's paths
    return changes


def _wanted_name(node: NodeProto, weights: set[str]) -> str:
    path = _path_from_notes(node, weights)
    if path is None and node.name.startswith("/"):
        path = scope_path(node.name)
    own = _OWN_NAME.fullmatch(node.name)
    if path is None and own is not None and own["op"] == node.op_type:
        path = own["path"] or ""
    if path is None:
        return str(node.name or node.op_type)
    return f"{path}/{node.op_type}" if path else node.op_type


def _path_from_notes(node: NodeProto, weights: set[str]) -> str | None:
    """The module's path in the notes of the exporter that builds on torch.export; None where there are none.

    A convolution that took in a batch normalization carries the latter's note, so its weight's name goes first.
    """
    note = next((entry.value for entry in node.metadata_props if entry.key == _SCOPES_KEY), None)
    if note is None:
        return None
    if "Conv" in node.op_type and node.input[1] in weights and node.input[1].endswith(".weight"):
        return str(node.input[1].removesuffix(".weight"))
    try:
        scopes = ast.literal_eval(note)
    except (ValueError, SyntaxError):
        return None
    return str(scopes[-2]) if isinstance(scopes, list) and len(scopes) > 1 else ""


def _tensor_names(graph: GraphProto) -> dict[str, str]:
    """New names of constants, after their first reader, and of what nodes write."""
    fixed = {value.name for value in [*graph.input, *graph.output]}
    taken = set(fixed)
    constants = {tensor.name for tensor in graph.initializer} - fixed
    names: dict[str, str] = {}
    for node in graph.node:
        for index, old in enumerate(node.input):
            if old in constants and old not in names:
                names[old] = fresh_name(_constant_name(node, index, old), taken)
        for index, old in enumerate(node.output):
            if old and old not in fixed:
                names[old] = fresh_name(f"{node.name}_output_{index}", taken)
    for old in sorted(constants - names.keys()):  # read inside a subgraph, or by nobody
        names[old] = fresh_name(old, taken)
    return {old: new for old, new in names.items() if old != new}


def _constant_name(node: NodeProto, index: int, old: str) -> str:
    """``module.path.weight`` and the like where the reader says so; else the old name, unless it says nothing."""
    path, slash, _ = node.name.rpartition("/")
    roles = _ROLES.get(node.op_type, ())
    if slash and 0 < index <= len(roles):
        return f"{path}.{roles[index - 1]}"
    return f"{node.name}_input_{index}" if _ANONYMOUS.fullmatch(old) else old


PASS = Pass(
    name="name-nodes",
    does="names nodes and tensors after the modules that they come from",
    run=run,
    ensures=frozenset({"names"}),
)
