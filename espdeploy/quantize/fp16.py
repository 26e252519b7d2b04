"""An FP32 graph becomes an FP16 one for builders that take each tensor's type from the graph (strong typing)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from espdeploy import lazy
from espdeploy.errors import InputFileError, InternalError, UsageError, nearest
from espdeploy.onnx_graph import check, fresh_name, opset_of, uses
from espdeploy.quantize import fp16_batch_norm
from espdeploy.quantize.casts import Retyping
from espdeploy.quantize.fp16_facts import FLOAT, Facts, all_names, gather
from espdeploy.quantize.fp16_reasons import reasons
from espdeploy.quantize.fp16_tensors import range_reason

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto

_NOTHING: Mapping[str, str] = MappingProxyType({})
_QDQ = ("QuantizeLinear", "DequantizeLinear")
#: the first opset with FP16 scales for these
_QDQ_OPSET = 19
_IR_WITH_FREE_INITIALIZERS = 4


@dataclass(frozen=True, kw_only=True)
class HalfGraph:
    """The graph in FP16, the nodes that stay in FP32 with the reason, and how many weights became zero."""

    model: ModelProto
    kept: dict[str, str]
    flushed: int
    notes: tuple[str, ...] = ()


def to_fp16(
    model: ModelProto,
    *,
    keep_io: bool = True,
    keep_fp32: Mapping[str, str] = _NOTHING,
    amax: Mapping[str, float] | None = None,
) -> HalfGraph:
    """Convert a copy of an FP32 graph, opset 7 or newer; names of inputs, outputs and nodes, and metadata, stay.

    Weights are rounded to the nearest FP16 number, those below 3e-8 to zero (``flushed``); subnormal numbers stay.
    What would overflow or lose accuracy stays in FP32 between casts: weights out of range, activations that reach
    half of 65504, sums over more than 2048 numbers, squares and exponentials without a measured range, numbers that
    come from shapes, loops and branches, operators without an FP16 form. Unnamed nodes get names.

    Args:
        model: a valid model.
        keep_io: inputs and outputs stay FP32, with one cast each.
        keep_fp32: nodes to keep in FP32 besides, by name, each with the reason that ``kept`` is to give.
        amax: the largest magnitude of activations by tensor, from a calibration of this graph.

    Raises:
        UsageError: a name in ``keep_fp32`` or all names in ``amax`` are not the graph's; Q/DQ nodes below opset 19;
            without ``keep_io``, an input or output that FP16 does not hold.
        InputFileError: types and shapes in the graph contradict each other.
        InternalError: the result is not valid.
    """
    half = _prepared(model)
    facts = gather(half, amax)
    _check_request(half, facts, keep_fp32, keep_io=keep_io)
    kept = {**reasons(half.graph, facts), **keep_fp32}
    order = {node.name: index for index, node in enumerate(half.graph.node)}
    merged = fp16_batch_norm.rewrite(half.graph, facts, kept, all_names(half.graph))
    notes = _notes(half, facts, merged=merged, measured=amax is not None)
    retyping = Retyping(half.graph, gather(half, amax), kept, keep_io=keep_io)
    retyping.apply()
    _drop_unread(half.graph)
    _finish(half)
    return HalfGraph(
        model=half,
        kept={name: kept[name] for name in sorted(kept, key=order.__getitem__)},
        flushed=retyping.flushed,
        notes=notes,
    )


def _prepared(model: ModelProto) -> ModelProto:
    """A copy whose nodes have names of their own, whose FP32 constants are initializers, and whose types are known.

    Initializers that older files list as inputs too are taken for constants: nothing here overrides them.
    """
    onnx = lazy.require("onnx", extra="export")
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if copy.functions:
        copy = lazy.require("onnx.inliner", extra="export").inline_local_functions(copy)
    graph = copy.graph
    fixed = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in fixed]
    if len(inputs) < len(graph.input):
        del graph.input[:]
        graph.input.extend(inputs)
        copy.ir_version = max(copy.ir_version, _IR_WITH_FREE_INITIALIZERS)
    _lift_constants(graph)
    taken: set[str] = set()
    for node in graph.node:
        node.name = fresh_name(node.name or node.op_type, taken)
    try:
        _describe(copy)
    except onnx.shape_inference.InferenceError as error:
        raise InputFileError(
            "the types and shapes in the graph do not fit together",
            why=str(error).strip().splitlines()[0],
            do="export it again",
        ) from error
    return copy


def _lift_constants(graph: GraphProto) -> None:
    """Make initializers of Constant nodes that write FP32."""
    onnx = lazy.require("onnx", extra="export")
    rest = []
    for node in graph.node:
        given = node.attribute[0] if node.op_type == "Constant" and node.attribute else None
        if given is not None and given.name in ("value_float", "value_floats"):
            values = onnx.helper.get_attribute_value(given)
            shape = (len(values),) if given.name == "value_floats" else ()
            tensor: TensorProto | None = onnx.helper.make_tensor("", FLOAT, shape, values if shape else [values])
        else:
            tensor = given.t if given is not None and given.name == "value" else None
        if tensor is None or tensor.data_type != FLOAT:
            rest.append(node)
            continue
        tensor.name = node.output[0]
        graph.initializer.append(tensor)
    if len(rest) < len(graph.node):
        kept = [type(node).FromString(node.SerializeToString()) for node in rest]
        del graph.node[:]
        graph.node.extend(kept)


def _describe(model: ModelProto) -> None:
    """Infer types and shapes anew; what only the old description knows, that of foreign operators, is kept.

    Raises:
        onnx.shape_inference.InferenceError: types and shapes contradict each other.
    """
    old = [type(value).FromString(value.SerializeToString()) for value in model.graph.value_info]
    del model.graph.value_info[:]
    known = {value.name for value in _inferred(model, strict=False)}
    written = {name for node in model.graph.node for name in node.output}
    model.graph.value_info.extend(value for value in old if value.name in written - known)
    described = sorted(_inferred(model, strict=True), key=lambda value: value.name)
    del model.graph.value_info[:]
    model.graph.value_info.extend(described)


def _inferred(model: ModelProto, *, strict: bool) -> Sequence[ValueInfoProto]:
    onnx = lazy.require("onnx", extra="export")
    found = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=strict, data_prop=True)
    values: Sequence[ValueInfoProto] = found.graph.value_info
    return values


def _check_request(half: ModelProto, facts: Facts, keep_fp32: Mapping[str, str], *, keep_io: bool) -> None:
    nodes = {node.name for node in half.graph.node}
    unknown = next((name for name in keep_fp32 if name not in nodes), None)
    if unknown is not None:
        raise UsageError(f'the graph has no node "{unknown}" to keep in FP32', do=nearest(unknown, nodes))
    if facts.amax and not facts.types.keys() & facts.amax.keys():
        raise UsageError(
            f'the ranges are of another graph: it has no tensor "{next(iter(facts.amax))}"',
            do="calibrate the graph that is to become FP16",
        )
    opset = opset_of(half)
    placed = next((node for node in half.graph.node if node.op_type in _QDQ), None)
    if placed is not None and opset < _QDQ_OPSET:
        raise UsageError(
            f"a Q/DQ graph of opset {opset} cannot become FP16",
            why=f"{placed.op_type} has FP32 scales before opset {_QDQ_OPSET}: casts would part it from its convolution",
            do="export the network with --opset 20 and quantize that",
        )
    for value in [] if keep_io else [*half.graph.input, *half.graph.output]:
        reason = range_reason(facts.amax.get(value.name, 0.0))
        if reason is not None and facts.types.get(value.name) == FLOAT:
            raise UsageError(f"{value.name} {reason}", do="keep inputs and outputs in FP32")


def _drop_unread(graph: GraphProto) -> None:
    """Remove constants that nobody reads any more."""
    read = uses(graph)
    for position in reversed(range(len(graph.initializer))):
        if not read[graph.initializer[position].name]:
            del graph.initializer[position]


def _finish(half: ModelProto) -> None:
    onnx = lazy.require("onnx", extra="export")
    try:
        _describe(half)
        check(half)
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError) as error:
        raise InternalError(
            "the FP16 graph is not valid",
            why=str(error).strip().splitlines()[0],
            do="report this with the network; keep the node that is named in FP32 meanwhile",
        ) from error


def _notes(half: ModelProto, facts: Facts, *, merged: int, measured: bool) -> tuple[str, ...]:
    activations = [name for node in half.graph.node for name in node.output if facts.types.get(name) == FLOAT]
    unmeasured = sum(name not in facts.amax for name in activations)
    notes = []
    if not activations:
        notes.append("the graph computes nothing in FP32")
    elif unmeasured:
        which = f"{unmeasured} activations have no range" if measured else "no ranges were measured"
        notes.append(f"{which}: if they exceed FP16, nothing here finds it")
    if merged:
        notes.append(f"{merged} batch normalizations carry their scale and shift, each rounded once")
    return tuple(notes)
