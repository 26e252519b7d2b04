"""Channels between convolutions are filled up with zeros to a number that ONNX Runtime's fast kernels take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from espdeploy import lazy
from espdeploy.onnx_graph import constants, producers, uses
from espdeploy.passes.affine import groups_of, has_fixed_weights
from espdeploy.passes.base import Pass, PassResult
from espdeploy.passes.edits import add_constant, forget_shape, names_in

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping

    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

_MULTIPLE = 4
_FEWEST = 16  # below, ONNX Runtime's blocked convolutions read the plain layout, whatever the number


def run(model: ModelProto) -> PassResult:
    """Fill up what one Conv writes and only other Convs read to a multiple of four channels.

    ONNX Runtime's blocked convolutions (NCHWc) take input channels in multiples of four; others fall back to im2col and
    matrix multiplication. ESPNet reduces to 25 channels. The new channels have zero weights on both sides, so each
    sum gains zeros only. In OpenVINO it costs time: benchmarks/passes.py.
    """
    filled = 0
    while _fill_one(model.graph):
        filled += 1
    return PassResult(model=model, changes=filled, note=f"{filled} tensors" if filled else "")


def _fill_one(graph: GraphProto) -> bool:
    fixed, written, read = constants(graph), producers(graph), uses(graph)
    for name, writer in written.items():
        channels = _odd_channels(writer, fixed)
        readers = [node for node in graph.node if channels and name in node.input]
        if channels is None or not _all_take_more(name, readers, read, fixed):
            continue
        more = -channels % _MULTIPLE
        taken = names_in(graph)
        for index in range(1, len(writer.input)):
            writer.input[index] = _filled(graph, writer.input[index], 0, more, taken)
        for node in readers:
            node.input[1] = _filled(graph, node.input[1], 1, more, taken)
        forget_shape(graph, name)
        return True
    return False


def _odd_channels(writer: NodeProto, fixed: Mapping[str, TensorProto]) -> int | None:
    """How many channels it writes, if it is a Conv of one group and they are no multiple."""
    if not _plain(writer, fixed):
        return None
    channels = int(fixed[writer.input[1]].dims[0])
    return channels if channels >= _FEWEST and channels % _MULTIPLE else None


def _plain(node: NodeProto, fixed: Mapping[str, TensorProto]) -> bool:
    return node.op_type == "Conv" and groups_of(node) == 1 and has_fixed_weights(node, fixed)


def _all_take_more(name: str, readers: list[NodeProto], read: Counter[str], fixed: Mapping[str, TensorProto]) -> bool:
    """Whether those that read it are Convs, and nobody else does: no other operator, no output, no inner graph."""
    return bool(readers) and read[name] == len(readers) and all(_plain(node, fixed) for node in readers)


def _filled(graph: GraphProto, name: str, axis: int, more: int, taken: set[str]) -> str:
    """The name of a copy of a constant with zeros added at the end of an axis; no input stays none."""
    import numpy as np

    if not name:
        return name
    array: Any = lazy.require("onnx", extra="export").numpy_helper.to_array(constants(graph)[name])
    widths = [(0, more if place == axis else 0) for place in range(array.ndim)]
    return add_constant(graph, np.pad(array, widths), f"{name}.filled", taken)


PASS = Pass(
    name="align-channels",
    does="fills up channels between convolutions to a multiple of four",
    run=run,
    breaks=frozenset({"names", "shapes", "live"}),
)
