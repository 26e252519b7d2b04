"""What a build must know of an ONNX file before it works on it, read without the package onnx, as boards have it.

Source: the protocol buffers encoding specification; the field numbers are those of onnx.proto. Weights and nodes are
stepped over, so that a file of hundreds of MB is read in milliseconds.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from espdeploy.artifacts import ModelCard
from espdeploy.errors import InputFileError
from espdeploy.specs import Shape

#: an open extent, as TensorRT counts it
OPEN = -1

_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}
# ModelProto, GraphProto, NodeProto, TensorProto, ValueInfoProto and what they hold
_GRAPH, _OPSETS, _METADATA = 7, 8, 14
_NODE, _INITIALIZER, _INPUT = 1, 5, 11
_NODE_NAME, _TENSOR_NAME, _VALUE_NAME, _VALUE_TYPE = 3, 8, 1, 2
_TENSOR_TYPE, _SHAPE, _DIM, _DIM_VALUE = 1, 2, 1, 1
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_ONNX_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True, kw_only=True)
class OnnxHead:
    """The opset, the inputs with their shapes (-1: open), the nodes' names and the card, where it carries one."""

    opset: int | None
    inputs: Mapping[str, Shape]
    nodes: tuple[str, ...]
    card: ModelCard | None


@dataclass(frozen=True)
class _Field:
    """A field of a message: its number, and its value or the place of its content."""

    number: int
    value: int = 0
    start: int = 0
    length: int = 0


def read_head(path: Path) -> OnnxHead:
    """Read what stands around the weights.

    Raises:
        InputFileError: the file is cut short or damaged.
    """
    try:
        with path.open("rb") as stream:
            return _head(stream, path.stat().st_size)
    except (EOFError, UnicodeDecodeError) as error:
        raise InputFileError(
            f"{path} is not a whole ONNX file",
            why="a field in it ends beyond the file, or is none",
            do="export it again, or copy it again",
        ) from error


def _head(stream: BinaryIO, size: int) -> OnnxHead:
    opsets: list[int] = []
    metadata: dict[str, str] = {}
    inputs: dict[str, Shape] = {}
    nodes: list[str] = []
    fixed: set[str] = set()
    for field in _fields(stream, 0, size):
        if field.number == _GRAPH:
            for inner in _fields(stream, field.start, field.length):
                if inner.number == _NODE:
                    nodes.append(_text(stream, inner, _NODE_NAME))
                elif inner.number == _INITIALIZER:
                    fixed.add(_text(stream, inner, _TENSOR_NAME))
                elif inner.number == _INPUT:
                    inputs[_text(stream, inner, _VALUE_NAME)] = _shape(stream, inner)
        elif field.number == _OPSETS and _text(stream, field, _OPSET_DOMAIN) in _ONNX_DOMAINS:
            opsets += [item.value for item in _inside(stream, field, _OPSET_VERSION)]
        elif field.number == _METADATA:
            metadata[_text(stream, field, _ENTRY_KEY)] = _text(stream, field, _ENTRY_VALUE)
    return OnnxHead(
        opset=max(opsets, default=None),
        inputs={name: shape for name, shape in inputs.items() if name not in fixed},  # older files list weights too
        nodes=tuple(nodes),
        card=ModelCard.from_metadata(metadata),
    )


def _shape(stream: BinaryIO, value_info: _Field) -> Shape:
    """The extents of an input; an extent that is a name, or missing, is open."""
    shape: list[int] = []
    for kind in _inside(stream, value_info, _VALUE_TYPE):
        for tensor in _inside(stream, kind, _TENSOR_TYPE):
            for extents in _inside(stream, tensor, _SHAPE):
                for extent in _inside(stream, extents, _DIM):
                    known = [item.value for item in _inside(stream, extent, _DIM_VALUE)]
                    shape.append(known[0] if known and 0 < known[0] < 1 << 63 else OPEN)
    return tuple(shape)


def _inside(stream: BinaryIO, message: _Field, number: int) -> list[_Field]:
    """The fields of that number in a message."""
    return [field for field in _fields(stream, message.start, message.length) if field.number == number]


def _text(stream: BinaryIO, message: _Field, number: int) -> str:
    """A string in a message; the first, as every writer puts it, so that weights behind a name are never reached."""
    for field in _fields(stream, message.start, message.length):
        if field.number == number:
            stream.seek(field.start)
            return stream.read(field.length).decode()
    return ""


def _fields(stream: BinaryIO, start: int, length: int) -> Iterator[_Field]:
    """Walk the fields of the message that lies there."""
    at, end = start, start + length
    while at < end:
        stream.seek(at)
        tag = _varint(stream)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == _VARINT:
            value = _varint(stream)
            at = stream.tell()
            yield _Field(number, value=value)
        elif wire_type == _LENGTH_DELIMITED:
            size = _varint(stream)
            content = stream.tell()
            at = content + size
            if at > end:
                raise EOFError
            yield _Field(number, start=content, length=size)
        elif wire_type in _FIXED_BYTES:
            at = stream.seek(_FIXED_BYTES[wire_type], io.SEEK_CUR)
        else:
            raise EOFError


def _varint(stream: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = stream.read(1)
        if not byte:
            break
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise EOFError
