"""``espdeploy build``: an ONNX file becomes an engine that its runtime has accepted, with a passport."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shlex
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from espdeploy import __version__, units
from espdeploy.artifacts import EngineArtifact, atomic_path, check_replaceable, sha256_of, utc_now
from espdeploy.backends.onnx_precision import external_data
from espdeploy.backends.registry import open_runner
from espdeploy.backends.source import FileSource, onnx_path
from espdeploy.devices.detect import detect
from espdeploy.errors import InputFileError, ToolFailed
from espdeploy.pipeline.cache import engine_cache, writing_to_cache
from espdeploy.pipeline.opening import available_threads, check_precision, choose_runtime
from espdeploy.pipeline.passport import PASSPORT_SCHEMA, Passport, read_passport, write_passport
from espdeploy.protocols import Progress, RunnerFacts
from espdeploy.specs import DeviceProfile, RunSpec

_STEM_CHARS = 100  # of the network's name in an engine's: file systems end names at 255 bytes


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """Which engine is wanted."""

    onnx: Path
    profile: DeviceProfile
    precision: str
    runtime: str | None


@dataclass(frozen=True, kw_only=True)
class Built:
    """An engine, and whether it was made now (``built``) or found (``hit``)."""

    engine: EngineArtifact
    cache: str
    build_s: float
    precision_share_pct: dict[str, float] | None

    def document(self) -> dict[str, object]:
        """As ``build --json`` prints it."""
        return {
            "engine": str(self.engine.path),
            "runtime": self.engine.runtime,
            "runtime_version": self.engine.runtime_version,
            "precision": self.engine.precision,
            "device": self.engine.device,
            "cache": self.cache,
            "build_s": self.build_s,
            "size_mb": self.engine.size_mb,
            "layers": {"convolution_precision_pct": self.precision_share_pct},
        }


def build_engine(request: BuildRequest, output: Path | None, progress: Progress) -> Built:
    """Make the engine, or find it in the cache.

    Raises:
        InputFileError: not an ONNX file, one that the runtime cannot read, or one with weights outside.
        UsageError: ``output`` is a folder or a device.
        MissingCapability: the device or runtime lacks the precision, the runtime is not installed, or the place
            cannot be written.
        ToolFailed: the runtime computes in another precision than asked for.
    """
    check_precision(request.profile, request.precision)
    runtime = choose_runtime(request.profile, request.runtime)
    onnx = onnx_path(FileSource(path=request.onnx), runtime)
    if output is not None:
        check_replaceable(output)
    progress(0, 2, f"opening in {runtime}")
    started = time.perf_counter()
    spec = RunSpec(runtime=runtime, precision=request.precision, threads=available_threads())
    with open_runner(FileSource(path=onnx), spec) as runner:
        facts = runner.facts
    _check_shares(facts, request.precision)
    _check_whole(onnx)
    final = output or engine_cache() / f"{onnx.stem[:_STEM_CHARS]}.{_key(onnx, request, facts)}.onnx"
    found = _kept(final) if output is None else None
    if found is not None:
        return _built(final, found, cache="hit", build_s=time.perf_counter() - started)
    progress(1, 2, "writing the engine")
    with writing_to_cache() if output is None else contextlib.nullcontext():
        if onnx.resolve() != final.resolve():
            with atomic_path(final) as temporary:
                shutil.copyfile(onnx, temporary)
        passport = _passport(request, onnx, final, facts, build_s=time.perf_counter() - started)
        write_passport(passport, final)
    return _built(final, passport, cache="built", build_s=passport.build_s)


def _kept(engine: Path) -> Passport | None:
    """The passport of an engine in the cache that is as it was built; whatever else lies there is built anew."""
    try:
        passport = read_passport(engine) if engine.is_file() else None
    except InputFileError:
        return None
    return passport if passport is not None and passport.sha256 == sha256_of(engine) else None


def _check_whole(onnx: Path) -> None:
    """An engine is one file that can be moved, and its SHA-256 must stand for its weights too."""
    location = external_data(onnx)
    if location is not None:
        raise InputFileError(
            f"{onnx} keeps weights outside, in {location}",
            why="an engine is one file; it would end where that file is changed or left behind",
            do=f"espdeploy export --model {shlex.quote(str(onnx))} -o FILE.onnx writes one file; build that",
        )


def _check_shares(facts: RunnerFacts, precision: str) -> None:
    """What was asked for must be what runs."""
    shares = facts.precision_share_pct
    if shares is not None and not {precision, "unknown"} & set(shares):
        raise ToolFailed(
            f"{facts.runtime} computes no convolution in {precision}",
            why=", ".join(f"{pct:.0f} % {name}" for name, pct in shares.items()),
            do="choose the precision that the graph has, or another --runtime",
        )


def _key(onnx: Path, request: BuildRequest, facts: RunnerFacts) -> str:
    """Everything that decides whether an engine may be used again."""
    parts = [
        sha256_of(onnx),
        request.profile.name,
        request.precision,
        facts.runtime,
        facts.runtime_version,
        detect().cpu_model,
        __version__,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _passport(request: BuildRequest, onnx: Path, final: Path, facts: RunnerFacts, *, build_s: float) -> Passport:
    return Passport(
        schema=PASSPORT_SCHEMA,
        sha256=sha256_of(final),
        onnx=onnx.name,
        onnx_sha256=sha256_of(onnx),
        device=request.profile.name,
        runtime=facts.runtime,
        runtime_version=facts.runtime_version,
        precision=request.precision,
        precision_share_pct=dict(facts.precision_share_pct) if facts.precision_share_pct else None,
        cpu=detect().cpu_model,
        built=utc_now(),
        build_s=build_s,
        espdeploy_version=__version__,
    )


def _built(path: Path, passport: Passport, *, cache: str, build_s: float) -> Built:
    artifact = EngineArtifact(
        path=path,
        sha256=passport.sha256,
        runtime=passport.runtime,
        runtime_version=passport.runtime_version,
        precision=passport.precision,
        device=passport.device,
        size_mb=units.mb_from_bytes(path.stat().st_size),
        provenance={"onnx": passport.onnx, "onnx_sha256": passport.onnx_sha256, "built": passport.built},
    )
    return Built(engine=artifact, cache=cache, build_s=build_s, precision_share_pct=passport.precision_share_pct)
