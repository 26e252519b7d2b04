"""How many parameters and multiply-adds an ONNX graph has, from its shapes alone.

Multiply-adds: Conv, ConvTranspose, Gemm and MatMul, for one image. Parameters: the constants that a layer learns —
weights and biases, PRelu slopes, scale and shift of normalisations (not the running mean and variance), and constants
of more than one value in Add, Sub, Mul and Div, which exporters and graph passes leave where a bias or a
normalisation was taken apart. A layer whose weights were counted before is a shared one and counts once; slopes,
scales and shifts count at each use, because exporters merge equal ones (in an untrained network nearly all of them)
and the layers did learn them apart. A normalisation folded into the convolution before it leaves its
shift as that convolution's bias, and its scale disappears: the count of an exported network is lower for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from espdeploy.errors import InputFileError
from espdeploy.lazy import require
from espdeploy.networks.counting import LayerCount, ModelCounts
from espdeploy.networks.entry import Shape

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

#: which inputs of an operator may be learned
_LEARNED_INPUTS: dict[str, tuple[int, ...]] = {
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "Gemm": (0, 1, 2),
    "MatMul": (0, 1),
    "PRelu": (1,),
    "BatchNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "LayerNormalization": (1, 2),
    "GroupNormalization": (1, 2),
    "Gather": (0,),
    "Add": (0, 1),
    "Sub": (0, 1),
    "Mul": (0, 1),
    "Div": (0, 1),
    "LSTM": (1, 2, 3),
    "GRU": (1, 2, 3),
    "QLinearConv": (3, 8),
    "QLinearMatMul": (0, 3),
}
#: operators that may share slopes, scales and shifts only because an exporter merged equal constants
_PER_CHANNEL = (
    "PRelu",
    "BatchNormalization",
    "InstanceNormalization",
    "LayerNormalization",
    "GroupNormalization",
    "Add",
    "Sub",
    "Mul",
    "Div",
)
#: operators whose single constants are arithmetic, not weights
_ARITHMETIC = ("Add", "Sub", "Mul", "Div")
#: operators that multiply and add
_COMPUTING = ("Conv", "ConvTranspose", "Gemm", "MatMul", "QLinearConv", "QLinearMatMul")
#: operators that hand a weight on unchanged in meaning
_TRANSPARENT = ("DequantizeLinear", "QuantizeLinear", "Cast", "Identity", "Reshape", "Transpose", "Unsqueeze")
_NOTE = (
    "multiply-adds of Conv, ConvTranspose, Gemm and MatMul for one image; parameters are learned constants, "
    "without running means and variances; a folded normalisation leaves only its shift"
)


@dataclass(frozen=True, kw_only=True)
class _Graph:
    """What counting needs of a graph: constants' and tensors' shapes, and where transparent tensors come from."""

    nodes: tuple[NodeProto, ...]
    constants: Mapping[str, Shape]
    shapes: Mapping[str, Shape]
    origin: Mapping[str, str]
    batch: int

    def constant(self, name: str) -> str | None:
        """The constant that a tensor is, seen through casts and dequantisation; None for an activation."""
        for _ in range(len(self.origin) + 1):
            if name in self.constants:
                return name
            if name not in self.origin:
                return None
            name = self.origin[name]
        return None

    def shape(self, name: str) -> Shape | None:
        """The tensor's shape; None where shape inference does not know it."""
        return self.shapes.get(name) or self.constants.get(name)


def count_onnx(path: Path, *, input_shape: Shape | None = None) -> ModelCounts:
    """Count the parameters and the multiply-adds for one image of an ONNX file.

    Args:
        path: the file; weights stored beside it are not read, their shapes stand in the file.
        input_shape: of the first input, for graphs with dynamic sizes; None takes the file's own, with a batch of
            one where that is dynamic.

    Raises:
        InputFileError: the file is missing or no ONNX graph.
        MissingCapability: the onnx package is not installed.
    """
    model = _load(path)
    graph = _graph(_with_input_shape(model, input_shape))
    counted: set[str] = set()
    layers = tuple(layer for node in graph.nodes if (layer := _count_node(node, graph, counted)) is not None)
    known = [layer.macs for layer in layers if layer.macs is not None]
    complete = len(known) == len(layers)
    return ModelCounts(
        params=sum(layer.params for layer in layers),
        macs=sum(known) if complete else None,
        layers=layers,
        note=_NOTE if complete else f"multiply-adds unknown: {len(layers) - len(known)} layers have dynamic shapes",
    )


def _load(path: Path) -> ModelProto:
    onnx = require("onnx", extra="export")
    if not path.is_file():
        raise InputFileError(f"there is no ONNX file {path}", do="check the path")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # the protobuf reader's exceptions differ between its versions
        raise InputFileError(
            f"{path} is not an ONNX file, or is damaged ({path.stat().st_size} bytes)",
            why=f"{type(error).__name__}: {error}".splitlines()[0][:200],
            do="export it again: espdeploy export --model NAME",
        ) from error
    if not model.graph.node:
        raise InputFileError(f"{path} holds no ONNX graph", do="export it again: espdeploy export --model NAME")
    return model


