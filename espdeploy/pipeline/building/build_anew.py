"""The slow way of ``espdeploy build``: the graph and its options checked, the engine made, its passport written."""

from __future__ import annotations

import shlex
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from espdeploy import __version__
from espdeploy.artifacts import atomic_path, sha256_of, utc_now
from espdeploy.backends.onnx_precision import declared, external_data
from espdeploy.devices.detect import detect
from espdeploy.errors import InputFileError, UsageError
from espdeploy.pipeline.building.build import BuildRequest
from espdeploy.pipeline.building.build_tensorrt import TensorRTMade, TensorRTRequest, make_tensorrt
from espdeploy.pipeline.building.build_trtexec import make_trtexec
from espdeploy.pipeline.building.builders import TRTEXEC
from espdeploy.pipeline.building.lower import table_for
from espdeploy.pipeline.building.making import Made, Making, make
from espdeploy.pipeline.building.onnx_head import OPEN, read_head
from espdeploy.pipeline.engine_files.engine_here import look
from espdeploy.pipeline.engine_files.passport import PASSPORT_SCHEMA, CalibrationOrigin, Passport, write_passport
from espdeploy.pipeline.machine import system_root
from espdeploy.protocols import BATCH, Dim, Progress
from espdeploy.quantize.table import CalibrationTable
from espdeploy.specs import Shape


def build_anew(request: BuildRequest, builder: str | None, final: Path, progress: Progress) -> Passport:
    """Make the engine ``final`` with its passport; ``builder`` builds for an NVIDIA GPU, None is for the processor.

    Raises:
        EspdeployError: as :func:`espdeploy.pipeline.building.build.build_engine` says.
    """
    started = time.perf_counter()
    _check_whole(request.onnx)
    _check_plain(request.onnx, request.precision)
    table = table_for(request.onnx, request.precision, request.calibration)
    with tempfile.TemporaryDirectory(prefix="espdeploy-build-") as folder:
        made = _made(request, builder, table, Path(folder), progress)
        if made.path.resolve() != final.resolve():
            with atomic_path(final) as temporary:
                shutil.copyfile(made.path, temporary)
        passport = _passport(request, made, table, final, build_s=time.perf_counter() - started)
        write_passport(passport, final)
    return passport


def _made(
    request: BuildRequest, builder: str | None, table: CalibrationTable | None, folder: Path, progress: Progress
) -> Made | TensorRTMade:
    if builder is None:
        return make(
            Making(
                onnx=request.onnx,
                profile=request.profile,
                precision=request.precision,
                runtime=request.runtime,
                table=table,
                max_drop_pct=request.max_drop_pct,
                data=request.data,
                labels=request.labels,
                folder=folder,
            ),
            progress,
        )
    make_engine = make_trtexec if builder == TRTEXEC else make_tensorrt
    return make_engine(
        TensorRTRequest(
            onnx=request.onnx,
            profile=request.profile,
            runtime=builder,
            precision=request.precision,
            table=table,
            compute_capability=request.compute_capability,
            options=request.options,
            max_drop_pct=request.max_drop_pct,
            data=request.data,
            labels=request.labels,
            folder=folder,
        ),
        progress,
    )


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
    if own in (None, "fp32") or own == precision == "bf16":
        return
    raise UsageError(
        f"{onnx} is written for {own} already",
        why="build lowers an FP32 graph itself",
        do="build the FP32 graph that it was made from; bench and eval take this file as it is",
    )


def _passport(
    request: BuildRequest, made: Made | TensorRTMade, table: CalibrationTable | None, final: Path, *, build_s: float
) -> Passport:
    head = read_head(request.onnx)
    plain = Passport(
        schema=PASSPORT_SCHEMA,
        sha256=sha256_of(final),
        onnx=request.onnx.name,
        onnx_sha256=sha256_of(request.onnx),
        device=request.profile.name,
        runtime=made.runtime,
        runtime_version=made.runtime_version,
        precision=request.precision,
        precision_share_pct=made.precision_share_pct,
        cpu=detect(system_root()).cpu_model,
        built=utc_now(),
        build_s=build_s,
        espdeploy_version=__version__,
        command=request.command,
        kept=dict(made.kept),
        calibration=_origin(request.calibration, table),
        drop=made.drop,
        notes=made.notes,
        card=head.card,
        inputs={name: _named(shape) for name, shape in head.inputs.items()},
    )
    return _with_gpu(plain, request, made) if isinstance(made, TensorRTMade) else _with_candidates(plain, made)


def _with_gpu(plain: Passport, request: BuildRequest, made: TensorRTMade) -> Passport:
    here = look(system_root())
    return replace(
        plain,
        gpu=here.gpu,
        compute_capability=request.compute_capability or here.compute_capability,
        tensorrt_version=made.runtime_version,
        l4t=here.machine.l4t,
        gpu_clock_mhz=here.gpu_clock_mhz,
        flags=made.flags,
        shapes=request.options.shapes,
        dla_core=request.options.dla_core,
        dla_share_pct=made.dla_share_pct,
    )


def _with_candidates(plain: Passport, made: Made) -> Passport:
    return replace(
        plain,
        passes=made.candidate.way.passes,
        rms_error_pct=made.candidate.rms_error_pct,
        time_share_pct=made.time_share_pct,
        tried=made.tried,
    )


def _named(shape: Shape) -> tuple[Dim, ...]:
    """An input's extents, the open ones with the names that runners have for them."""
    extents = enumerate(shape)
    return tuple(extent if extent != OPEN else BATCH if axis == 0 else f"dynamic_{axis}" for axis, extent in extents)


def _origin(path: Path | None, table: CalibrationTable | None) -> CalibrationOrigin | None:
    if path is None or table is None:
        return None
    return CalibrationOrigin(sha256=sha256_of(path), method=table.method, images=table.images, random=table.random)
