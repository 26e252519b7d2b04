"""What is asked of NVML, with a library in its place that answers as drivers do: old ones, mobile GPUs, a PC's."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import SimpleNamespace

import pytest

from espdeploy.devices import gpus


class NVMLError(Exception):
    """As nvidia-ml-py's."""


def library(**answers: object) -> SimpleNamespace:
    """An nvidia-ml-py of one GPU. A function that is not among the answers is absent; an exception is raised."""

    def answering(value: object) -> object:
        def call(*_: object) -> object:
            if isinstance(value, Exception):
                raise value
            return value

        return call

    always = {"nvmlInit": None, "nvmlShutdown": None, "nvmlDeviceGetCount": 1, "nvmlDeviceGetHandleByIndex": "handle"}
    functions = {name: answering(value) for name, value in {**always, **answers}.items()}
    spec = ModuleSpec("pynvml", None)
    return SimpleNamespace(__spec__=spec, NVMLError=NVMLError, NVML_CLOCK_SM=1, NVML_CLOCK_MEM=2, **functions)


def test_a_card_tells_cores_clocks_and_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = library(
        nvmlDeviceGetName="NVIDIA GeForce RTX 3090",
        nvmlDeviceGetCudaComputeCapability=(8, 6),
        nvmlDeviceGetMemoryInfo=SimpleNamespace(total=25_769_803_776),
        nvmlDeviceGetNumGpuCores=10496,
        nvmlDeviceGetMemoryBusWidth=384,
    )
    nvml.nvmlDeviceGetMaxClockInfo = lambda _, clock: {1: 1695, 2: 9751}[clock]
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert gpus.by_nvml() == (
        gpus.Gpu(
            index=0,
            name="NVIDIA GeForce RTX 3090",
            compute_capability="8.6",
            memory_total_mb=25_769.803776,
            cuda_cores=10496,
            sm_clock_max_mhz=1695,
            memory_clock_max_mhz=9751,
            memory_bus_bits=384,
        ),
    )


@pytest.mark.parametrize("unknown", [NVMLError("Not Supported"), 0, None])
def test_what_a_driver_does_not_tell_is_unknown_and_not_zero(
    unknown: Exception | int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = ("nvmlDeviceGetNumGpuCores", "nvmlDeviceGetMemoryBusWidth", "nvmlDeviceGetMaxClockInfo")
    nvml = library(
        nvmlDeviceGetName=b"GeForce MX",
        nvmlDeviceGetCudaComputeCapability=NVMLError("Not Supported"),
        nvmlDeviceGetMemoryInfo=NVMLError("Not Supported"),
        **({} if unknown is None else dict.fromkeys(silent, unknown)),  # None: an nvidia-ml-py without the functions
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    found = gpus.by_nvml()
    assert found == (gpus.Gpu(index=0, name="GeForce MX", compute_capability=None, memory_total_mb=None),)
