"""NVIDIA's driver and the GPUs behind it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from espdeploy import lazy
from espdeploy.devices.files import text_of
from espdeploy.units import mb_from_bytes

_VERSION = re.compile(r"Kernel Module(?:\s+for\s+\S+)?\s+(\d+(?:\.\d+)+)")


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU as NVML describes it; clocks are the highest it is allowed. None: NVML does not tell."""

    index: int
    name: str
    compute_capability: str | None
    memory_total_mb: float | None
    cuda_cores: int | None = None
    sm_clock_max_mhz: float | None = None
    memory_clock_max_mhz: float | None = None
    memory_bus_bits: int | None = None


def driver_version(root: Path) -> str | None:
    """The version of NVIDIA's kernel driver that is loaded; None where none is."""
    match = _VERSION.search(text_of(root / "proc/driver/nvidia/version") or "")
    return match[1] if match else None


def driver_is_there(root: Path) -> bool:
    """Whether NVIDIA's driver is loaded here, or lies under WSL 2, where it has no file in /proc."""
    return (root / "proc/driver/nvidia/version").exists() or (root / "dev/dxg").exists()


def by_nvml() -> tuple[Gpu, ...] | None:
    """The GPUs by NVML, in its order; None where nvidia-ml-py is not installed or NVML does not start.

    Not for a Jetson, where NVML starts and then answers "not supported" to everything.
    """
    if not lazy.available("pynvml"):
        return None
    nvml = lazy.require("pynvml", extra="nvml")
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return None
    try:
        return tuple(_gpu(nvml, index) for index in range(nvml.nvmlDeviceGetCount()))
    except nvml.NVMLError:
        return None
    finally:
        nvml.nvmlShutdown()


def _gpu(nvml: ModuleType, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    name = nvml.nvmlDeviceGetName(handle)
    return Gpu(
        index=index,
        name=name.decode() if isinstance(name, bytes) else name,  # bytes up to nvidia-ml-py 11
        compute_capability=_capability(nvml, handle),
        memory_total_mb=_memory_mb(nvml, handle),
        cuda_cores=_asked(nvml, "nvmlDeviceGetNumGpuCores", handle),
        sm_clock_max_mhz=_asked(nvml, "nvmlDeviceGetMaxClockInfo", handle, nvml.NVML_CLOCK_SM),
        memory_clock_max_mhz=_asked(nvml, "nvmlDeviceGetMaxClockInfo", handle, nvml.NVML_CLOCK_MEM),
        memory_bus_bits=_asked(nvml, "nvmlDeviceGetMemoryBusWidth", handle),
    )


def _asked(nvml: ModuleType, question: str, *about: object) -> int | None:
    """The answer of one NVML function; None where this GPU, driver or nvidia-ml-py has none."""
    try:
        return int(getattr(nvml, question)(*about)) or None
    except (nvml.NVMLError, AttributeError):
        return None


def _capability(nvml: ModuleType, handle: object) -> str | None:
    try:
        major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    except nvml.NVMLError:
        return None
    return f"{major}.{minor}"


def _memory_mb(nvml: ModuleType, handle: object) -> float | None:
    """None where the GPU shares the machine's memory, which NVML then does not tell."""
    try:
        return mb_from_bytes(nvml.nvmlDeviceGetMemoryInfo(handle).total)
    except nvml.NVMLError:
        return None
