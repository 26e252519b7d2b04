"""Failures of the machine: memory, driver, missing hardware, the disk."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from espdeploy.backends.trtexec.case import Case, Diagnosis
from espdeploy.backends.trtexec.plan import Plan
from espdeploy.errors import EspdeployError, MissingCapability, ToolFailed
from espdeploy.units import BYTES_PER_MB

_KILLED, _CRASHED = (-9, 137), (-11, 139, -6, 134)
_FULL_BELOW_MB = 64
_MAKE_ROOM = (
    "close other programs and the desktop (sudo systemctl isolate multi-user), take a smaller workspace, "
    "or add a swap file of 4 GB in place of nvzramconfig"
)


def killed(case: Case) -> Diagnosis | None:
    """SIGKILL from nowhere: on a board that is the kernel, out of memory."""
    if case.returncode not in _KILLED:
        return None
    error = MissingCapability(
        f"{case.who} was killed while it worked on {case.engine}: out of memory",
        why=case.memory,
        do=_MAKE_ROOM,
    )
    return Diagnosis(code="out-of-memory", error=error)


def gpu_memory(case: Case) -> Diagnosis | None:
    """An allocation on the GPU that failed; on a Jetson it is the same memory as the processor's."""
    pattern = (
        r"Cuda Runtime \(out of memory\)|OutOfMemory \(|Requested size was (?P<size>\d+) bytes|NvMapMemAlloc\w*"
        r"|std::bad_alloc|CUDA_ERROR_OUT_OF_MEMORY|Cuda failure: out of memory"
    )
    if not re.search(pattern, case.text):
        return None
    size = re.search(r"Requested size was (\d+) bytes", case.text)
    asked = f", which asked for {int(size[1]) / BYTES_PER_MB:,.1f} MB" if size else ""
    error = MissingCapability(
        f"no memory left on the GPU for {case.who}{asked}", why=case.memory, do=f"{_MAKE_ROOM}; or a smaller batch"
    )
    return Diagnosis(code="out-of-gpu-memory", error=error)


def crashed(case: Case) -> Diagnosis | None:
    """A segmentation fault or an abort."""
    if case.returncode not in _CRASHED:
        return None
    error = ToolFailed(
        f"{case.who} crashed (exit code {case.returncode}) on {case.engine}",
        why=case.memory,
        do="try with more free memory or a newer TensorRT; run it by hand with --verbose to see where",
    )
    return Diagnosis(code="crashed", error=error)


def no_driver(case: Case) -> Diagnosis | None:
    """No GPU, no driver, or one too old for this CUDA."""
    pattern = (
        r"no CUDA-capable device is detected|driver version is insufficient|CUDA initialization failure"
        r"|CUDA_ERROR_NO_DEVICE|libcuda\.so[.\d]*: cannot open|Cannot find any.{0,20}CUDA device"
        r"|Cuda failure: (?!out of memory)[^\n]*|invalid device ordinal"
    )
    match = re.search(pattern, case.text)
    if match is None:
        return None
    error = MissingCapability(
        f"{case.who} finds no GPU that it can use",
        why=match[0].strip()[:150],
        do="check the driver (nvidia-smi, or on a Jetson ls /dev/nvhost-gpu); in a container pass --runtime nvidia",
    )
    return Diagnosis(code="no-gpu", error=error)


def no_hardware(case: Case) -> Diagnosis | None:
    """A precision without instructions for it; TensorRT only warns of that, and passes."""
    match = re.search(r"(?P<what>Int8|FP16|Half2) support requested on hardware without native", case.text)
    if match is None:
        return None
    name = "INT8" if match["what"] == "Int8" else "FP16"
    error = MissingCapability(
        f"this GPU has no fast {name}",
        why="TensorRT would run it slower than what it stands for, and only warn",
        do="choose --precision fp16 or fp32" if name == "INT8" else "choose --precision fp32",
    )
    return Diagnosis(code="no-precision", error=error)


def no_dla(case: Case) -> Diagnosis | None:
    """A DLA core that is not there."""
    match = re.search(r"Cannot create DLA engine, (\d+) not available", case.text)
    if match is None:
        return None
    error = MissingCapability(
        f"this device has no DLA core {match[1]}", do="choose core 0 where there is a DLA, or build for the GPU"
    )
    return Diagnosis(code="no-dla", error=error)


def not_saved(case: Case) -> Diagnosis | None:
    """An engine that could not be written, or read back."""
    pattern = (
        r"Saving engine to file failed|Cannot open engine file|No space left on device"
        r"|Error when reading engine file|Failed to open engine file for reading"
    )
    if not re.search(pattern, case.text):
        return None
    return Diagnosis(code="not-saved", error=cannot_save(case.plan))


def cannot_save(plan: Plan | None) -> EspdeployError:
    """The error for an engine that could not be written; the tool never says why."""
    engine = plan.engine if plan else Path("the engine")
    free_mb = _free_mb(engine.parent)
    room = "" if free_mb is None else f"{free_mb:,.0f} MB are free in {engine.parent}"
    what = "the disk is full" if free_mb is not None and free_mb < _FULL_BELOW_MB else "the tool could not write it"
    return MissingCapability(
        f"cannot save {engine}: {what}",
        why=room,
        do="make room or choose another place with -o, and check its permissions",
    )


def _free_mb(folder: Path) -> float | None:
    try:
        return shutil.disk_usage(folder).free / BYTES_PER_MB
    except OSError:
        return None
