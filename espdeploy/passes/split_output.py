"""An output of 16 to 64 channels is written in parts, each of which OpenVINO brings into its layout fast."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from espdeploy import lazy
from espdeploy.onnx_graph import constants, fresh_name, producers, uses
from espdeploy.passes.affine import CONVOLUTIONS, groups_of, has_fixed_weights, weights_of
from espdeploy.passes.base import Pass, PassResult
from espdeploy.passes.edits import TensorType, add_constant, names_in, replace_nodes, tensor_types

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

_FEWEST, _MOST = 16, 64  # where OpenVINO 2026.4 falls back to its reference reorder
_PER_PART = 15
_SMALLEST = 2**15  # values of one image; below, the parts cost as much as they save
#: each channel for itself, and nothing to cut into parts
_CHANNELWISE = ("Relu", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid", "Elu", "Cast")


@dataclass(frozen=True, kw_only=True)
class _Tail:
    """The convolution that an output comes from, what stands between them, and where they stand in the graph."""

    nodes: tuple[NodeProto, ...]
    positions: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def convolution(self) -> NodeProto:
        return self.nodes[0]

    @property
    def output(self) -> str:
        return str(self.nodes[-1].output[0])


def run(model: ModelProto, *, resized: bool) -> PassResult:
    """Split what writes such an output into parts of fewer than 16 channels, flatten, concatenate and reshape them.

    OpenVINO's convolutions write channels last, and an output wants them first. For 16 to 64 channels of one
    precision it reorders with its reference loop, at 1024x512 and 20 channels for 40 ms; for fewer with a fast one.
    Reshaping each part to (batch, values) makes it reorder that part, and the concatenation of those costs nothing.
    It paid from outputs of 32,768 values per image on, at each number of channels that was tried.

    Args:
        model: the graph.
        resized: whether those outputs are meant that a Resize stands before, or the others.
    """
    graph = model.graph
    types = tensor_types(model)
    changes = 0
    for name in [value.name for value in graph.output]:
        tail = _tail(graph, name, types.get(name))
        if tail is not None and any(node.op_type == "Resize" for node in tail.nodes) == resized:
            _split(graph, tail)
            changes += 1
    return PassResult(model=model, changes=changes, note=f"{changes} outputs" if changes else "")


def _tail(graph: GraphProto, output: str, known: TensorType | None) -> _Tail | None:
    shape = _worth_it(known)
    written, read, fixed = producers(graph), uses(graph), constants(graph)
    positions = {node.output[0]: position for position, node in enumerate(graph.node) if node.output}
    if shape is None:
        return None
    nodes: list[NodeProto] = []
    name = output
    while (node := written.get(name)) is not None and read[name] == 1:
        nodes.insert(0, node)
        if _divisible(node, fixed):
            found = tuple(positions[item.output[0]] for item in nodes)
            return _Tail(nodes=tuple(nodes), positions=found, shape=shape)
        if not _channelwise(node, fixed):
            return None
        name = node.input[0]
    return None


def _worth_it(known: TensorType | None) -> tuple[int, ...] | None:
    """The extents behind the batch of an FP32 output that OpenVINO reorders slowly, else None."""
    if known is None or known.element != lazy.require("onnx", extra="export").TensorProto.FLOAT:
        return None
    inner = tuple(extent for extent in known.shape[1:] if extent is not None)
    if len(inner) != len(known.shape) - 1 or len(inner) < 2:
        return None
    return inner if _FEWEST <= inner[0] <= _MOST and math.prod(inner) >= _SMALLEST else None


def _divisible(node: NodeProto, fixed: Mapping[str, TensorProto]) -> bool:
    return node.op_type in CONVOLUTIONS and groups_of(node) == 1 and has_fixed_weights(node, fixed)


def _channelwise(node: NodeProto, fixed: Mapping[str, TensorProto]) -> bool:
    """Whether a node does the same to each channel; a Resize by scales does if it leaves batch and channels alone."""
    if node.op_type in _CHANNELWISE:
        return True
    if node.op_type != "Resize" or len(node.input) != 3 or node.input[1] or node.input[2] not in fixed:
        return False
    scales = lazy.require("onnx", extra="export").numpy_helper.to_array(fixed[node.input[2]])
    return len(scales) > 2 and bool((scales[:2] == 1).all()) and not any(a.name == "axes" for a in node.attribute)


def _split(graph: GraphProto, tail: _Tail) -> None:
    """Each part gets its own share of the weights and a copy of what follows."""
    import numpy as np

    helper = lazy.require("onnx", extra="export").helper
    taken = names_in(graph)
    stem = tail.nodes[-1].name or tail.output
    to_flat = add_constant(graph, np.array([0, -1], np.int64), f"{stem}.flat", taken)  # 0: the batch as it is
    to_shape = add_constant(graph, np.array([0, *tail.shape], np.int64), f"{stem}.shape", taken)
    made: list[NodeProto] = []
    flat: list[str] = []
    parts = -(-tail.shape[0] // _PER_PART)
    weights = weights_of(tail.convolution, constants(graph))
    for index, channels in enumerate(np.array_split(np.arange(tail.shape[0]), parts)):
        made += _part(graph, tail, _Share(index=index, channels=channels, weights=weights), taken)
        flat.append(fresh_name(f"{stem}.flat{index}", taken))
        made.append(helper.make_node("Reshape", [made[-1].output[0], to_flat], [flat[-1]], name=flat[-1]))
    joined = fresh_name(f"{stem}.joined", taken)
    made.append(helper.make_node("Concat", flat, [joined], name=joined, axis=1))
    made.append(helper.make_node("Reshape", [joined, to_shape], [tail.output], name=stem))
    replace_nodes(graph, {position: [] for position in tail.positions} | {tail.positions[-1]: made})


@dataclass(frozen=True, kw_only=True)
class _Share:
    """Which output channels a part has, of which weights."""

    index: int
    channels: Any
    weights: Any


def _part(graph: GraphProto, tail: _Tail, share: _Share, taken: set[str]) -> list[NodeProto]:
    made: list[NodeProto] = []
    for node in tail.nodes:
        copied = type(node)()
        copied.CopyFrom(node)
        copied.name = f"{node.name or node.output[0]}.part{share.index}"
        copied.output[0] = fresh_name(f"{node.output[0]}.part{share.index}", taken)
        if made:
            copied.input[0] = made[-1].output[0]
        made.append(copied)
    axis = 0 if tail.convolution.op_type == "Conv" else 1
    arrays = [share.weights.weight.take(share.channels, axis), share.weights.bias[share.channels]]
    for place in range(1, len(tail.convolution.input)):
        if tail.convolution.input[place]:
            wanted = f"{tail.convolution.input[place]}.part{share.index}"
            made[0].input[place] = add_constant(graph, arrays[place - 1], wanted, taken)
    return made


PASS = Pass(
    name="split-output",
    does="writes an output of 16 to 64 channels in parts",
    run=functools.partial(run, resized=False),
    breaks=frozenset({"names", "shapes", "live"}),
)
#: apart, because with bf16 it costs more than it saves: two narrow interpolations instead of one wide
PASS_RESIZED = Pass(
    name="split-resized-output",
    does="writes an output of 16 to 64 channels that is resized at the end in parts",
    run=functools.partial(run, resized=True),
    breaks=frozenset({"names", "shapes", "live"}),
)
