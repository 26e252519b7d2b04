"""What a runtime opens: an ONNX file, or for PyTorch a module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from espdeploy.artifacts import ModelCard
from espdeploy.errors import InputFileError
from espdeploy.protocols import TensorInfo

if TYPE_CHECKING:
    import torch

_VARINT, _LENGTH_DELIMITED = 0, 2  # protobuf wire types; ONNX's top level uses no other
_GRAPH_FIELD = 7


@dataclass(frozen=True, kw_only=True)
class FileSource:
    """An engine or ONNX file."""

    path: Path


@dataclass(frozen=True, kw_only=True)
class ModuleSource:
    """A PyTorch module in memory with the shape (N, C, H, W) of its one input, or with all of its inputs by name."""

    module: Callable[..., torch.Tensor | tuple[torch.Tensor, ...]]
    input_shape: tuple[int, int, int, int] | None = None
    card: ModelCard | None
    inputs: tuple[TensorInfo, ...] = ()


Source = FileSource | ModuleSource


def onnx_path(source: Source, runtime: str) -> Path:
    """The file of a source that must be one.

    Raises:
        InputFileError: the source is not a file, or the file is missing or empty.
    """
    if not isinstance(source, FileSource):
        raise InputFileError(f"{runtime} opens ONNX files, not modules", do="espdeploy export first")
    if any("\ud800" <= char <= "\udfff" for char in str(source.path)):  # so Python holds bytes that are not text
        raise InputFileError(
            f"{source.path} has a name that is not UTF-8", why=f"{runtime} cannot open it", do="rename the file"
        )
    if not source.path.is_file():
        what = "is not a file" if source.path.exists() else "does not exist"
        raise InputFileError(f"{source.path} {what}", do="check the path, or name the .onnx file in the folder")
    if not _holds_onnx_graph(source.path):
        raise InputFileError(
            f"{source.path} is not a whole ONNX file",
            why=f"its {source.path.stat().st_size} bytes hold no complete graph: another format, or cut short",
            do="check the path, or export it again: espdeploy export --model NAME -o FILE.onnx",
        )
    return source.path


def _holds_onnx_graph(path: Path) -> bool:
    """Walk the top-level fields of the protobuf message; a runtime would crash or be noisy on other files.

    Source: the protocol buffers encoding specification; onnx.proto (ModelProto.graph is field 7).
    """
    found_graph = False
    size = path.stat().st_size
    with path.open("rb") as stream:
        while (tag := _varint(stream)) is not None:
            field, wire_type = tag >> 3, tag & 7
            length = _varint(stream) if wire_type in (_VARINT, _LENGTH_DELIMITED) else None
            if length is None:
                return False
            if wire_type == _LENGTH_DELIMITED:
                if stream.seek(length, 1) > size:
                    return False
                found_graph = found_graph or field == _GRAPH_FIELD
    return found_graph


def _varint(stream: BinaryIO) -> int | None:
    """The next base-128 number, None at the end of the file or where it is longer than 64 bits."""
    value = 0
    for shift in range(0, 70, 7):
        byte = stream.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    return None
