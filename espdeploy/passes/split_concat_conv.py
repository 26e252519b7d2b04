"""A convolution of concatenated tensors becomes a sum of convolutions, one of each tensor."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from espdeploy import lazy
from espdeploy.onnx_graph import attribute, constants, fresh_name, producers, uses
from espdeploy.passes.base import Pass, PassResult

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping, Sequence

    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

_CHANNEL_AXIS = 1


def run(model: ModelProto) -> PassResult:
    """Split each Conv over the Concat of channels before it, where nobody else reads that.

    Conv(Concat(a, b), W) + bias = Conv(a, W_a) + bias + Conv(b, W_b), where W_a and W_b are W's input channels that
    belong to a and b: the same products, added in another order.

    OpenVINO 2026.4 computes Concat, QuantizeLinear, DequantizeLinear, Conv wrongly: it rounds to whole numbers, as if
    the scale were 1. Found by comparing with ONNX Runtime on CamVid, mIOU 26 instead of 68.6 (docs/decisions/0006). A
    graph that went through this pass is safe from that whoever quantizes it, and each branch has an INT8 scale of its
    own.
    """
    changes = 0
    while found := _candidates(model):  # again, because what a Concat joins may be such a Concat itself
        _split_all(model.graph, found)
        changes += len(found)
    return PassResult(model=model, changes=changes, note=f"{changes} split" if changes else "")


def _split_all(graph: GraphProto, found: Mapping[str, tuple[Sequence[str], Sequence[int]]]) -> None:
    fixed = constants(graph)
    taken = {*producers(graph), *fixed, *(value.name for value in graph.input), *(node.name for node in graph.node)}
    nodes: list[NodeProto] = []
    gone: set[str] = set()
    for node in graph.node:
        if node.output[0] not in found:
            nodes.append(_copy(node))
            continue
        parts, weights = _split(node, fixed[node.input[1]], found[node.output[0]], taken)
        nodes.extend(parts)
        graph.initializer.extend(weights)
        gone.update(node.input[:2])
    del graph.node[:]
    graph.node.extend(node for node in nodes if gone.isdisjoint(node.output))
    for items in (graph.initializer, graph.value_info):
        for position in reversed([at for at, item in enumerate(items) if item.name in gone]):
            del items[position]


def _candidates(model: ModelProto) -> dict[str, tuple[tuple[str, ...], tuple[int, ...]]]:
    """By what each Conv to split writes: the tensors of its Concat, and how many channels each has."""
    graph = model.graph
    written, read, fixed = producers(graph), uses(graph), constants(graph)
    concats = {
        node.output[0]: tuple(written[node.input[0]].input)
        for node in graph.node
        if _splittable(node, written.get(node.input[0] if node.input else ""), read, fixed)
    }
    if not concats:
        return {}
    channels = _channels(model)
    weights = {node.output[0]: fixed[node.input[1]] for node in graph.node if node.output[0] in concats}
    counted = {output: tuple(channels.get(name, 0) for name in names) for output, names in concats.items()}
    return {
        output: (names, counted[output])
        for output, names in concats.items()
        if all(counted[output]) and sum(counted[output]) == weights[output].dims[_CHANNEL_AXIS]
    }


def _splittable(
    node: NodeProto, concat: NodeProto | None, read: Counter[str], fixed: Mapping[str, TensorProto]
) -> bool:
    if concat is None or node.op_type != "Conv" or concat.op_type != "Concat" or len(concat.input) < 2:
        return False
    weight = fixed.get(node.input[1])
    groups, axis = attribute(node, "group"), attribute(concat, "axis")
    return (
        weight is not None
        and read[node.input[0]] == 1
        and read[node.input[1]] == 1
        and (groups is None or groups.i == 1)
        and axis is not None
        and axis.i in (_CHANNEL_AXIS, _CHANNEL_AXIS - len(weight.dims))
    )


def _channels(model: ModelProto) -> dict[str, int]:
    """The extent of axis 1 of every tensor where it is known."""
    graph = lazy.require("onnx", extra="export").shape_inference.infer_shapes(model).graph
    found = {}
    for value in [*graph.value_info, *graph.input, *graph.output]:
        extents = value.type.tensor_type.shape.dim
        if len(extents) > _CHANNEL_AXIS:
            found[value.name] = extents[_CHANNEL_AXIS].dim_value
    return found


def _split(
    node: NodeProto, weight: TensorProto, parts: tuple[Sequence[str], Sequence[int]], taken: set[str]
) -> tuple[list[NodeProto], list[TensorProto]]:
    """Convolutions of the parts and the sums that add them up in order, and their weights; the bias goes first."""
    onnx = lazy.require("onnx", extra="export")
    values = onnx.numpy_helper.to_array(weight)
    stem = node.name or node.output[0]
    edges = [sum(parts[1][:count]) for count in range(len(parts[1]) + 1)]
    nodes, weights = [], []
    total = ""
    for index, (tensor, (first, last)) in enumerate(zip(parts[0], pairwise(edges), strict=True)):
        name = fresh_name(f"{weight.name}.part{index}", taken)
        weights.append(onnx.numpy_helper.from_array(values[:, first:last].copy(), name))
        part = onnx.NodeProto()
        part.CopyFrom(node)
        part.name = fresh_name(f"{stem}.part{index}", taken)
        part.input[:] = [tensor, name, *(node.input[2:] if index == 0 else [])]
        part.output[0] = fresh_name(f"{stem}.part{index}_output_0", taken)
        nodes.append(part)
        if index:
            last_sum = index == len(parts[0]) - 1
            output = node.output[0] if last_sum else fresh_name(f"{stem}.sum{index}_output_0", taken)
            added = onnx.helper.make_node(
                "Add", [total, part.output[0]], [output], fresh_name(f"{stem}.sum{index}", taken)
            )
            nodes.append(added)
        total = nodes[-1].output[0]
    return nodes, weights


def _copy(node: NodeProto) -> NodeProto:
    copied = type(node)()
    copied.CopyFrom(node)
    return copied


PASS = Pass(
    name="split-concat-conv",
    does="turns a convolution of concatenated tensors into a sum of convolutions",
    run=run,
    breaks=frozenset({"names", "shapes"}),
)
