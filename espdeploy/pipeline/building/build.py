"""``espdeploy build``: an ONNX file becomes an engine that is proven and measured here, with a passport."""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from espdeploy import units
from espdeploy.artifacts import EngineArtifact, check_replaceable
from espdeploy.backends.source import FileSource, onnx_path
from espdeploy.backends.tensorrt.api import RTX
from espdeploy.errors import UsageError
from espdeploy.pipeline import capability
from espdeploy.pipeline.building.build_cache import cached_engine, kept_engine
from espdeploy.pipeline.building.build_lock import building
from espdeploy.pipeline.building.builder_options import BuilderOptions, resolved
from espdeploy.pipeline.building.builders import choose_builder
from espdeploy.pipeline.building.onnx_head import read_head
from espdeploy.pipeline.building.timing_cache import check_named
from espdeploy.pipeline.engine_files.cache import writing_to_cache
from espdeploy.pipeline.engine_files.opening import choose_runtime
from espdeploy.pipeline.engine_files.passport import Passport
from espdeploy.protocols import Progress
from espdeploy.specs import DeviceProfile


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """Which engine is wanted.

    ``max_drop_pct``, ``data`` and ``labels`` are for ``mixed``: how many mIOU points it may lose, and on what.
    ``compute_capability`` and ``options`` are for builders of engines for NVIDIA GPUs.
    """

    onnx: Path
    profile: DeviceProfile
    precision: str
    runtime: str | None
    calibration: Path | None = None
    max_drop_pct: float | None = None
    data: Path | None = None
    labels: Path | None = None
    compute_capability: str | None = None
    options: BuilderOptions = field(default_factory=BuilderOptions)
    command: str | None = None


@dataclass(frozen=True, kw_only=True)
class Built:
    """An engine, whether it was made now (``built``) or found (``hit``), and its passport."""

    engine: EngineArtifact
    cache: str
    build_s: float
    passport: Passport

    def document(self) -> dict[str, object]:
        """As ``build --json`` prints it."""
        passport = self.passport
        return {
            "engine": str(self.engine.path),
            "runtime": self.engine.runtime,
            "runtime_version": self.engine.runtime_version,
            "precision": self.engine.precision,
            "device": self.engine.device,
            "cache": self.cache,
            "build_s": self.build_s,
            "size_mb": self.engine.size_mb,
            "layers": {
                "convolution_precision_pct": passport.precision_share_pct,
                "time_precision_pct": passport.time_share_pct,
                "kept": passport.kept,
                "dla_share_pct": passport.dla_share_pct,
            },
            "flags": list(passport.flags),
            "rms_error_pct": passport.rms_error_pct,
            "tried": [
                {"runtime": item.runtime, "passes": item.passes, "median_ms": item.median_ms, "refused": item.refused}
                for item in passport.tried
            ],
            "miou_drop": None if passport.drop is None else asdict(passport.drop),
            "performance_only": passport.performance_only,
            "notes": list(passport.notes),
        }


def build_engine(request: BuildRequest, output: Path | None, progress: Progress) -> Built:
    """Make the engine, or find it in the cache.

    Raises:
        InputFileError: not an ONNX file, one that the runtime cannot read, or one with weights outside; a calibration
            table that is damaged or of another network.
        UsageError: ``output`` is a folder or a device; INT8 without a table; mixed without data or a limit; open
            extents without a range of shapes, or one for what is fixed; an option that would have no effect.
        MissingCapability: the device or runtime lacks the precision, the runtime is not installed, or the place
            cannot be written.
        ToolFailed: no runtime computes in the precision that was asked for, or none computes rightly.
    """
    started = time.perf_counter()
    request = replace(request, profile=capability.resolved_profile(request.profile))
    _check_device(request)
    builder = choose_builder(request.profile, request.runtime)
    if builder is None:
        choose_runtime(request.profile, request.runtime, request.precision)
    _check_options(request, builder)
    onnx = onnx_path(FileSource(path=request.onnx), "espdeploy build")
    if builder is not None:
        head = read_head(onnx)
        if head.opset is not None:
            capability.check_opset(request.profile, head.opset, file=onnx)
        request = replace(request, options=resolved(request.options, onnx, head.inputs))
        _check_timing_cache(request, output)
    if output is not None:
        check_replaceable(output)
    final = output or cached_engine(request, onnx, builder)
    found = kept_engine(final) if output is None else None
    if found is not None:
        return _built(final, found, cache="hit", build_s=time.perf_counter() - started)
    from espdeploy.pipeline.building.build_anew import (
        build_anew,  # loads what only a build needs: a hit is there at once
    )

    with building(final, progress) as waited:
        found = kept_engine(final) if waited and output is None else None
        if found is not None:
            return _built(final, found, cache="hit", build_s=time.perf_counter() - started)
        with writing_to_cache() if output is None else contextlib.nullcontext():
            passport = build_anew(request, builder, final, progress)
    return _built(final, passport, cache="built", build_s=passport.build_s)


def _check_device(request: BuildRequest) -> None:
    """What the device cannot do, from its facts alone and before any slow work."""
    elsewhere = RTX in request.profile.runtimes and request.runtime in (None, RTX)
    capability.check(
        request.profile,
        precision=request.precision,
        dla=request.options.dla_core,
        level=request.options.optimization_level,
        compute_capability=request.compute_capability if elsewhere else None,
    )


def _check_timing_cache(request: BuildRequest, output: Path | None) -> None:
    named = request.options.timing_cache
    if named is None:
        return
    others = (request.onnx, request.calibration, output)
    if any(other is not None and named.resolve() == other.resolve() for other in others):
        raise UsageError(
            f"--timing-cache {named} is a file of this build already", do="name a file of its own; it is made"
        )
    check_named(named)


def _check_options(request: BuildRequest, builder: str | None) -> None:
    """What ``mixed`` needs, and what nothing else has a use for.

    Raises:
        UsageError: an option is missing, or would be ignored.
    """
    if request.compute_capability is not None and builder is None:
        raise UsageError(
            f"--compute-capability {request.compute_capability} would have no effect on {request.profile.name}",
            do="leave it away, or choose --device desktop --runtime tensorrt-rtx",
        )
    if request.options.given and builder is None:
        raise UsageError(
            f"{' and '.join(request.options.given)} would have no effect on {request.runtime or request.profile.name}",
            why="these are for builders of engines for NVIDIA GPUs: TensorRT, TensorRT-RTX and trtexec",
            do="leave them away, or choose a device with one (espdeploy devices)",
        )
    given = {"--max-drop-pct": request.max_drop_pct, "--data": request.data, "--labels": request.labels}
    if request.precision != "mixed":
        surplus = [flag for flag, value in given.items() if value is not None]
        if surplus:
            raise UsageError(
                f"{' and '.join(surplus)} would have no effect on {request.precision}",
                do="choose --precision mixed, or leave them away",
            )
        return
    missing = [flag for flag in ("--max-drop-pct", "--data") if given[flag] is None]
    if missing:
        raise UsageError(
            f"mixed needs {' and '.join(missing)}",
            why="it looks for the fastest engine that loses no more accuracy on these images than is allowed",
            do="add --max-drop-pct POINTS --data DIR --labels DIR",
        )
    if request.data is not None and request.max_drop_pct is not None:
        from espdeploy.pipeline.building.mixed import check_mixed

        check_mixed(request.data, request.labels, request.max_drop_pct)


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
    return Built(engine=artifact, cache=cache, build_s=build_s, passport=passport)