def _with_input_shape(model: ModelProto, input_shape: Shape | None) -> ModelProto:
    """The first input's dynamic extents replaced; the model is our own copy from disk."""
    constants = {tensor.name for tensor in model.graph.initializer}
    given = next((value for value in model.graph.input if value.name not in constants), None)
    if given is None:
        return model
    dims = given.type.tensor_type.shape.dim
    for index, dim in enumerate(dims):
        if input_shape is not None and index < len(input_shape):
            dim.dim_value = input_shape[index]
        elif index == 0 and not dim.dim_value:
            dim.dim_value = 1
    if any(dim.dim_value for dim in dims):
        del model.graph.value_info[:]  # inferred for the old extents
        for output in model.graph.output:
            output.type.tensor_type.ClearField("shape")
    return model


def _graph(model: ModelProto) -> _Graph:
    graph = model.graph
    constants = dict(_constants(model))
    shapes = dict(_inferred_shapes(model))
    origin = {node.output[0]: node.input[0] for node in graph.node if node.op_type in _TRANSPARENT and node.input}
    first = next((shapes.get(value.name) for value in graph.input if value.name not in constants), None)
    return _Graph(
        nodes=tuple(graph.node), constants=constants, shapes=shapes, origin=origin, batch=first[0] if first else 1
    )


def _constants(model: ModelProto) -> Iterator[tuple[str, Shape]]:
    """Every constant tensor but whole numbers of 64 bits and truth values, which are indices and shapes."""
    kinds = require("onnx", extra="export").TensorProto
    tensors = [(tensor.name, tensor) for tensor in model.graph.initializer]
    for node in model.graph.node:
        if node.op_type == "Constant":
            tensors.extend((node.output[0], a.t) for a in node.attribute if a.name == "value")
    for name, tensor in tensors:
        if tensor.data_type not in (kinds.INT64, kinds.BOOL):
            yield name, tuple(tensor.dims)


def _inferred_shapes(model: ModelProto) -> Iterator[tuple[str, Shape]]:
    """Every tensor whose shape is fully known."""
    onnx = require("onnx", extra="export")
    try:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception:  # foreign operators, over 2 GB: what the file itself states is left
        graph = model.graph
    for value in (*graph.input, *graph.value_info, *graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims and all(dim.HasField("dim_value") and dim.dim_value > 0 for dim in dims):
            yield value.name, tuple(dim.dim_value for dim in dims)


def _count_node(node: NodeProto, graph: _Graph, counted: set[str]) -> LayerCount | None:
    """The node's learned constants, and its multiply-adds; None where it has neither."""
    weights = _weights(node, graph)
    if node.op_type not in _PER_CHANNEL and weights:
        if weights[0] in counted:
            weights = []  # a shared layer
        counted.update(weights)
    params = sum(prod(graph.constants[name]) for name in weights)
    computes = node.op_type in _COMPUTING
    if not computes and not params:
        return None
    macs = _node_macs(node, graph) if computes else 0
    return LayerCount(name=node.name or node.output[0], kind=node.op_type, params=params, macs=macs)


def _weights(node: NodeProto, graph: _Graph) -> list[str]:
    """The constants behind the node's inputs that may be learned."""
    slots = _LEARNED_INPUTS.get(node.op_type, ())
    found = [graph.constant(node.input[slot]) for slot in slots if slot < len(node.input)]
    least = 1 if node.op_type in _ARITHMETIC else 0
    return [name for name in found if name is not None and prod(graph.constants[name]) > least]


def _node_macs(node: NodeProto, graph: _Graph) -> int | None:
    """The closed form of each operator, for one image; None where a shape is unknown."""
    quantized = node.op_type.startswith("QLinear")
    left, right = node.input[0], node.input[3 if quantized else 1]
    given, weight, output = graph.shape(left), _weight_shape(right, graph), graph.shape(node.output[0])
    if given is None or output is None or weight is None:
        return None
    if node.op_type in ("Conv", "QLinearConv"):  # weight: out, in / groups, kernel …
        return prod(output) * prod(weight[1:]) // graph.batch
    if node.op_type == "ConvTranspose":  # weight: in, out / groups, kernel …
        return prod(given) * prod(weight[1:]) // graph.batch
    transposed = any(a.name == "transA" and a.i for a in node.attribute)
    return prod(output) * given[0 if transposed else -1] // graph.batch


def _weight_shape(name: str, graph: _Graph) -> Shape | None:
    """The weight's shape, where inference knows only that of the constant behind it too."""
    known = graph.shape(name)
    constant = graph.constant(name)
    return known or (graph.constants[constant] if constant else None)
