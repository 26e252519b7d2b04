"""ONNX files: read with care, described, and written so that the oldest possible reader takes them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from espdeploy import __version__, lazy
from espdeploy.artifacts import METADATA_PREFIX, ModelCard, OnnxArtifact, sha256_of, write_atomic
from espdeploy.errors import InputFileError, UsageError, nearest
from espdeploy.protocols import TensorInfo

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, ValueInfoProto

_LOWEST_OPSET_READ = 7
#: protobuf cannot hold more in one message
_LIMIT_BYTES = 2**31 - 1
_LFS_POINTER = b"version https://git-lfs"


@dataclass(frozen=True, kw_only=True)
class GraphFacts:
    """What an ONNX graph is: operator set, file format version, number of nodes, inputs and outputs."""

    opset: int
    ir_version: int
    nodes: int
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    card: ModelCard | None


def load(path: Path) -> ModelProto:
    """Read an ONNX file with its external data, checked to be one that the tools here can read.

    Raises:
        InputFileError: missing, a folder, not ONNX, damaged, too large, of an unreadable opset, or without its data.
    """
    onnx = lazy.require("onnx", extra="export")
    content = _read(path)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except Exception as error:  # protobuf's DecodeError lives in a module that moves between its versions
        raise _not_onnx(path, content) from error
    if not model.graph.node and not model.graph.output:
        raise _not_onnx(path, content)
    _check_readable(model, path)
    _load_external(model, path)
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise InputFileError(
            f"{path} is no valid ONNX model", why=first_line(error), do="export it again, or fetch it again"
        ) from error
    return model


def save(model: ModelProto, path: Path, card: ModelCard | None) -> OnnxArtifact:
    """Write ``model`` with ``card`` as metadata (None: keep what it carries); the same model gives the same bytes.

    Raises:
        UsageError: the model is larger than one ONNX file can be.
        MissingCapability: the folder cannot be written.
    """
    onnx = lazy.require("onnx", extra="export")
    final = onnx.ModelProto()
    final.CopyFrom(model)
    final.producer_name, final.producer_version = "espdeploy", __version__
    # Every opset came with a file format version. Exporters stamp newer ones than the opset needs, and a reader
    # such as ONNX Runtime 1.10 or TensorRT 8.2 refuses a file by that number alone: opset 13 is IR 7.
    needed = onnx.helper.find_min_ir_version_for(final.opset_import, ignore_unknown=True)
    final.ir_version = max(min(final.ir_version, needed), 8 if final.functions else 0)
    if final.ir_version < 10:
        _clear_annotations(final.graph)
    if card is not None:
        kept = {entry.key: entry.value for entry in final.metadata_props if not entry.key.startswith(METADATA_PREFIX)}
        del final.metadata_props[:]
        onnx.helper.set_model_props(final, dict(sorted((kept | card.to_metadata()).items())))
    if final.ByteSize() > _LIMIT_BYTES:
        raise UsageError(
            f"the model has {final.ByteSize() / 1e9:.1f} GB; one ONNX file ends at 2 GB",
            do="export a smaller network: set its width or depth with --set",
        )
    write_atomic(path, final.SerializeToString(deterministic=True))
    facts = inspect(final)
    return OnnxArtifact(
        path=path,
        sha256=sha256_of(path),
        opset=facts.opset,
        input_shape=facts.inputs[0].shape if facts.inputs else (),
        card=facts.card,
    )


def inspect(model: ModelProto) -> GraphFacts:
    """What the graph is; an initializer that is listed as an input too is not counted as one."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return GraphFacts(
        opset=opset_of(model) or 0,
        ir_version=model.ir_version,
        nodes=len(model.graph.node),
        inputs=tuple(_tensor_info(value) for value in model.graph.input if value.name not in constants),
        outputs=tuple(_tensor_info(value) for value in model.graph.output),
        card=ModelCard.from_metadata({entry.key: entry.value for entry in model.metadata_props}),
    )


