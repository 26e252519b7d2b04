"""NVML as its API reference describes it, with the error classes of nvidia-ml-py itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from espdeploy.errors import ToolFailed
from espdeploy.monitors.nvml import NvmlMonitor, find
from espdeploy.monitors.sources import Unavailable

pynvml = pytest.importorskip("pynvml")


class Gpu:
    """A GPU behind NVML: an answer by function, an error code, or a function that older drivers lack.

    Its energy counter grows with the clock, at the power that it tells.
    """

    def __init__(self, clock: Any, **answers: object) -> None:
        self.clock = clock
        self.started = 0
        self.init_error: int | None = None
        self.base_mj = 5_000_000
        self.milliwatts = 70_000
        self.answers: dict[str, object] = {
            "nvmlDeviceGetPowerUsage": lambda: self.milliwatts,
            "nvmlDeviceGetTotalEnergyConsumption": lambda: self.base_mj + self.milliwatts * clock.now_ns() // 10**9,
            "nvmlDeviceGetClockInfo": 1980,
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=37, memory=12),
            "nvmlDeviceGetTemperatureV": 34,
            "nvmlDeviceGetCurrentClocksEventReasons": 0,
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=85_000_000_000, used=620_000_000, free=0),
            "nvmlDeviceGetComputeRunningProcesses": [],
            "nvmlDeviceGetName": "NVIDIA H100",
            **answers,
        }

    def refuse_all(self, code: int, *, but: tuple[str, ...] = ("nvmlDeviceGetName",)) -> None:
        self.answers = {name: answer if name in but else Refuses(code) for name, answer in self.answers.items()}

    def nvmlInit(self) -> None:  # noqa: N802  # NVML's own name
        if self.init_error is not None:
            raise pynvml.NVMLError(self.init_error)
        self.started += 1

    def nvmlShutdown(self) -> None:  # noqa: N802  # NVML's own name
        self.started -= 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> object:  # noqa: N802  # NVML's own name
        if index:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return self

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("nvmlDevice"):
            return getattr(pynvml, name)
        if name not in self.answers:
            return Refuses(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
        answer = self.answers[name]
        return answer if isinstance(answer, Refuses) else lambda *_: answer() if callable(answer) else answer


class Refuses:
    def __init__(self, code: int) -> None:
        self.code = code

    def __call__(self, *_: object) -> None:
        raise pynvml.NVMLError(self.code)


def found(gpu: Gpu, root: Path = Path("/")) -> NvmlMonitor:
    monitor = find(gpu, clock=gpu.clock, root=root)
    assert isinstance(monitor, NvmlMonitor), monitor
    return monitor


def refused(gpu: Gpu, **how: Any) -> Unavailable:
    monitor = find(gpu, clock=gpu.clock, **how)
    assert isinstance(monitor, Unavailable)
    assert gpu.started == 0  # NVML is let go of
    return monitor


@pytest.fixture
def gpu(clock) -> Gpu:
    return Gpu(clock)


def test_a_data_centre_gpu(gpu: Gpu) -> None:
    monitor = found(gpu)
    assert monitor.read() == {
        "nvml_power_w": 70.0,
        "nvml_energy_j": 0.0,
        "nvml_sm_clock_mhz": 1980,
        "nvml_memory_clock_mhz": 1980,
        "nvml_gpu_util_pct": 37,
        "nvml_temp_c": 34,
        "nvml_throttle_bits": 0,
        "nvml_memory_used_mb": 620.0,
        "nvml_other_processes": 0,
    }
    gpu.clock.sleep_s(2.0)
    assert monitor.read()["nvml_energy_j"] == pytest.approx(140.0)
    assert (monitor.power_channel, monitor.energy_channel) == ("nvml_power_w", "nvml_energy_j")
    assert monitor.probe_text() == "NVIDIA H100: 70 W, SM 1,980 MHz, 37 % load, 34 °C"
    monitor.close()
    assert gpu.started == 0


def test_before_volta_there_is_power_and_no_counter(gpu: Gpu) -> None:
    gpu.answers["nvmlDeviceGetTotalEnergyConsumption"] = Refuses(pynvml.NVML_ERROR_NOT_SUPPORTED)
    monitor = found(gpu)
    assert (monitor.power_channel, monitor.energy_channel) == ("nvml_power_w", None)
    assert "nvml_energy_j" not in monitor.read()


def test_a_counter_that_stands_still_is_not_used(gpu: Gpu) -> None:
    gpu.answers["nvmlDeviceGetTotalEnergyConsumption"] = 123_456
    assert found(gpu).energy_channel is None


def test_a_power_of_nothing_is_no_reading(gpu: Gpu) -> None:
    gpu.answers["nvmlDeviceGetPowerUsage"] = 0
    gpu.answers["nvmlDeviceGetTotalEnergyConsumption"] = 0
    monitor = found(gpu)
    assert (monitor.power_channel, monitor.energy_channel) == (None, None)


def test_an_older_driver_answers_older_questions(gpu: Gpu) -> None:
    del gpu.answers["nvmlDeviceGetTemperatureV"], gpu.answers["nvmlDeviceGetCurrentClocksEventReasons"]
    gpu.answers |= {"nvmlDeviceGetTemperature": 61, "nvmlDeviceGetCurrentClocksThrottleReasons": 4}
    values = found(gpu).read()
    assert (values["nvml_temp_c"], values["nvml_throttle_bits"]) == (61, 4)


def test_on_a_jetson_nvml_starts_and_answers_nothing(gpu: Gpu) -> None:
    gpu.answers["nvmlDeviceGetName"] = b"Orin (nvgpu)"
    gpu.refuse_all(pynvml.NVML_ERROR_NOT_SUPPORTED)
    absent = refused(gpu)
    assert "starts for the Orin (nvgpu)" in absent.reason
    assert "tegrastats" in absent.do


def test_without_permission_the_user_is_told_whom_to_ask(gpu: Gpu) -> None:
    gpu.refuse_all(pynvml.NVML_ERROR_NO_PERMISSION)
    absent = refused(gpu)
    assert "may not read" in absent.reason
    assert "root" in absent.do


@pytest.mark.parametrize(
    ("code", "do"),
    [
        (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, "--gpus all"),
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "modprobe"),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "restart"),
        (pynvml.NVML_ERROR_NO_PERMISSION, "/dev/nvidiactl"),
        (pynvml.NVML_ERROR_UNKNOWN, "nvidia-smi"),
    ],
)
def test_nvml_that_does_not_start(gpu: Gpu, code: int, do: str) -> None:
    gpu.init_error = code
    assert do in refused(gpu).do


def test_a_number_that_no_gpu_has(gpu: Gpu) -> None:
    assert "no GPU 3" in refused(gpu, index=3).reason


def test_throttle_reasons_are_those_that_take_speed_away(gpu: Gpu) -> None:
    monitor = found(gpu)
    assert monitor.throttle_reasons({"nvml_throttle_bits": [0, 1, 2, None, 0x100]}) == ()
    reasons = monitor.throttle_reasons({"nvml_throttle_bits": [pynvml.nvmlClocksEventReasonSwPowerCap, 0x40, 0]})
    assert reasons == ("power cap", "heat (hardware)")
    gpu.refuse_all(pynvml.NVML_ERROR_NOT_SUPPORTED, but=("nvmlDeviceGetName", "nvmlDeviceGetPowerUsage"))
    assert found(gpu).throttle_reasons({}) is None


def test_a_failed_answer_is_unknown_and_silence_is_an_error(gpu: Gpu) -> None:
    monitor = found(gpu)
    gpu.answers["nvmlDeviceGetPowerUsage"] = Refuses(pynvml.NVML_ERROR_UNKNOWN)
    assert monitor.read()["nvml_power_w"] is None
    gpu.refuse_all(pynvml.NVML_ERROR_TIMEOUT)
    gpu.clock.sleep_s(2.9)
    assert set(monitor.read().values()) == {None}
    gpu.clock.sleep_s(0.2)
    with pytest.raises(ToolFailed, match="answered nothing"):
        monitor.read()


def test_a_lost_gpu_and_a_driver_that_was_loaded_anew_end_the_run(gpu: Gpu) -> None:
    monitor = found(gpu)
    monitor.read()
    gpu.base_mj = 0
    with pytest.raises(ToolFailed, match="went back"):
        monitor.read()
    gpu.refuse_all(pynvml.NVML_ERROR_GPU_IS_LOST)
    with pytest.raises(ToolFailed, match="went away"):
        monitor.read()


@pytest.fixture
def process(tmp_path: Path) -> Callable[..., None]:
    def made(pid: int, parent: int, name: str) -> None:
        folder = tmp_path / "proc" / str(pid)
        folder.mkdir(parents=True)
        (folder / "comm").write_text(f"{name}\n")
        (folder / "stat").write_text(f"{pid} ({name}) S {parent} {pid} 1 0 -1 4194560 5 0\n")

    return made


def test_other_programs_on_the_gpu_are_told_from_ours(gpu: Gpu, tmp_path: Path, process: Callable[..., None]) -> None:
    me, child, other = os.getpid(), os.getpid() + 100_000, os.getpid() + 200_000
    process(me, 1, "espdeploy")
    process(child, me, "trtexec) R (")  # a name that looks like the fields after it
    process(other, 1, "train.py")
    gpu.answers["nvmlDeviceGetComputeRunningProcesses"] = [SimpleNamespace(pid=pid) for pid in (me, child, other)]
    monitor = found(gpu, tmp_path)
    assert monitor.read()["nvml_other_processes"] == 1
    gpu.answers["nvmlDeviceGetComputeRunningProcesses"] = [SimpleNamespace(pid=me)]
    gpu.clock.sleep_s(0.5)
    assert "nvml_other_processes" not in monitor.read()  # listing them costs most: once a second
    gpu.clock.sleep_s(0.5)
    assert monitor.read()["nvml_other_processes"] == 0
    assert monitor.competing_processes() == (f"train.py (pid {other})",)


def test_in_a_container_the_numbers_are_the_hosts_and_nothing_is_claimed(gpu: Gpu, tmp_path: Path) -> None:
    gpu.answers["nvmlDeviceGetComputeRunningProcesses"] = [SimpleNamespace(pid=os.getpid() + 300_000)]
    monitor = found(gpu, tmp_path)
    assert monitor.read()["nvml_other_processes"] is None
    assert monitor.competing_processes() == ()
