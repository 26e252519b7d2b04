"""The timings of kernels that builds share: lent to a builder as a copy, and taken back whole.

One file for each device, library and driver lies in the engine cache; ``--timing-cache`` names another. It is locked
while it is read and while it is written, not while an engine is built: of two builds at once the later one's timings
stay, which costs the next build some time and nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from espdeploy.artifacts import check_replaceable, sha256_of, write_atomic
from espdeploy.backends.source import FileSource, onnx_path
from espdeploy.devices.detect import detect
from espdeploy.errors import InputFileError, MissingCapability
from espdeploy.pipeline.building.build_lock import building
from espdeploy.pipeline.engine_files.cache import engine_cache
from espdeploy.pipeline.engine_files.passport import passport_path
from espdeploy.pipeline.machine import system_root
from espdeploy.protocols import Progress

_DIGEST_CHARS = 16
_LOOKED_AT_BYTES = 4096
_ENGINE_SUFFIXES = (".engine", ".plan", ".trt")


@dataclass(frozen=True, kw_only=True)
class Lent:
    """The builder's ``copy`` of the timings kept at ``path``; ``named``: the user's own file, else espdeploy's."""

    path: Path
    copy: Path
    named: bool
    found: bool

    @property
    def flag(self) -> str:
        """As a passport tells it."""
        return f"timing cache {self.path.name}, {'found' if self.found else 'begun'}"


def default_path(device: str, runtime: str, version: str) -> Path:
    """Where a library's timings on this machine are kept; the digest is of the library, the GPU and its driver."""
    machine = detect(system_root())
    parts = [runtime, version, [gpu.name for gpu in machine.gpus or ()], machine.nvidia_driver, machine.l4t]
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:_DIGEST_CHARS]
    return engine_cache() / f"timing.{device}.{digest}.cache"


def check_named(path: Path) -> None:
    """Refuse a file of the user's that is something else: builders take it for an empty cache, and write over it.

    Raises:
        InputFileError: an ONNX file, an engine, or text.
        UsageError, MissingCapability: the place cannot be written.
    """
    check_replaceable(path)
    what = _recognised(path) if path.exists() else ""
    if what:
        raise InputFileError(
            f"{path} is {what}, and no timing cache",
            why="a build would write over it",
            do="name another file; it is made where there is none",
        )


@contextlib.contextmanager
def lent(named: Path | None, default: Path, folder: Path, progress: Progress) -> Iterator[Lent | None]:
    """The timings for one build; what it learnt is kept when the block ends well.

    Args:
        named: the user's file; None for espdeploy's own.
        default: where that is.
        folder: for the copy.
        progress: told where another process holds the file.

    Yields:
        None where espdeploy's own place cannot be used, which is no reason not to build.

    Raises:
        MissingCapability: the user's file cannot be read or written.
    """
    path, copy = named or default, folder / "timing.cache"
    found = _copied(path, copy, progress, required=named is not None)
    if found is None:
        yield None
        return
    before = sha256_of(copy) if found else None
    yield Lent(path=path, copy=copy, named=named is not None, found=found)
    if copy.is_file() and sha256_of(copy) != before:
        unwritable = contextlib.nullcontext() if named is not None else contextlib.suppress(MissingCapability)
        with unwritable, building(path, progress):
            write_atomic(path, copy.read_bytes())


def _copied(path: Path, copy: Path, progress: Progress, *, required: bool) -> bool | None:
    """Whether there was something to copy; None where the place cannot be used and need not be."""
    try:
        with building(path, progress):
            if not path.is_file():
                return False
            shutil.copyfile(path, copy)
            return True
    except MissingCapability:
        if required:
            raise
    except OSError as error:
        if required:
            what = f"cannot read {path}: {error.strerror or error}"
            raise MissingCapability(what, do="check its permissions") from error
    return None


def _recognised(path: Path) -> str:
    """What a file is, where it is plainly something else; by its head a timing cache cannot be told from an engine."""
    if path.suffix in _ENGINE_SUFFIXES or passport_path(path).exists():
        return "an engine"
    with contextlib.suppress(InputFileError):
        onnx_path(FileSource(path=path), "espdeploy")
        return "an ONNX file"
    with path.open("rb") as stream:
        head = stream.read(_LOOKED_AT_BYTES)
    with contextlib.suppress(UnicodeDecodeError):
        if head and "\0" not in head.decode():
            return "a text file"
    return ""
