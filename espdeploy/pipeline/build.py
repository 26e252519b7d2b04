"""``espdeploy build``: an ONNX file becomes an engine that its runtime has accepted, with a passport."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from espdeploy import __version__, units
from espdeploy.artifacts import EngineArtifact, atomic_path, sha256_of, utc_now
from espdeploy.backends.registry import open_runner
from espdeploy.backends.source import FileSource, onnx_path
from espdeploy.devices.detect import detect
from espdeploy.errors import ToolFailed
from espdeploy.pipeline.cache import engine_cache
from espdeploy.pipeline.opening import available_threads, check_precision, choose_runtime
from espdeploy.pipeline.passport import PASSPORT_SCHEMA, Passport, read_passport, write_passport
from espdeploy.protocols import Progress, RunnerFacts
from espdeploy.specs import DeviceProfile, RunSpec


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
        InputFileError: not an ONNX file, or one that the runtime cannot read.
        MissingCapability: the device or runtime lacks the precision, or the runtime is not installed.
        ToolFailed: the runtime computes in another precision than asked for.
    """
    check_precision(request.profile, request.precision)
    runtime = choose_runtime(request.profile, request.runtime)
    onnx = onnx_path(FileSource(path=request.onnx), runtime)
    progress(0, 2, f"opening in {runtime}")
    started = time.perf_counter()
    spec = RunSpec(runtime=runtime, precision=request.precision, threads=available_threads())
    with open_runner(FileSource(path=onnx), spec) as runner:
        facts = runner.facts
    _check_shares(facts, request.precision)
    final = output or engine_cache() / f"{onnx.stem}.{_key(onnx, request, facts)}.onnx"
    found = read_passport(final) if final.is_file() else None
    if found is not None and output is None and found.sha256 == sha256_of(final):
        return _built(final, found, cache="hit", build_s=time.perf_counter() - started)
    progress(1, 2, "writing the engine")
    if onnx.resolve() != final.resolve():
        with atomic_path(final) as temporary:
            shutil.copyfile(onnx, temporary)
    passport = _passport(request, onnx, final, facts, build_s=time.perf_counter() - started)
    write_passport(passport, final)
    return _built(final, passport, cache="built", build_s=passport.build_s)


def _check_shares(facts: RunnerFacts, precision: str) -> None:
    """What was asked for must be what runs."""
    shares = facts.precision_share_pct
    if shares is not None and shares.get(precision, 0.0) == 0.0:
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
