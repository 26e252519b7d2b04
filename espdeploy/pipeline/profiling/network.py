"""An ONNX file as the network that profiles are laid on: which module each operator came from, and what it moves."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from espdeploy import onnx_graph
from espdeploy.lazy import require
from espdeploy.networks.onnx_counting import count_onnx
from espdeploy.profilers.network import Network, Node

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

Shape = tuple[int, ...]
#: what exporters call constants that no parameter stands behind
_NO_PARAMETER = re.compile(r"onnx::|/|_?Constant")
#: the exporter that traces with dynamo writes the modules on the way to an operator here, the operator itself last
_SCOPES = "pkg.torch.onnx.name_scopes"


def network_of(path: Path, *, input_shape: Shape | None = None) -> Network:
    """Read the graph and infer its shapes.

    Args:
        path: the file; weights stored beside it are not read.
        input_shape: of the first input, for graphs with open extents; None takes the file's own, with a batch of one
            where that is open.

    Raises:
        InputFileError: the file is missing or no ONNX graph.
        MissingCapability: the onnx package is not installed.
    """
    counts = count_onnx(path, input_shape=input_shape)
    model = require("onnx", extra="export").load(str(path), load_external_data=False)
    constants = onnx_graph.constants(model.graph)
    shapes = _shapes(model, input_shape, constants)
    sizes = {name: prod(tensor.dims) for name, tensor in constants.items()}
    first = next((shapes.get(value.name) for value in model.graph.input if value.name not in constants), None)
    batch = first[0] if first else 1
    macs = {layer.name: None if layer.macs is None else layer.macs * batch for layer in counts.layers}
    modules = _modules(model.graph, constants)
    return Network(
        nodes=tuple(
            Node(
                name=_name(node),
                op=node.op_type,
                module=modules[_name(node)],
                inputs=tuple(name for name in node.input if name and name not in constants),
                outputs=tuple(name for name in node.output if name),
                macs=macs.get(_name(node), 0),
                weight_elements=sum(sizes[name] for name in set(node.input) if name in sizes),
            )
            for node in model.graph.node
            if node.op_type != "Constant"
        ),
        elements={name: prod(shape) for name, shape in shapes.items()},
        outputs=frozenset(value.name for value in model.graph.output),
        constants=frozenset(constants),
        batch=batch,
    )


def _name(node: NodeProto) -> str:
    return str(node.name or node.output[0])


def _shapes(model: ModelProto, input_shape: Shape | None, constants: Iterable[str]) -> dict[str, Shape]:
    """Every tensor whose shape is fully known; the model is our own copy from disk."""
    onnx = require("onnx", extra="export")
    given = next((value for value in model.graph.input if value.name not in set(constants)), None)
    dims = given.type.tensor_type.shape.dim if given is not None else ()
    if any(not dim.dim_value for dim in dims) or input_shape is not None:
        for index, dim in enumerate(dims):
            extent = input_shape[index] if input_shape is not None and index < len(input_shape) else dim.dim_value
            dim.dim_value = extent or (1 if index == 0 else 0)
            if not dim.dim_value:
                dim.ClearField("dim_value")
        del model.graph.value_info[:]
        for output in model.graph.output:
            output.type.tensor_type.ClearField("shape")
    try:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception:  # foreign operators, over 2 GB: what the file itself states is left
        graph = model.graph
    found = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        extents = value.type.tensor_type.shape.dim
        if extents and all(dim.HasField("dim_value") and dim.dim_value > 0 for dim in extents):
            found[value.name] = tuple(dim.dim_value for dim in extents)
    return found


def _modules(graph: GraphProto, constants: Mapping[str, object]) -> dict[str, str]:
    """The module of each operator: by its name, its exporter's notes, its weights, or else by what comes before it.

    Where names tell modules, one that tells none stands in the network's own code.
    """
    told = {_name(node): _of_name(_name(node)) or _of_scopes(node) for node in graph.node}
    names_tell = any(told.values())
    producer = onnx_graph.producers(graph)
    found: dict[str, str] = {}
    for node in graph.node:
        module = told[_name(node)] or ("" if names_tell else _of_weights(node, constants))
        if not module and not names_tell:
            before = next((producer[name] for name in node.input if name in producer), None)
            module = found.get(_name(before), "") if before is not None else ""
        found[_name(node)] = module
    return found


def _of_name(name: str) -> str:
    """``stage3.0.reduce/Conv`` and PyTorch's own ``/stage3/stage3.0/reduce/Conv`` as ``stage3.0.reduce``."""
    parts: list[str] = []
    for part in name.split("/")[:-1]:
        if parts and part.startswith(f"{parts[-1]}."):
            parts[-1] = part
        elif part:
            parts.append(part)
    return ".".join(parts)


def _of_scopes(node: NodeProto) -> str:
    noted = next((entry.value for entry in getattr(node, "metadata_props", ()) if entry.key == _SCOPES), None)
    if noted is None:
        return ""
    try:
        scopes = ast.literal_eval(noted)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return ""
    modules = scopes[:-1] if isinstance(scopes, list) else []
    return str(modules[-1]) if modules else ""


def _of_weights(node: NodeProto, constants: Mapping[str, object]) -> str:
    parameters = (name for name in node.input[1:] if name in constants and not _NO_PARAMETER.match(name))
    return next((name.rpartition(".")[0] for name in parameters if "." in name), "")
