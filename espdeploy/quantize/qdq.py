"""A graph with QuantizeLinear and DequantizeLinear where it is to compute in INT8 (docs/decisions/0006)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from espdeploy import lazy
from espdeploy.errors import UsageError
from espdeploy.onnx_graph import check, constants, drop_nodes, fresh_name, opset_of, subgraphs, uses
from espdeploy.quantize.placement import Plan, called, is_concat, plan, weighted
from espdeploy.quantize.weights import channel_axis, to_int8

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import GraphProto, ModelProto, NodeProto

#: DequantizeLinear takes a scale for each slice along an axis from here on
_LEAST_OPSET = 13
#: operators that only a graph has that is in INT8 already
_QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger")


@dataclass(frozen=True, kw_only=True)
class QuantizedGraph:
    """A graph with Q/DQ pairs, and what they stand around.

    ``quantized`` are the layers in INT8, ``joined`` the Adds and Concats that read INT8; ``left`` says of every other
    one that was asked for why it stayed as it was.
    """

    model: ModelProto
    quantized: tuple[str, ...]
    joined: tuple[str, ...]
    left: dict[str, str]


def quantizable(model: ModelProto) -> tuple[str, ...]:
    """The layers that can go to INT8, by name: Conv, ConvTranspose, Gemm and MatMul with a constant FP32 weight.

    A node without a name is known by what it writes.
    """
    return tuple(called(node) for node in weighted(model.graph).values())


def quantize(
    model: ModelProto,
    amax: Mapping[str, float],
    *,
    layers: Collection[str] | None = None,
    placement: str = "convolutions",
    joins: Collection[str] | None = None,
) -> QuantizedGraph:
    """A copy of ``model`` that computes ``layers`` in symmetric INT8.

    Each tensor that they read gets one pair QuantizeLinear / DequantizeLinear, shared by all of its readers in INT8;
    other readers keep the FP32 tensor. What a Concat writes is quantized before it and concatenated in INT8, to the
    same values. Zero points are 0, an activation's scale is ``amax / 127``. Weights are stored in INT8 behind a
    DequantizeLinear, as TensorRT takes them (NVIDIA TensorRT documentation, Explicit Quantization). Biases stay as they
    are.

    Args:
        model: in FP32, opset 13 or later.
        amax: the |x| that maps to 127, by tensor.
        layers: of :func:`quantizable`; None means all.
        placement: "convolutions", or "dense": Adds and Concats beside such layers read INT8 too, the inputs of a Concat
            with one scale.
        joins: the Adds and Concats that "dense" may touch, by name; None means all.

    Raises:
        UsageError: no layer can go to INT8, the graph is quantized already, its opset is too old, or an unknown name.
        InputFileError: a weight or a range that is not a finite number.
    """
    _check_fit(model)
    chosen = plan(model.graph, amax, layers=layers, placement=placement, joins=joins)
    if not chosen.layers and (layers is None or layers):
        raise _nothing(chosen)
    result = type(model)()
    result.CopyFrom(model)
    _Writer(result.graph, chosen).write()
    check(result)
    return QuantizedGraph(
        model=result,
        quantized=tuple(chosen.layers.values()),
        joined=tuple(chosen.joins.values()),
        left=dict(chosen.left),
    )


class _Writer:
    """Puts a plan into a graph."""

    def __init__(self, graph: GraphProto, chosen: Plan) -> None:
        self._onnx = lazy.require("onnx", extra="export")
        self._graph = graph
        self._plan = chosen
        self._taken = _names(graph)
        self._fixed = constants(graph)
        self._described = {value.name: value for value in [*graph.value_info, *graph.input, *graph.output]}
        self._concats = {node.output[0]: node for node in graph.node if is_concat(node)}
        self._nodes: list[NodeProto] = []
        #: the INT8 tensor of each tensor at each scale
        self._steps: dict[tuple[str, float], str] = {}
        #: scale and zero point of each tensor at each scale
        self._scales: dict[tuple[str, float], tuple[str, str]] = {}
        #: what is read instead of each activation, and of each weight along each axis
        self._ready: dict[str | tuple[str, int | None], str] = {}

    def write(self) -> None:
        """Change the graph. Each new node stands right before its first reader, so that the order stays topological."""
        for position, node in enumerate(self._graph.node):
            if position in self._plan.joins and is_concat(node):
                self._pass_through(node)
                continue
            if position in self._plan.joins:
                node.input[:] = [self._activation(name) for name in node.input]
            elif position in self._plan.layers:
                node.input[0] = self._activation(node.input[0])
                node.input[1] = self._weight(node)
            self._nodes.append(node)
        nodes = [self._copy(node) for node in self._nodes]
        del self._graph.node[:]
        self._graph.node.extend(nodes)
        self._drop_unread()

    def _pass_through(self, node: NodeProto) -> None:
        """Concatenate in INT8; every reader gets what comes out, dequantized."""
        output, scale = node.output[0], self._plan.scales[node.input[0]]
        steps = self._quantized(output, scale)
        self._node("DequantizeLinear", output, [steps, *self._scale_of(output, scale)], output)
        self._ready[output] = output

    def _activation(self, name: str) -> str:
        if name not in self._ready:
            scale = self._plan.scales[name]
            inputs = [self._quantized(name, scale), *self._scale_of(name, scale)]
            self._ready[name] = self._node("DequantizeLinear", name, inputs, self._fresh(f"{name}.dequantized"))
            self._describe(self._ready[name], like=name, integer=False)
        return self._ready[name]

    def _quantized(self, name: str, scale: np.float32) -> str:
        """The tensor in INT8. What a Concat writes is quantized before it, which gives the same values."""
        key = (name, float(scale))
        if key not in self._steps:
            concat = self._concats.get(name)
            if concat is None:
                steps = self._node(
                    "QuantizeLinear", name, [name, *self._scale_of(name, scale)], self._fresh(f"{name}.int8")
                )
            else:
                parts = [self._quantized(part, scale) for part in concat.input]
                axis = next(entry.i for entry in concat.attribute if entry.name == "axis")
                steps = self._node("Concat", name, parts, self._fresh(f"{name}.int8"), axis=axis)
            self._steps[key] = steps
            self._describe(steps, like=name, integer=True)
        return self._steps[key]

    def _scale_of(self, name: str, scale: np.float32) -> tuple[str, str]:
        key = (name, float(scale))
        if key not in self._scales:
            self._scales[key] = self._constants(name, scale, np.zeros((), np.int8))
        return self._scales[key]

    def _weight(self, node: NodeProto) -> str:
        name = node.input[1]
        values = self._onnx.numpy_helper.to_array(self._fixed[name])
        axis = channel_axis(node, values.ndim)
        if (name, axis) not in self._ready:
            weight = to_int8(values, axis, name=name)
            steps = self._constant(f"{name}.int8", weight.values)
            scale, zero = self._constants(name, weight.scale, np.zeros(weight.scale.shape, np.int8))
            along = {} if axis is None else {"axis": axis}
            ready = self._fresh(f"{name}.dequantized")
            self._node("DequantizeLinear", name, [steps, scale, zero], ready, **along)
            info = self._onnx.helper.make_tensor_value_info(ready, self._onnx.TensorProto.FLOAT, values.shape)
            self._graph.value_info.append(info)
            self._ready[name, axis] = ready
        return self._ready[name, axis]

    def _node(self, operator: str, tensor: str, inputs: Sequence[str], output: str, **attributes: int) -> str:
        name = self._fresh(f"{tensor}/{operator}")
        self._nodes.append(self._onnx.helper.make_node(operator, inputs, [output], name=name, **attributes))
        return output

    def _fresh(self, wanted: str) -> str:
        return fresh_name(wanted, self._taken)

    def _constants(self, tensor: str, scale: Any, zero: NDArray[np.int8]) -> tuple[str, str]:
        return self._constant(f"{tensor}.scale", np.asarray(scale)), self._constant(f"{tensor}.zero_point", zero)

    def _constant(self, wanted: str, values: NDArray[Any]) -> str:
        name = self._fresh(wanted)
        self._graph.initializer.append(self._onnx.numpy_helper.from_array(values, name))
        return name

    def _describe(self, name: str, *, like: str, integer: bool) -> None:
        """Write down type and shape of a new tensor where those of the one that it stands for are known."""
        if like not in self._described:
            return
        info = self._copy(self._described[like])
        info.name = name
        info.ClearField("doc_string")
        info.type.tensor_type.elem_type = self._onnx.TensorProto.INT8 if integer else self._onnx.TensorProto.FLOAT
        self._graph.value_info.append(info)

    def _drop_unread(self) -> None:
        """Remove the FP32 weights and the Concats that nobody reads any more."""
        replaced = {key[0] for key in self._ready if isinstance(key, tuple)}
        replaced |= self._concats.keys() & {name for name, _ in self._steps}
        while gone := replaced - uses(self._graph).keys():
            drop_nodes(self._graph, [at for at, node in enumerate(self._graph.node) if gone.intersection(node.output)])
            for items in (self._graph.initializer, self._graph.value_info):
                for position in reversed([at for at, item in enumerate(items) if item.name in gone]):
                    del items[position]
            replaced -= gone

    def _copy(self, message: Any) -> Any:
        copied = type(message)()
        copied.CopyFrom(message)
        return copied


def _names(graph: GraphProto) -> set[str]:
    """Every name in the graph and in the graphs inside it, which see the tensors around them."""
    found = {item.name for items in (graph.initializer, graph.value_info, graph.input) for item in items}
    for node in graph.node:
        found.update([node.name, *node.input, *node.output])
        for inner in subgraphs(node):
            found |= _names(inner)
    return found


def _check_fit(model: ModelProto) -> None:
    quantized = [node for node in model.graph.node if node.op_type in _QUANTIZED or node.op_type.startswith("QLinear")]
    if quantized:
        raise UsageError(
            f"the graph is quantized already: {called(quantized[0])} is a {quantized[0].op_type}",
            do="give the FP32 graph that it was made from",
        )
    if opset_of(model) < _LEAST_OPSET:
        raise UsageError(
            f"the graph is of opset {opset_of(model)}; a scale for each channel came with opset {_LEAST_OPSET}",
            do=f"export the network with --opset {_LEAST_OPSET}, which TensorRT 8.2 reads too",
        )


def _nothing(chosen: Plan) -> UsageError:
    if chosen.left:
        name, reason = next(iter(chosen.left.items()))
        return UsageError(
            f"none of the {len(chosen.left)} layers can go to INT8",
            why=f"{name}: {reason}",
            do="calibrate this very graph, with images like those that it will see",
        )
    return UsageError(
        "the network has no layer that can go to INT8",
        why="it has no Conv, ConvTranspose, Gemm or MatMul with a constant FP32 weight",
        do="give the FP32 graph, or build in another precision",
    )
