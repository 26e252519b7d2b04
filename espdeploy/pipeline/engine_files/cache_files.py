"""``espdeploy cache list``: what is kept, what it is, and what a killed process left. Other files are only counted."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from espdeploy import units
from espdeploy.errors import InputFileError
from espdeploy.networks.registry import REGISTRY
from espdeploy.pipeline.building.build_lock import holder, lock_path
from espdeploy.pipeline.engine_files.cache import engine_cache, weights_cache
from espdeploy.pipeline.engine_files.engine_file import engine_passport
from espdeploy.pipeline.engine_files.passport import Passport

ENGINE, GRAPH, WEIGHTS, DOWNLOAD, LEFTOVER = "engine", "graph", "weights", "download", "leftover"
TIMINGS, KERNELS = "timings", "kernels"

#: the digest in a name is what tells that espdeploy gave it
_OWN = r"(?P<owner>.+\.[0-9a-f]{16}\.(?:onnx|engine))"
_KEPT = re.compile(rf"{_OWN}(?:(?:\.\w+)?\.json|\.kernels)?")
_TIMINGS = re.compile(r"timing\.(?P<device>.+)\.[0-9a-f]{16}\.cache")
_TEMPORARY = re.compile(rf"\.{_OWN}(?:\..+)?\.(?:lock|[0-9a-f]{{8}}\.part(?:\.[^.]+)?)")
#: an exported graph is written without a lock; nothing takes longer between two writes
_STILL_WRITTEN_S = 600.0


@dataclass(frozen=True, kw_only=True)
class CacheEntry:
    """What belongs together: an engine with its passport, an exported graph, weights, or what a killed process left.

    ``age_s`` counts from when it was last written. ``busy`` says why it cannot be removed now; empty where it can.
    """

    kind: str
    name: str
    what: str
    files: tuple[Path, ...]
    size_bytes: int
    age_s: float
    busy: str = ""
    passport: Passport | None = None

    @property
    def size_mb(self) -> float:
        """What its files take."""
        return units.mb_from_bytes(self.size_bytes)

    def document(self) -> dict[str, object]:
        """As ``cache --json`` prints it."""
        passport = self.passport
        return {
            "name": self.name,
            "kind": self.kind,
            "what": self.what,
            "size_mb": self.size_mb,
            "age_s": self.age_s,
            "files": [str(path) for path in self.files],
            "device": passport.device if passport else None,
            "precision": passport.precision if passport else None,
            "runtime": passport.runtime if passport else None,
            "onnx": passport.onnx if passport else None,
            "built": passport.built if passport else None,
            "busy": self.busy or None,
        }


@dataclass(frozen=True, kw_only=True)
class Cached:
    """Everything in the cache, the newest first, and how many files there are not espdeploy's."""

    entries: tuple[CacheEntry, ...]
    foreign: int

    @property
    def total_mb(self) -> float:
        """What all entries take."""
        return sum(entry.size_mb for entry in self.entries)

    def document(self) -> dict[str, object]:
        """As ``cache list --json`` prints it."""
        return {
            "folders": {"engines": str(engine_cache()), "weights": str(weights_cache())},
            "entries": [entry.document() for entry in self.entries],
            "total_mb": self.total_mb,
            "other_files": self.foreign,
        }


@dataclass(frozen=True, kw_only=True)
class _File:
    """A plain file, as it was when it was looked at."""

    path: Path
    size_bytes: int
    age_s: float


def cached() -> Cached:
    """Look at the engine cache and at the weights; links are not followed, and folders below them not looked into."""
    engines, weights = _plain_files(engine_cache()), _plain_files(weights_cache())
    found = [*_engine_entries(engines), *_weights_entries(weights)]
    taken = sum(len(entry.files) for entry in found)
    return Cached(
        entries=tuple(sorted(found, key=lambda entry: (entry.age_s, entry.name))),
        foreign=len(engines) + len(weights) - taken,
    )


