"""What the conversion to FP16 asks about a graph: types, shapes, constants, and which operators have an FP16 form."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from espdeploy import lazy
from espdeploy.onnx_graph import constants, subgraphs

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

FLOAT, HALF = 1, 10  # onnx.TensorProto.DataType
LARGEST = 65504.0  # (2 - 2^-10) 2^15, IEEE 754 binary16
SMALLEST_NORMAL = 2.0**-14
#: whole numbers are exact up to here; and a sum stands still once it is this many times what is added
SIGNIFICAND = 2048

#: written in the type that is wanted, from no FP32 input
FOLLOWERS = frozenset({"Cast", "ConstantOfShape"})
#: read whatever the element type is
INDIFFERENT = frozenset({"Cast", "Shape", "Size"})
#: ONNX allows FP16 for Resize's region, but runtimes read it beside its scales, which must be FP32
_ALWAYS_FP32 = frozenset({("Resize", 1)})


@dataclass(frozen=True, kw_only=True)
class Form:
    """Which inputs and outputs of an operator may be FP16 where they are FP32; the last entry stands for all after."""

    inputs: tuple[bool, ...]
    outputs: tuple[bool, ...]

    def reads_half(self, index: int) -> bool:
        """Whether the input at ``index`` may be FP16."""
        return bool(self.inputs) and self.inputs[min(index, len(self.inputs) - 1)]

    def writes_half(self, index: int) -> bool:
        """Whether the output at ``index`` may be FP16."""
        return bool(self.outputs) and self.outputs[min(index, len(self.outputs) - 1)]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """A graph as the rules see it.

    ``types`` holds the element types of dense tensors, ``shapes`` None for an extent that the graph leaves open,
    ``amax`` the largest magnitude of activations where it was measured.
    """

    opsets: Mapping[str, int]
    types: Mapping[str, int]
    shapes: Mapping[str, tuple[int | None, ...]]
    fixed: Mapping[str, TensorProto]
    amax: Mapping[str, float]

    def values(self, name: str) -> NDArray[np.generic] | None:
        """A constant's values; None where the tensor is none."""
        return array(self.fixed[name]) if name in self.fixed else None

    def form(self, node: NodeProto) -> Form | None:
        """The node's FP16 form; None for an operator that ONNX does not define."""
        return _form(node.op_type, node.domain, self.opsets.get(node.domain, 0))

    def halves_read(self, node: NodeProto) -> Iterator[tuple[int, str]]:
        """The FP32 inputs, with their places, that the node would read as FP16."""
        form = self.form(node)
        if form is not None and node.op_type not in INDIFFERENT:
            for index, name in enumerate(node.input):
                if self.types.get(name) == FLOAT and form.reads_half(index):
                    yield index, name

    def halves_written(self, node: NodeProto) -> Iterator[tuple[int, str]]:
        """The FP32 outputs, with their places, that the node would write as FP16."""
        form = self.form(node)
        if form is not None:
            for index, name in enumerate(node.output):
                if self.types.get(name) == FLOAT and form.writes_half(index):
                    yield index, name

    def computes_in_float(self, node: NodeProto) -> bool:
        """Whether an FP32 tensor goes in or out, other than to be converted or measured."""
        if node.op_type in INDIFFERENT:
            return False
        return any(self.types.get(name) == FLOAT for name in [*node.input, *node.output])


def gather(model: ModelProto, amax: Mapping[str, float] | None) -> Facts:
    """The facts of a valid model whose types and shapes are written down, as far as they are known."""
    graph = model.graph
    fixed = constants(graph)
    described = [
        value
        for value in [*graph.value_info, *graph.input, *graph.output]
        if value.type.HasField("tensor_type") and value.type.tensor_type.elem_type
    ]
    types = {value.name: value.type.tensor_type.elem_type for value in described}
    shapes = {value.name: _extents(value) for value in described if value.type.tensor_type.HasField("shape")}
    return Facts(
        opsets={"" if entry.domain == "ai.onnx" else entry.domain: entry.version for entry in model.opset_import},
        types=types | {name: tensor.data_type for name, tensor in fixed.items()},
        shapes=shapes | {name: tuple(tensor.dims) for name, tensor in fixed.items()},
        fixed=fixed,
        amax={} if amax is None else amax,
    )


def all_names(graph: GraphProto) -> set[str]:
    """Every name of a node or tensor in the graph and in graphs inside it."""
    found = {item.name for items in (graph.input, graph.output, graph.initializer) for item in items}
    for node in graph.node:
        found.update([node.name, *node.input, *node.output])
        for inner in subgraphs(node):
            found |= all_names(inner)
    return found


def array(tensor: TensorProto) -> NDArray[np.generic]:
    """The values of a constant."""
    found: NDArray[np.generic] = lazy.require("onnx", extra="export").numpy_helper.to_array(tensor)
    return found


def in_half(values: NDArray[np.generic]) -> NDArray[np.float16]:
    """The values rounded to FP16, without a warning for those that become zero or infinite."""
    with np.errstate(all="ignore"):
        return values.astype(np.float16)


def _extents(value: ValueInfoProto) -> tuple[int | None, ...]:
    return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in value.type.tensor_type.shape.dim)


@functools.cache  # an entry for each operator of a graph: dozens
def _form(op_type: str, domain: str, opset: int) -> Form | None:
    defs = lazy.require("onnx", extra="export").defs
    domain = "" if domain == "ai.onnx" else domain
    try:
        schema = defs.get_schema(op_type, opset, domain)
    except defs.SchemaError:
        return None
    both = {"tensor(float)", "tensor(float16)"}
    return Form(
        inputs=tuple(
            both <= set(parameter.types) and (op_type, index) not in _ALWAYS_FP32
            for index, parameter in enumerate(schema.inputs)
        ),
        outputs=tuple(both <= set(parameter.types) for parameter in schema.outputs),
    )