def _clear_annotations(graph: GraphProto) -> None:
    """Drop the notes on nodes and values: they are of IR 10, and PyTorch's hold this machine's paths."""
    graph.ClearField("metadata_props")
    for items in (graph.node, graph.value_info, graph.input, graph.output, graph.initializer):
        for item in items:
            item.ClearField("metadata_props")
    for node in graph.node:
        node.ClearField("doc_string")
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs] if attribute.type in (5, 10) else []:  # GRAPH, GRAPHS
                _clear_annotations(inner)


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _LIMIT_BYTES:
            raise InputFileError(
                f"{path} has {path.stat().st_size / 1e9:.1f} GB; an ONNX file ends at 2 GB",
                do="keep its weights as external data, or check that it is an ONNX file",
            )
        return path.read_bytes()
    except IsADirectoryError as error:
        raise InputFileError(f"{path} is a folder", do="name the .onnx file in it") from error
    except FileNotFoundError as error:
        there = sorted(other.name for other in path.parent.glob("*.onnx"))
        raise InputFileError(
            f"{path} does not exist", do=nearest(path.name, there) if there else "espdeploy export --model espnet"
        ) from error
    except OSError as error:
        raise InputFileError(
            f"cannot read {path}: {error.strerror}", do="check the path and its permissions"
        ) from error


def _not_onnx(path: Path, content: bytes) -> InputFileError:
    """Say what the file is instead, as far as its first bytes tell."""
    start = content[:512].lstrip().lower()
    if not content:
        why, do = "it is empty", "export it again, or fetch it again"
    elif start.startswith(_LFS_POINTER):
        why, do = "it is a Git LFS pointer, not the file itself", "git lfs pull"
    elif start.startswith((b"<!doctype", b"<html", b"<?xml")):
        why, do = "it is a web page", "fetch the file itself: the link led to a page about it"
    elif start.startswith(b"pk\x03\x04"):
        why, do = "it is a ZIP archive, as PyTorch writes checkpoints", "espdeploy export --model NAME --weights FILE"
    else:
        why, do = "it is damaged, cut off, or of another format", "export it again, or fetch it again"
    return InputFileError(f"{path} is not an ONNX file ({len(content)} bytes)", why=why, do=do)


def _check_readable(model: ModelProto, path: Path) -> None:
    onnx = lazy.require("onnx", extra="export")
    opset, newest = opset_of(model), onnx.defs.onnx_opset_version()
    if opset is None:
        raise InputFileError(f"{path} names no ONNX operator set", do="export it again with a current exporter")
    if not _LOWEST_OPSET_READ <= opset <= newest:
        raise InputFileError(
            f"{path} is of opset {opset}; {_LOWEST_OPSET_READ} to {newest} can be read here",
            why="" if opset < newest else f"the installed onnx {onnx.__version__} ends at opset {newest}",
            do="export it again with --opset 20" if opset < newest else "pip install -U onnx onnxruntime",
        )


def _load_external(model: ModelProto, path: Path) -> None:
    onnx = lazy.require("onnx", extra="export")
    tensors = [tensor for tensor in model.graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL]
    locations = sorted({entry.value for tensor in tensors for entry in tensor.external_data if entry.key == "location"})
    for location in locations:
        data = path.parent / location
        if not data.is_file():
            raise InputFileError(
                f"{path} keeps its weights in {location}, which is not beside it", do=f"put {location} in {path.parent}"
            )
        if data.stat().st_size + model.ByteSize() > _LIMIT_BYTES:
            raise InputFileError(
                f"{path} and {location} hold more than 2 GB together",
                do="use a smaller network: nothing larger is read",
            )
    try:
        onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))
    except (onnx.checker.ValidationError, ValueError, OSError) as error:
        raise InputFileError(
            f"the weights of {path} in {', '.join(locations)} cannot be read",
            why=first_line(error),
            do="fetch both files again",
        ) from error


def opset_of(model: ModelProto) -> int | None:
    """The version of ONNX's own operator set; None where the model names none."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), None)


def _tensor_info(value: ValueInfoProto) -> TensorInfo:
    onnx = lazy.require("onnx", extra="export")
    tensor = value.type.tensor_type
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in tensor.shape.dim)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name if tensor.elem_type else "unknown"
    return TensorInfo(name=value.name, shape=shape, dtype=dtype)


def first_line(error: object) -> str:
    """The first line of an error's text, cut at 300 characters; its class where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
