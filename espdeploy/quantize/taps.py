"""An ONNX file opened in ONNX Runtime so that the tensors inside can be read.

What is read becomes an output of the graph. The runtime holds all outputs of a run at once, even those that nobody
fetches. So large graphs are read in groups: each has a session of its own, with only the nodes that lead to its
tensors.

Sources: the Python API reference of onnxruntime (``SessionOptions``, ``InferenceSession``); ONNX IR specification.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espdeploy import lazy
from espdeploy.errors import InputFileError, ToolFailed, UsageError, nearest
from espdeploy.onnx_graph import producers, subgraphs, uses

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TypeProto

    from espdeploy.protocols import Tensor

#: what the outputs of one session may take together, as far as single tensors and large weights allow
_GROUP_BYTES = 256_000_000
#: FLOAT, FLOAT16 and DOUBLE by their numbers in ONNX, with their bytes; bfloat16 has no NumPy type
_FLOAT_BYTES = {1: 4, 10: 2, 11: 8}
_UNKNOWN = 0
_FLOATS = ("tensor(float)", "tensor(float16)", "tensor(double)")
_CODE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")


class Taps:
    """The float activations of an ONNX file, or some of them, ready to be read image by image.

    Args:
        path: the ONNX file.
        tensors: their names; the graph's own outputs come with them. None: all. What is not float is passed over.
        like: a feed such as :meth:`read` gets; tells the extents that the graph leaves open.
        threads: for the operators.

    Raises:
        InputFileError: the file is no ONNX model, or has no float activations.
        UsageError: an asked name is of no tensor, or of one that no input changes, such as a weight.
        ToolFailed: ONNX Runtime does not take the graph.
    """

    def __init__(self, path: Path, tensors: Sequence[str] | None, *, like: Mapping[str, Tensor], threads: int) -> None:
        self._path = path
        model = _read(path)
        chosen = _chosen(model.graph, tensors, path)
        made = producers(model.graph)
        self._given = [name for name in chosen if name not in made and name in like and like[name].dtype.kind == "f"]
        sizes = _float_sizes(model, like)
        groups = _groups({name: sizes[name] for name in chosen if name in sizes}, model.ByteSize())
        opened = [_open(_leading_to(model, group), path, threads=threads, alone=len(groups) == 1) for group in groups]
        self._sessions = [(session, names) for session in opened if (names := _float_outputs(session))]
        if not self._given and not self._sessions:
            raise InputFileError(f"{path} has no float activations", do="give a network that computes in FP32")

    def read(self, feed: Mapping[str, Tensor], image: str) -> Iterator[tuple[str, Tensor]]:
        """Run on one image; each tensor with its name, in the graph's order, inputs first.

        A tensor is freed with the last reference to it, so keep none.

        Raises:
            ToolFailed: ONNX Runtime fails on this feed.
        """
        for name in self._given:
            yield name, feed[name]
        for session, names in self._sessions:
            values = self._run(session, names, feed, image)
            for name in names:
                yield name, values.pop()

    def _run(self, session: Any, names: list[str], feed: Mapping[str, Tensor], image: str) -> list[Tensor]:
        """The values of these tensors, the last one first."""
        try:
            values: list[Tensor] = session.run(names, dict(feed))
        except Exception as error:  # onnxruntime's classes share no base but Exception
            raise ToolFailed(f"onnxruntime failed while running {self._path} on {image}", why=_why(error)) from error
        values.reverse()
        return values


def _activations(graph: GraphProto) -> list[str]:
    """Names of the tensors that the graph's inputs change, in the graph's order, inputs first.

    Weights, and what is computed from weights alone, are none; nor is what lives inside a branch or a loop.
    """
    fixed = {tensor.name for tensor in graph.initializer}
    found = dict.fromkeys(value.name for value in graph.input if value.name not in fixed)
    for node in graph.node:
        if not found.keys().isdisjoint(_read_by(node)):
            found.update(dict.fromkeys(name for name in node.output if name))
    return list(found)


def _chosen(graph: GraphProto, tensors: Sequence[str] | None, path: Path) -> list[str]:
    live = _activations(graph)
    if tensors is None:
        return live
    for name in tensors:
        if name not in live:
            raise UsageError(f"{path} has no activation {name}", do=nearest(name, live))
    chosen = {*tensors, *(output.name for output in graph.output)}
    return [name for name in live if name in chosen]


def _float_sizes(model: ModelProto, like: Mapping[str, Tensor]) -> dict[str, int]:
    """Bytes of every node output that is float, when fed ``like``; one of unknown type is among them.

    A tensor of unknown shape counts as much as the largest known one.
    """
    onnx = lazy.require("onnx", extra="export")
    shaped = onnx.ModelProto()
    shaped.CopyFrom(model)
    del shaped.graph.value_info[:]
    for value in shaped.graph.input:
        extents = like[value.name].shape if value.name in like else ()
        for dim, extent in zip(value.type.tensor_type.shape.dim, extents, strict=False):
            dim.dim_value = extent
    graph = onnx.shape_inference.infer_shapes(shaped).graph
    types = {value.name: value.type for value in [*graph.value_info, *graph.output]}
    kinds = {name: types[name].tensor_type.elem_type if name in types else _UNKNOWN for name in producers(graph)}
    known = {name: _bytes(types[name]) for name, kind in kinds.items() if kind in _FLOAT_BYTES}
    largest = max((size for size in known.values() if size is not None), default=0)
    return {
        name: size if (size := known.get(name)) is not None else largest
        for name, kind in kinds.items()
        if kind == _UNKNOWN or kind in _FLOAT_BYTES
    }


def _bytes(value_type: TypeProto) -> int | None:
    tensor = value_type.tensor_type
    if not tensor.HasField("shape") or not all(dim.HasField("dim_value") for dim in tensor.shape.dim):
        return None
    elements = math.prod(int(dim.dim_value) for dim in tensor.shape.dim)
    return elements * _FLOAT_BYTES[tensor.elem_type]


def _groups(sizes: Mapping[str, int], weights_bytes: int) -> list[list[str]]:
    """The tensors in runs that fit into a group.

    Each group has the weights once more, so large weights make larger groups: with a total T, groups of the size
    sqrt(T * weights) need least for all sessions' weights and one group's outputs together.
    """
    limit = max(_GROUP_BYTES, math.isqrt(sum(sizes.values()) * weights_bytes))
    groups: list[list[str]] = []
    left = 0
    for name, size in sizes.items():
        if size > left or not groups:
            groups.append([])
            left = limit
        groups[-1].append(name)
        left -= size
    return groups


def _leading_to(model: ModelProto, names: Sequence[str]) -> ModelProto:
    """A copy with these tensors as its only outputs, and without the nodes and weights that they do not need."""
    part: ModelProto = type(model)()
    part.CopyFrom(model)
    needed, kept = set(names), []
    for node in reversed(model.graph.node):
        if not needed.isdisjoint(node.output):
            kept.append(node)
            needed.update(_read_by(node))
    weights = [tensor for tensor in model.graph.initializer if tensor.name in needed]
    for field in ("node", "initializer", "output", "value_info"):
        part.graph.ClearField(field)
    part.graph.node.extend(reversed(kept))
    part.graph.initializer.extend(weights)
    for name in names:
        part.graph.output.add().name = name
    return part


def _open(model: ModelProto, path: Path, *, threads: int, alone: bool) -> Any:
    """A session. Only one that is ``alone`` keeps its memory from run to run: each of several would keep its own."""
    runtime = lazy.require("onnxruntime", extra="cpu")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = options.enable_mem_pattern = alone
    options.log_severity_level = 4  # it logs to standard error, where only ours belongs; what matters is raised
    try:
        return runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's classes share no base but Exception
        raise ToolFailed(
            f"onnxruntime {runtime.__version__} cannot open {path} to look inside",
            why=_why(error),
            do=f"check that it runs at all: espdeploy bench {path} --device cpu",
        ) from error


def _float_outputs(session: Any) -> list[str]:
    return [output.name for output in session.get_outputs() if output.type in _FLOATS]


def _read(path: Path) -> ModelProto:
    onnx = lazy.require("onnx", extra="export")
    try:
        model: ModelProto = onnx.load(path)
    except Exception as error:  # protobuf's DecodeError lives in a module that moves between its versions
        raise InputFileError(
            f"{path} cannot be read as an ONNX model", why=_why(error), do="check the path, or export it again"
        ) from error
    return model


def _read_by(node: NodeProto) -> set[str]:
    """Every tensor that a node reads, those that the graphs inside it capture too."""
    return {*node.input}.union(*(uses(inner) for inner in subgraphs(node))) - {""}


def _why(error: Exception) -> str:
    """The first line of what a library says, without the code before it."""
    lines = str(error).strip().splitlines()
    return _CODE.sub("", lines[0])[:300] if lines else type(error).__name__
