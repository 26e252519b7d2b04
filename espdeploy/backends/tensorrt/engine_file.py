"""What a file is by its head, before a runtime is asked to open it.

Sources: ``printPlanVersion`` of trtexec (samples/common/sampleEngines.cpp: tag, serialization version, release at bytes
24 to 27), TensorRT's own check that the size in the header is the file's (``plan.header.size == blobSize``; 64 bits at
byte 16), and engines of TensorRT-RTX 1.7. Up to TensorRT 8.5 a plan has another tag and no release in it.
"""

from __future__ import annotations

import json
import os
import shlex
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from espdeploy.backends.source import FileSource, onnx_path
from espdeploy.backends.tensorrt.api import RTX, TENSORRT, Api
from espdeploy.errors import InputFileError

_HEAD = struct.Struct("<4sIQQ4B")
_TAGS = {b"ftrt": TENSORRT, b"vtrt": RTX}
_OLD_TAG = b"ptrt"
_MOST_PREFIX_BYTES = 1 << 24
_BUILD = "build it again from its ONNX file: espdeploy build F.onnx"


@dataclass(frozen=True, kw_only=True)
class EngineKind:
    """What a file is.

    ``kind`` is ``tensorrt``, ``tensorrt-rtx``, ``onnx``, ``prefixed`` (an engine behind something else), ``cut`` (an
    engine of another length than it says), ``empty`` or ``unknown``; ``note`` says it in words. ``version`` is the
    release that built it and ``offset`` where the engine begins, where that is known.
    """

    kind: str
    note: str
    version: tuple[int, ...] | None = None
    offset: int = 0


def recognise(path: Path) -> EngineKind:
    """Tell by its head what a file is; nothing of it is run.

    Raises:
        InputFileError: there is no such file, or it cannot be read.
    """
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise InputFileError(f"{path} {what}", do="check the path; espdeploy build F.onnx makes an engine")
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            found = _plan_at(stream, 0, size) or _prefixed(stream, size)
    except OSError as error:
        raise InputFileError(f"cannot read {path}: {error.strerror}") from error
    if found is not None:
        return found
    if not size:
        return EngineKind(kind="empty", note="it is empty")
    return _onnx(path) or EngineKind(kind="unknown", note="it begins like no engine and no ONNX file")


def _plan_at(stream: BinaryIO, offset: int, size: int) -> EngineKind | None:
    stream.seek(offset)
    head = stream.read(_HEAD.size)
    if head[:4] == _OLD_TAG:
        note = "an engine of TensorRT 8.5 or older (a timing cache begins alike)"
        return EngineKind(kind=TENSORRT, note=note, offset=offset)
    kind = _TAGS.get(head[:4])
    if kind is None:
        return None
    name = "TensorRT-RTX" if kind == RTX else "TensorRT"
    if len(head) < _HEAD.size:
        return EngineKind(kind="cut", note=f"an engine of {name}, cut off within its first {_HEAD.size} bytes")
    _, _, _, declared, *version = _HEAD.unpack(head)
    release = ".".join(str(part) for part in version)
    if declared != size - offset:
        note = f"an engine of {name} {release} that says it has {declared:,} bytes, and has {size - offset:,}"
        return EngineKind(kind="cut", note=note, version=tuple(version), offset=offset)
    return EngineKind(kind=kind, note=f"an engine of {name} {release}", version=tuple(version), offset=offset)


def _prefixed(stream: BinaryIO, size: int) -> EngineKind | None:
    """A length of four bytes and a JSON before the engine, as the ultralytics exporter writes them."""
    stream.seek(0)
    head = stream.read(4)
    length = int.from_bytes(head, "little")
    if len(head) < 4 or not 2 <= length <= min(size, _MOST_PREFIX_BYTES):
        return None
    text = stream.read(length)
    engine = _plan_at(stream, 4 + length, size)
    if not text.startswith(b"{") or engine is None:
        return None
    try:
        author = str(json.loads(text).get("author", ""))
    except (ValueError, AttributeError):
        author = ""
    written = f", written by {author}" if author.isprintable() and 0 < len(author) < 40 else ""
    note = f"{4 + length:,} bytes of JSON{written}, then {engine.note}"
    return EngineKind(kind="prefixed", note=note, version=engine.version, offset=4 + length)


def _onnx(path: Path) -> EngineKind | None:
    try:
        onnx_path(FileSource(path=path), "recognise")
    except InputFileError:
        return None
    return EngineKind(kind="onnx", note="an ONNX file, not yet built")


def engine_bytes(path: Path, api: Api) -> bytes:
    """The engine in a file, checked by its head to be one that ``api`` may open.

    Raises:
        InputFileError: it is something else, cut, of the other TensorRT, or of another major release; each with its
            remedy.
    """
    found = recognise(path)
    if found.kind == "onnx":
        raise InputFileError(f"{path} is an ONNX file, and {api.label} opens engines", do=f"espdeploy build {_q(path)}")
    if found.kind == "prefixed":
        plain = path.with_name(f"{path.stem}.plain{path.suffix}")
        raise InputFileError(
            f"{path} does not begin with an engine",
            why=found.note,
            do=f"tail -c +{found.offset + 1} {_q(path)} > {_q(plain)}",
        )
    if found.kind not in (TENSORRT, RTX):
        raise InputFileError(f"{path} is no whole engine", why=found.note, do=f"copy it again, or {_BUILD}")
    if found.kind != api.kind:
        raise InputFileError(
            f"{api.label} cannot open {path}", why=f"it is {found.note}", do=f"open it with --runtime {found.kind}"
        )
    if found.version is None or found.version[0] != api.major:
        raise InputFileError(
            f"{path} was built by another release than {api.label}", why=f"it is {found.note}", do=_BUILD
        )
    return path.read_bytes()


def _q(path: Path) -> str:
    return shlex.quote(str(path))
