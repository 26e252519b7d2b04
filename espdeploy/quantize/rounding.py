"""Single layers as FP16 and bf16 units compute them, in a graph for runtimes that compute in FP32."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from espdeploy import lazy
from espdeploy.errors import UsageError
from espdeploy.onnx_graph import check, constants, fresh_name, opset_of
from espdeploy.quantize.placement import called, weighted

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto

#: Cast knows bf16 from here on
_LEAST_OPSET = 13
_TYPES = {"fp16": "FLOAT16", "bf16": "BFLOAT16"}  # onnx.TensorProto.DataType
_DROPPED_BITS = 16  # of FP32's fraction, in bf16


def round_layers(model: ModelProto, layers: Collection[str], precision: str) -> ModelProto:
    """A copy of ``model`` in which ``layers`` alone compute in ``precision``, all else staying as it is.

    Their inputs and weights are rounded, products are summed in FP32, and what an FP16 layer writes is rounded too: so
    do processors with bf16 units (Intel, BFLOAT16 Hardware Numerics Definition, 2018) and TensorRT's FP16 layers. Each
    cast is followed by one back, which ONNX Runtime keeps; casts round an FP16 operator it leaves out on a CPU.

    Args:
        model: in FP32, opset 13 or later.
        layers: of :func:`espdeploy.quantize.qdq.quantizable`.
        precision: ``fp16`` or ``bf16``.

    Raises:
        UsageError: an older opset.
    """
    if opset_of(model) < _LEAST_OPSET:
        raise UsageError(
            f"the graph is of opset {opset_of(model)}, whose Cast does not know {precision} everywhere",
            do=f"export the network with --opset {_LEAST_OPSET} or later",
        )
    copy = type(model)()
    copy.CopyFrom(model)
    _Rounding(copy, precision).apply(layers)
    check(copy)
    return copy


def rounded(values: NDArray[np.float32], precision: str) -> NDArray[np.float32]:
    """Finite FP32 numbers rounded to the nearest of a precision, ties to even, as FP32; infinite beyond its range."""
    if precision == "fp16":
        with np.errstate(over="ignore"):
            return values.astype(np.float16).astype(np.float32)
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    odd = (bits >> np.uint32(_DROPPED_BITS)) & np.uint32(1)
    kept = (bits + np.uint32(0x7FFF) + odd) & np.uint32(0xFFFF0000)
    result: NDArray[np.float32] = kept.view(np.float32)
    return result


class _Rounding:
    """Puts casts there and back into a graph."""

    def __init__(self, model: ModelProto, precision: str) -> None:
        self._onnx = lazy.require("onnx", extra="export")
        self._graph = model.graph
        self._precision = precision
        self._fixed = constants(self._graph)
        named = {name for node in self._graph.node for name in (node.name, *node.input, *node.output)}
        self._taken = named | set(self._fixed)

    def apply(self, layers: Collection[str]) -> None:
        chosen = {position for position, node in weighted(self._graph).items() if called(node) in layers}
        nodes: list[NodeProto] = []
        for position, given in enumerate(self._graph.node):
            node = type(given)()
            node.CopyFrom(given)
            if position not in chosen:
                nodes.append(node)
                continue
            source, node.input[0] = node.input[0], self._free(f"{node.input[0]}.rounded")
            nodes += self._casts(source, node.input[0])
            node.input[1] = self._weight(node.input[1])
            nodes.append(node)
            if self._precision == "fp16":
                target, node.output[0] = node.output[0], self._free(f"{node.output[0]}.exact")
                nodes += self._casts(node.output[0], target)
        del self._graph.node[:]
        self._graph.node.extend(nodes)

    def _casts(self, source: str, target: str) -> list[NodeProto]:
        short = self._free(f"{source}.{self._precision}")
        kinds = self._onnx.TensorProto
        steps = ((source, short, kinds.DataType.Value(_TYPES[self._precision])), (short, target, kinds.FLOAT))
        return [
            self._onnx.helper.make_node("Cast", [before], [after], name=self._free(f"{after}/Cast"), to=kind)
            for before, after, kind in steps
        ]

    def _weight(self, name: str) -> str:
        values = rounded(self._onnx.numpy_helper.to_array(self._fixed[name]), self._precision)
        weight = self._free(f"{name}.{self._precision}")
        self._graph.initializer.append(self._onnx.numpy_helper.from_array(values, weight))
        return weight

    def _free(self, wanted: str) -> str:
        return fresh_name(wanted, self._taken)