def _plain_files(folder: Path) -> dict[str, _File]:
    try:
        paths = sorted(folder.iterdir())
    except OSError:  # no cache yet, or one that may not be read
        return {}
    now_s = time.time()
    found: dict[str, _File] = {}
    for path in paths:
        try:
            stat = path.stat()
        except OSError:  # gone in between, or a link to nowhere
            continue
        if path.is_file() and not path.is_symlink():
            found[path.name] = _File(path=path, size_bytes=stat.st_size, age_s=max(0.0, now_s - stat.st_mtime))
    return found


def _engine_entries(files: dict[str, _File]) -> Iterator[CacheEntry]:
    kept: dict[str, list[_File]] = {}
    temporary: dict[str, list[_File]] = {}
    for name, file in files.items():
        if (match := _TEMPORARY.fullmatch(name)) is not None:
            temporary.setdefault(match["owner"], []).append(file)
        elif (match := _KEPT.fullmatch(name)) is not None:
            kept.setdefault(match["owner"], []).append(file)
    folder = engine_cache()
    for name, file in files.items():
        if (match := _TIMINGS.fullmatch(name)) is not None:
            yield _entry(TIMINGS, name, f"timings that builds for {match['device']} share", [file])
    for name, parts in kept.items():
        if name in files:
            yield _engine(files[name].path, parts)
        elif all(file.path.suffix == ".kernels" for file in parts):
            yield _entry(KERNELS, name, "kernels that TensorRT-RTX compiled for an engine kept elsewhere", parts)
        else:
            yield _entry(LEFTOVER, name, "a passport without its engine", parts)
    for name, parts in temporary.items():
        yield _unfinished(folder / name, parts)


def _engine(engine: Path, parts: list[_File]) -> CacheEntry:
    try:
        passport = engine_passport(engine)
    except InputFileError:
        passport, what = None, "its passport is damaged, or newer"
    else:
        what = _described(passport, engine)
    kind = GRAPH if engine.suffix == ".onnx" and len(parts) == 1 else ENGINE
    ordered = sorted(parts, key=lambda file: file.path != engine)
    return _entry(kind, engine.name, what, ordered, busy=_building(engine), passport=passport)


def _described(passport: Passport | None, engine: Path) -> str:
    if passport is None:
        return "an exported network" if engine.suffix == ".onnx" else "without a passport"
    made_up = ", calibrated on made-up data" if passport.performance_only else ""
    runtime = f"{passport.runtime} {passport.runtime_version}"
    return f"{passport.onnx} in {passport.precision} for {passport.device}, {runtime}{made_up}"


def _unfinished(engine: Path, parts: list[_File]) -> CacheEntry:
    """A build that goes on, or what is left of one that was killed."""
    busy = _building(engine)
    if busy:
        return _entry(ENGINE, engine.name, "not there yet", parts, busy=busy)
    locked = any(file.path == lock_path(engine) for file in parts)
    young = min(file.age_s for file in parts) < _STILL_WRITTEN_S
    busy = "" if locked or not young else "written moments ago, perhaps not done yet"
    return _entry(LEFTOVER, engine.name, "of a process that was killed", parts, busy=busy)


def _building(engine: Path) -> str:
    owner = holder(engine)
    return "" if owner is None else f"{owner.named} is building it"


def _weights_entries(files: dict[str, _File]) -> Iterator[CacheEntry]:
    for network in REGISTRY.values():
        for known in network.checkpoints:
            if known.name in files:
                yield _entry(WEIGHTS, known.name, f"released weights of {network.name}", [files[known.name]])
            part = f".{known.name}.part"
            if part in files:
                parts = [files[name] for name in (part, f"{part}.json") if name in files]
                young = min(file.age_s for file in parts) < _STILL_WRITTEN_S
                busy = "written moments ago, perhaps still coming" if young else ""
                yield _entry(
                    DOWNLOAD, known.name, "weights that came in part; fetching goes on there", parts, busy=busy
                )


def _entry(
    kind: str, name: str, what: str, parts: list[_File], *, busy: str = "", passport: Passport | None = None
) -> CacheEntry:
    return CacheEntry(
        kind=kind,
        name=name,
        what=what,
        files=tuple(file.path for file in parts),
        size_bytes=sum(file.size_bytes for file in parts),
        age_s=min(file.age_s for file in parts),
        busy=busy,
        passport=passport,
    )
