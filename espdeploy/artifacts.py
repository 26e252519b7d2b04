"""What was made: files with what they are and where they came from."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from espdeploy.errors import MissingCapability, UsageError

#: keys of the ONNX metadata that espdeploy writes, all under this prefix
METADATA_PREFIX = "espdeploy."
_CARD_KEY = METADATA_PREFIX + "card"


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """From an 8-bit RGB image to a network's input: ``(pixel / divisor - mean) / std`` per channel.

    ``channel_order`` is ``RGB`` or ``BGR`` and is the order of ``mean`` and ``std`` too.
    ``post_divisor`` divides once more at the end: ESPNet's checkpoints want ``(x - mean) / std / 255``.
    """

    channel_order: str
    divisor: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    post_divisor: float = 1.0


@dataclass(frozen=True, kw_only=True)
class ClassSet:
    """A data set's classes: names, display colours (R, G, B), their categories, and which label values are void."""

    name: str
    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    categories: tuple[str, ...] = ()  # one per class; empty where the data set has none
    ignore: tuple[int, ...] = ()  # label values and classes that no score counts


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What travels with a network as ONNX metadata, so that an engine alone is enough to use it."""

    name: str
    task: str
    settings: dict[str, str | int | float | bool]
    params: int | None = None
    macs: int | None = None  # multiply-adds for one image at the exported size
    preprocessing: Preprocessing | None = None
    classes: ClassSet | None = None
    weights: str = "unknown"  # the checkpoint's file name, or how the weights were made
    weights_sha256: str | None = None
    passes: tuple[str, ...] = ()
    espdeploy_version: str | None = None

    def to_metadata(self) -> dict[str, str]:
        """As ONNX metadata entries."""
        return {_CARD_KEY: msgspec.json.encode(self).decode()}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> ModelCard | None:
        """Read back what :meth:`to_metadata` wrote; None where it is absent or not ours to read."""
        text = metadata.get(_CARD_KEY)
        if text is None:
            return None
        try:
            return msgspec.json.decode(text, type=cls)
        except msgspec.MsgspecError:
            return None


@dataclass(frozen=True, kw_only=True)
class OnnxArtifact:
    """An ONNX file that espdeploy wrote or was given. ``card`` is None for files without our metadata."""

    path: Path
    sha256: str
    opset: int
    input_shape: tuple[int | str, ...]
    card: ModelCard | None


@dataclass(frozen=True, kw_only=True)
class EngineArtifact:
    """A file that a runtime opens, with where it came from."""

    path: Path
    sha256: str
    runtime: str
    runtime_version: str
    precision: str
    device: str
    size_mb: float
    provenance: dict[str, str | int | float | None]


def utc_now() -> str:
    """Now, to the second, as ISO 8601 in UTC."""
    return dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, read in pieces, as lower-case hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


@contextlib.contextmanager
def atomic_path(final: Path) -> Iterator[Path]:
    """A temporary path beside ``final`` that becomes ``final`` when the block ends without an error.

    A file that is being written never stands half-written under its final name.

    Raises:
        UsageError: ``final`` names no plain file: a folder, a device, or nothing.
        MissingCapability: the folder cannot be made or written, or the disk is full.
    """
    check_replaceable(final)
    temporary = final.with_name(f".{final.name}.{secrets.token_hex(4)}.part{final.suffix}")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(final)
    except OSError as error:
        raise _unwritable(final, error.strerror or str(error)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def check_replaceable(final: Path) -> None:
    """Refuse a place that no file can be written to; called early, it spares slow work that would be lost.

    Raises:
        UsageError: ``final`` is a folder, a device or a pipe, or has no name.
        MissingCapability: what should be its folder is none, or may not be written.
    """
    try:
        if final.is_dir():
            raise UsageError(f"{final} is a folder, not a file to write", do=f"name a file in it: {final / 'FILE'}")
        if final.exists() and not final.is_file():  # root can replace even /dev/null, and breaks the machine with it
            raise UsageError(f"{final} is a device or a pipe, and no file to replace", do="name a plain file")
        nearest_above = next(folder for folder in final.parents if folder.exists())
    except OSError as error:
        raise _unwritable(final, error.strerror or str(error)) from error
    if not nearest_above.is_dir():
        raise _unwritable(final, f"{nearest_above} is a file")
    if not os.access(nearest_above, os.W_OK):
        raise _unwritable(final, f"no permission in {nearest_above}")


def _unwritable(final: Path, why: str) -> MissingCapability:
    return MissingCapability(
        f"cannot write {final}: {why}",
        do="choose another place with -o, or make room and check the folder's permissions",
    )


def write_atomic(final: Path, content: bytes) -> None:
    """Write ``content`` to ``final`` at once or not at all; on disk when it returns.

    Raises:
        UsageError, MissingCapability: as :func:`atomic_path`.
    """
    with atomic_path(final) as temporary, temporary.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
