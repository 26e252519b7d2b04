"""Which engine in the cache answers a request, if it is there and as it was built."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from espdeploy import __version__
from espdeploy.artifacts import sha256_of
from espdeploy.backends.registry import RUNTIMES
from espdeploy.backends.trtexec.find import program_path
from espdeploy.devices.detect import detect
from espdeploy.errors import InputFileError
from espdeploy.pipeline.building.builders import TRTEXEC
from espdeploy.pipeline.engine_files.cache import engine_cache
from espdeploy.pipeline.engine_files.passport import Passport, read_passport
from espdeploy.pipeline.machine import system_root

if TYPE_CHECKING:
    from espdeploy.pipeline.building.build import BuildRequest

_STEM_CHARS = 100  # of the network's name in an engine's: file systems end names at 255 bytes


def cached_engine(request: BuildRequest, onnx: Path, builder: str | None = None) -> Path:
    """Where the engine of this request is kept; its name holds a digest of everything that decides what it is.

    ``builder`` is the runtime that builds for an NVIDIA GPU, None for engines of the processor.
    """
    runtimes = (
        [builder]
        if builder
        else [request.runtime]
        if request.runtime
        else [name for name in request.profile.runtimes if name in RUNTIMES]
    )
    machine = detect(system_root())
    parts = [
        sha256_of(onnx),
        request.profile.name,
        request.precision,
        [(name, _release(name)) for name in runtimes],
        sha256_of(request.calibration) if request.calibration and request.calibration.is_file() else None,
        request.max_drop_pct,
        _listing(request.data),
        _listing(request.labels),
        machine.cpu_model,
        [gpu.name for gpu in machine.gpus or ()],
        machine.l4t,
        request.compute_capability,
        request.options.key,
        __version__,
    ]
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    return engine_cache() / f"{onnx.stem[:_STEM_CHARS]}.{digest}.{'engine' if builder else 'onnx'}"


def kept_engine(engine: Path) -> Passport | None:
    """The passport of an engine in the cache that is as it was built; whatever else lies there is built anew."""
    try:
        passport = read_passport(engine) if engine.is_file() else None
    except InputFileError:
        return None
    return passport if passport is not None and passport.sha256 == sha256_of(engine) else None


def _release(runtime: str) -> object:
    """What tells one release of a runtime from another, without starting it: that takes a tool of TensorRT seconds."""
    if runtime != TRTEXEC:
        return _version(RUNTIMES[runtime][2])
    program = program_path(TRTEXEC, root=system_root())
    if program is None:
        return None
    stat = program.resolve().stat()
    return [str(program.resolve()), stat.st_size, stat.st_mtime_ns]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _listing(folder: Path | None) -> list[tuple[str, int, int]] | None:
    """A folder's files by name, size and time of change: reading every image would make a cache hit slow."""
    if folder is None or not folder.is_dir():
        return None
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    stats = ((path.relative_to(folder).as_posix(), path.stat()) for path in files)
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
