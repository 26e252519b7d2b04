"""What an engine file is, by its own first bytes, and the passport beside it, whatever state either is in.

TensorRT documents no file format. Known from files: a plan begins with four letters, ``ftrt`` (TensorRT 10) or ``ptrt``
(older). TensorRT-RTX 1.7 begins with ``vtrt``, has the file's size at byte 16, its own release in the four bytes from
24 on, and at byte 32 one bit for each compute capability that it was built for (seen in engines of its own builder).
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import msgspec

from espdeploy.backends.source import FileSource, onnx_path
from espdeploy.errors import InputFileError
from espdeploy.pipeline.engine_files.passport import PASSPORT_SCHEMA, Passport, passport_path, read_passport

ONNX, TENSORRT, TENSORRT_RTX = "onnx", "tensorrt", "tensorrt-rtx"

_MAGICS = {b"ftrt": TENSORRT, b"ptrt": TENSORRT, b"vtrt": TENSORRT_RTX}
_HEADER_BYTES = 64
_RTX_TARGETS = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
_RTX_WITH_KNOWN_HEADER = (1, 7)
#: other tools put their metadata before the engine; theirs takes a few kB
_SEARCHED_BYTES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class EngineFile:
    """A file that a runtime opens: ``onnx``, ``tensorrt`` or ``tensorrt-rtx``, and what the latter tells of itself."""

    kind: str
    version: str | None = None
    targets: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Head:
    """The part of a passport that every schema has."""

    schema: int


def read_engine_file(path: Path) -> EngineFile:
    """Look at the file's first bytes.

    Raises:
        InputFileError: missing, cut short, no engine and no ONNX file, or an engine with something else before it.
    """
    if not path.is_file():
        onnx_path(FileSource(path=path), "espdeploy")  # says what is there instead
    with path.open("rb") as stream:
        head = stream.read(_HEADER_BYTES)
    kind = _MAGICS.get(head[:4])
    if kind is None:
        _check_prefix(path)
        _check_onnx(path)
        return EngineFile(kind=ONNX)
    size = path.stat().st_size
    if len(head) < _HEADER_BYTES:
        raise _cut_short(path, f"it has {size} bytes, fewer than an engine's header")
    return _rtx(path, head, size) if kind == TENSORRT_RTX else EngineFile(kind=kind)


def engine_passport(engine: Path) -> Passport | None:
    """The passport beside an engine; None where there is none.

    Raises:
        InputFileError: it is damaged, or of another schema.
    """
    path = passport_path(engine)
    if not path.is_file():
        return None
    try:
        schema = msgspec.json.decode(path.read_bytes(), type=_Head).schema
        passport = read_passport(engine) if schema == PASSPORT_SCHEMA else None
    except (OSError, UnicodeDecodeError, RecursionError, msgspec.MsgspecError) as error:
        raise InputFileError(
            f"{path} is not a readable passport", why=str(error), do=f"build the engine again: {_rebuild(engine)}"
        ) from error
    if schema > PASSPORT_SCHEMA:
        raise InputFileError(
            f"{path} was written by a newer espdeploy",
            why=f"it is of schema {schema}, and this espdeploy reads {PASSPORT_SCHEMA}",
            do=f"pip install --upgrade espdeploy, or build the engine again: {_rebuild(engine)}",
        )
    if schema < PASSPORT_SCHEMA:
        raise InputFileError(
            f"{path} is not a readable passport",
            why=f"there is no schema {schema}",
            do=f"build the engine again: {_rebuild(engine)}",
        )
    return passport


def _rebuild(engine: Path) -> str:
    return f"espdeploy build F.onnx -o {shlex.quote(str(engine))}"


def _rtx(path: Path, head: bytes, size: int) -> EngineFile:
    release = tuple(head[24:28])
    if release[:2] != _RTX_WITH_KNOWN_HEADER:
        return EngineFile(kind=TENSORRT_RTX)
    told = int.from_bytes(head[16:24], "little")
    if told > size:
        raise _cut_short(path, f"it has {size:,} of the {told:,} bytes that its header tells of")
    bits = int.from_bytes(head[32:40], "little")
    targets = tuple(name for index, name in enumerate(_RTX_TARGETS) if bits >> index & 1)
    return EngineFile(kind=TENSORRT_RTX, version=".".join(str(part) for part in release), targets=targets)


def _check_onnx(path: Path) -> None:
    try:
        onnx_path(FileSource(path=path), "espdeploy")
    except InputFileError as error:
        if path.suffix == ".onnx" or "UTF-8" in error.what:
            raise
        raise InputFileError(
            f"{path} is neither a TensorRT engine nor a whole ONNX file",
            why=f"its {path.stat().st_size:,} bytes begin as neither does: another format, or cut short",
            do=f"check the path, or build the engine again: {_rebuild(path)}",
        ) from error


def _check_prefix(path: Path) -> None:
    """Refuse an engine behind something else, and say how to take it off.

    Ultralytics writes the length of a JSON text as four bytes, the text, and then the engine.
    """
    with path.open("rb") as stream:
        start = stream.read(_SEARCHED_BYTES)
    length = int.from_bytes(start[:4], "little")
    if start[4:5] == b"{" and start[4 + length : 8 + length] in _MAGICS:
        raise InputFileError(
            f"{path} holds another tool's metadata before its engine",
            why=f"{4 + length:,} bytes of JSON come first, as Ultralytics exports engines; TensorRT cannot read that",
            do=f"tail -c +{5 + length} {shlex.quote(str(path))} > ENGINE, and use that; or build it here",
        )


def _cut_short(path: Path, why: str) -> InputFileError:
    return InputFileError(
        f"{path} is cut short", why=why, do=f"copy it again, or build the engine again: {_rebuild(path)}"
    )
