"""``espdeploy build``: an ONNX file becomes an engine that is proven and measured here, with a passport."""

from __future__ import annotations

import contextlib
import shlex
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from espdeploy import __version__, units
from espdeploy.artifacts import EngineArtifact, check_replaceable, sha256_of, utc_now
from espdeploy.backends.onnx_precision import declared, external_data
from espdeploy.backends.source import FileSource, onnx_path
from espdeploy.devices.detect import detect
from espdeploy.errors import InputFileError, UsageError
from espdeploy.pipeline.build_cache import cached_engine, kept_engine
from espdeploy.pipeline.cache import writing_to_cache
from espdeploy.pipeline.lower import QUANTIZED, table_for
from espdeploy.pipeline.making import Made, Making, make
from espdeploy.pipeline.mixed import check_mixed
from espdeploy.pipeline.opening import check_precision, choose_runtime
from espdeploy.pipeline.passport import PASSPORT_SCHEMA, CalibrationOrigin, Passport, write_passport
from espdeploy.protocols import Progress
from espdeploy.quantize.table import CalibrationTable
from espdeploy.specs import DeviceProfile


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """Which engine is wanted. The last three are for ``mixed``: how many mIOU points it may lose, and on what."""

    onnx: Path
    profile: DeviceProfile
    precision: str
    runtime: str | None
    calibration: Path | None = None
    max_drop_pct: float | None = None
    data: Path | None = None
    labels: Path | None = None
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
            },
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
        UsageError: ``output`` is a folder or a device; INT8 without a table; mixed without data or a limit.
        MissingCapability: the device or runtime lacks the precision, the runtime is not installed, or the place
            cannot be written.
        ToolFailed: no runtime computes in the precision that was asked for, or none computes rightly.
    """
    started = time.perf_counter()
    check_precision(request.profile, request.precision)
    choose_runtime(request.profile, request.runtime, request.precision)
    _check_options(request)
    onnx = onnx_path(FileSource(path=request.onnx), "espdeploy build")
    if output is not None:
        check_replaceable(output)
    _check_whole(onnx)
    _check_plain(onnx, request.precision)
    table = table_for(onnx, request.precision, request.calibration)
    final = output or cached_engine(request, onnx)
    found = kept_engine(final) if output is None else None
    if found is not None:
        return _built(final, found, cache="hit", build_s=time.perf_counter() - started)
    with tempfile.TemporaryDirectory(prefix="espdeploy-build-") as folder:
        making = Making(
            onnx=onnx,
            profile=request.profile,
            precision=request.precision,
            runtime=request.runtime,
            table=table,
            max_drop_pct=request.max_drop_pct,
            data=request.data,
            labels=request.labels,
            folder=Path(folder),
        )
        made = make(making, progress)
        with writing_to_cache() if output is None else contextlib.nullcontext():
            made.write(final)
            passport = _passport(request, made, table, final, build_s=time.perf_counter() - started)
            write_passport(passport, final)
    return _built(final, passport, cache="built", build_s=passport.build_s)


def _check_options(request: BuildRequest) -> None:
    """What ``mixed`` needs, and what nothing else has a use for.

    Raises:
        UsageError: an option is missing, or would be ignored.
    """
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
        check_mixed(request.data, request.labels, request.max_drop_pct)


def _check_whole(onnx: Path) -> None:
    """An engine is one file that can be moved, and its SHA-256 must stand for its weights too."""
    location = external_data(onnx)
    if location is not None:
        raise InputFileError(
            f"{onnx} keeps weights outside, in {location}",
            why="an engine is one file; it would end where that file is changed or left behind",
            do=f"espdeploy export --model {shlex.quote(str(onnx))} -o FILE.onnx writes one file; build that",
        )


def _check_plain(onnx: Path, precision: str) -> None:
    """A graph that was lowered before is built as what it is, and lowered no further."""
    own = declared(onnx)
    if own is None or (own in ("fp32", precision) and not (own in QUANTIZED or own == "fp16")):
        return
    if own in ("fp32", "fp64"):
        return
    raise UsageError(
        f"{onnx} is written for {own} already",
        why="build lowers an FP32 graph itself",
        do="build the FP32 graph that it was made from; bench and eval take this file as it is",
    )


def _passport(
    request: BuildRequest, made: Made, table: CalibrationTable | None, final: Path, *, build_s: float
) -> Passport:
    facts = made.candidate.facts
    return Passport(
        schema=PASSPORT_SCHEMA,
        sha256=sha256_of(final),
        onnx=request.onnx.name,
        onnx_sha256=sha256_of(request.onnx),
        device=request.profile.name,
        runtime=facts.runtime,
        runtime_version=facts.runtime_version,
        precision=request.precision,
        precision_share_pct=dict(facts.precision_share_pct) if facts.precision_share_pct else None,
        cpu=detect().cpu_model,
        built=utc_now(),
        build_s=build_s,
        espdeploy_version=__version__,
        command=request.command,
        passes=made.candidate.way.passes,
        rms_error_pct=made.candidate.rms_error_pct,
        time_share_pct=made.time_share_pct,
        tried=made.tried,
        kept=dict(made.kept),
        calibration=_origin(request.calibration, table),
        drop=made.drop,
        notes=made.notes,
    )


def _origin(path: Path | None, table: CalibrationTable | None) -> CalibrationOrigin | None:
    if path is None or table is None:
        return None
    return CalibrationOrigin(sha256=sha256_of(path), method=table.method, images=table.images, random=table.random)


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
