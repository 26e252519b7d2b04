"""NVIDIA's management library on desktops and servers: power, energy, clocks, load, throttle reasons, other programs.

Source: the NVML API reference: power in mW (averaged over a second on most GPUs from Ampere on), an energy counter in
mJ from Volta on, clocks in MHz, memory in bytes, and the bits of the clocks' event reasons. On a Jetson NVML starts and
then answers "not supported" to nearly everything, so each channel is tried once and left out where it fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from espdeploy import units
from espdeploy.errors import ToolFailed
from espdeploy.monitors.attributes import SILENT_S
from espdeploy.monitors.gpu_processes import Family, OtherProcesses
from espdeploy.monitors.sources import Unavailable
from espdeploy.protocols import Clock
from espdeploy.units import NS_PER_S, mb_from_bytes

_MILLI = 1_000
_BOARD_SENSORS = "use the board's own sensors: tegrastats, or INA3221 in /sys"
_NO_POWER = "this GPU has no power sensor that NVML reads; everything but power and energy is measured without one"
#: tries of 0.1 s in which an energy counter must move: it is renewed ten times a second or slower
_COUNTER_TRIES = 10
_TRY_S = 0.1
#: bits that lower a clock against what was asked for; left out: idle (1), a clock that the user set (2), a clock kept
#: equal among several GPUs (16), and the display's (256)
_THROTTLE_BITS = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "heat (software)",
    0x40: "heat (hardware)",
    0x80: "power brake",
    0x200: "board limit",
    0x400: "reliability limit",
}
_Call = Callable[[], float]


def find(nvml: Any, *, clock: Clock, index: int = 0, root: Path = Path("/")) -> NvmlMonitor | Unavailable:
    """A GPU's readings by NVML, each tried once.

    Args:
        nvml: the module ``pynvml`` (of nvidia-ml-py).
        clock: for the moments in which an energy counter must move.
        index: the GPU's number in NVML's order, which is that of the bus and not always CUDA's.
        root: where ``proc`` lies, for telling this process from others on the GPU.
    """
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return _not_started(nvml, error)
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        monitor = _tried(nvml, handle, clock=clock, root=root)
    except nvml.NVMLError as error:
        nvml.nvmlShutdown()
        return Unavailable(
            source="nvml", reason=f"NVML gives no GPU {index}: {error}", do="nvidia-smi -L lists the GPUs"
        )
    if isinstance(monitor, Unavailable):
        nvml.nvmlShutdown()
    return monitor


class NvmlMonitor:
    """A :class:`~espdeploy.protocols.Monitor` of one NVIDIA GPU. Those channels exist that the GPU answers.

    Channels: ``nvml_power_w``, ``nvml_energy_j`` (since the first reading), ``nvml_sm_clock_mhz``,
    ``nvml_memory_clock_mhz``, ``nvml_gpu_util_pct``, ``nvml_temp_c``, ``nvml_throttle_bits`` (a bit for each reason),
    ``nvml_memory_used_mb`` (the GPU's own), and once a second ``nvml_other_processes``, the programs that compute on it
    and are not ours. ``power_channel`` is None for a GPU that does not tell its power.
    """

    name = "nvml"
    period_s: float | None = None
    memory_used_channel: str | None = None  # the machine's memory is another one

    def __init__(
        self, nvml: Any, calls: Mapping[str, _Call], *, name: str, others: OtherProcesses | None, clock: Clock
    ) -> None:
        self.rails = (name,)
        self._nvml = nvml
        self._calls = dict(calls)
        self._others = others
        self._clock = clock
        self._answered_ns = clock.now_ns()
        self._first_mj: float | None = None
        self.power_channel = self._if_there("nvml_power_w")
        self.energy_channel = self._if_there("nvml_energy_j")
        self.gpu_util_channel = self._if_there("nvml_gpu_util_pct")
        self.gpu_freq_channel = self._if_there("nvml_sm_clock_mhz")
        self.gpu_memory_used_channel = self._if_there("nvml_memory_used_mb")
        self.temperature_channels = ("nvml_temp_c",) if "nvml_temp_c" in calls else ()

    def read(self) -> Mapping[str, float | None]:
        """The current values; None for one that failed this time.

        Raises:
            ToolFailed: the GPU is lost, or nothing has been answered for 3 s.
        """
        now_ns = self._clock.now_ns()
        values = {channel: self._value(call) for channel, call in self._calls.items()}
        if any(value is not None for value in values.values()):
            self._answered_ns = now_ns
        elif now_ns - self._answered_ns >= SILENT_S * NS_PER_S:
            raise ToolFailed(f"NVML has answered nothing for {SILENT_S:g} s", do="nvidia-smi, then espdeploy doctor")
        if self.energy_channel is not None:
            values[self.energy_channel] = self._energy_j(values[self.energy_channel])
        if self._others is not None and self._others.is_due(now_ns):
            values["nvml_other_processes"] = self._others.count(now_ns)
        return values

    def throttle_reasons(self, readings: Mapping[str, Sequence[float | None]]) -> tuple[str, ...] | None:
        """Why the GPU lowered its clocks, by readings over a run; None where it does not tell."""
        if "nvml_throttle_bits" not in self._calls:
            return None
        seen = 0
        for bits in readings.get("nvml_throttle_bits", ()):
            seen |= 0 if bits is None else int(bits)
        return tuple(text for bit, text in _THROTTLE_BITS.items() if seen & bit)

    def competing_processes(self) -> tuple[str, ...]:
        """The programs of others that computed on the GPU at any reading: ``python3 (pid 4711)``."""
        return () if self._others is None else self._others.seen

    def probe_text(self) -> str:
        """One live reading for people: ``NVIDIA H100: 71.2 W, SM 1,980 MHz, 34 °C``."""
        values = self.read()
        shown = (
            ("nvml_power_w", "{} W"),
            ("nvml_sm_clock_mhz", "SM {} MHz"),
            ("nvml_gpu_util_pct", "{} % load"),
            ("nvml_temp_c", "{} °C"),
        )
        parts = [text.format(units.significant(values[channel])) for channel, text in shown if channel in values]
        return f"{self.rails[0]}: {', '.join(parts)}"

    def close(self) -> None:
        """Let go of NVML. The monitor reads nothing after it."""
        self._nvml.nvmlShutdown()

    def _if_there(self, channel: str) -> str | None:
        return channel if channel in self._calls else None

    def _value(self, call: _Call) -> float | None:
        try:
            return call()
        except self._nvml.NVMLError as error:
            if error.value in (self._nvml.NVML_ERROR_GPU_IS_LOST, self._nvml.NVML_ERROR_UNINITIALIZED):
                raise ToolFailed("the GPU went away during the run", why=str(error), do="nvidia-smi") from error
            return None

    def _energy_j(self, now_mj: float | None) -> float | None:
        if now_mj is None:
            return None
        if self._first_mj is None:
            self._first_mj = now_mj
        if now_mj < self._first_mj:
            raise ToolFailed(
                "the GPU's energy counter went back during the run",
                why="it starts over when the driver is loaded anew",
                do="sudo nvidia-smi -pm 1 keeps it loaded; repeat",
            )
        return (now_mj - self._first_mj) / _MILLI


def _tried(nvml: Any, handle: object, *, clock: Clock, root: Path) -> NvmlMonitor | Unavailable:
    name = nvml.nvmlDeviceGetName(handle)
    name = name.decode() if isinstance(name, bytes) else str(name)  # bytes up to nvidia-ml-py 11
    calls: dict[str, _Call] = {}
    refusals: list[Exception] = []
    for channel, candidates in _questions(nvml, handle).items():
        call = _first_that_answers(nvml, candidates, refusals)
        if call is not None:
            calls[channel] = call
    if not calls:
        return _answers_nothing(nvml, name, refusals)
    if "nvml_energy_j" in calls and not _counts(calls["nvml_energy_j"], clock):
        del calls["nvml_energy_j"]
    if "nvml_power_w" in calls and calls["nvml_power_w"]() <= 0:  # a GPU that runs takes some
        del calls["nvml_power_w"]
    others = OtherProcesses(lambda: nvml.nvmlDeviceGetComputeRunningProcesses(handle), nvml.NVMLError, Family(root))
    return NvmlMonitor(nvml, calls, name=name, others=others if others.answers() else None, clock=clock)


def _questions(nvml: Any, handle: object) -> dict[str, list[_Call]]:
    """For each channel the calls that could answer it, older drivers' ones last."""

    def ask(function: str, *more: object) -> _Call:
        return lambda: getattr(nvml, function)(handle, *more)

    return {
        "nvml_power_w": [lambda: nvml.nvmlDeviceGetPowerUsage(handle) / _MILLI],
        "nvml_energy_j": [ask("nvmlDeviceGetTotalEnergyConsumption")],
        "nvml_sm_clock_mhz": [ask("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_SM)],
        "nvml_memory_clock_mhz": [ask("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_MEM)],
        "nvml_gpu_util_pct": [lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu],
        "nvml_temp_c": [
            ask("nvmlDeviceGetTemperatureV", nvml.NVML_TEMPERATURE_GPU),
            ask("nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU),
        ],
        "nvml_throttle_bits": [
            ask("nvmlDeviceGetCurrentClocksEventReasons"),
            ask("nvmlDeviceGetCurrentClocksThrottleReasons"),
        ],
        "nvml_memory_used_mb": [lambda: mb_from_bytes(nvml.nvmlDeviceGetMemoryInfo(handle).used)],
    }


def _first_that_answers(nvml: Any, candidates: Sequence[_Call], refusals: list[Exception]) -> _Call | None:
    for call in candidates:
        try:
            call()
        except (nvml.NVMLError, AttributeError) as error:  # an older nvidia-ml-py has no such function
            refusals.append(error)
        else:
            return call
    return None


def _counts(energy_mj: _Call, clock: Clock) -> bool:
    """Whether the counter moves: one that stands still would make every run cost nothing."""
    before = energy_mj()
    for _ in range(_COUNTER_TRIES):
        clock.sleep_s(_TRY_S)
        if energy_mj() > before:
            return True
    return False


def _answers_nothing(nvml: Any, name: str, refusals: Sequence[Exception]) -> Unavailable:
    if any(getattr(error, "value", None) == nvml.NVML_ERROR_NO_PERMISSION for error in refusals):
        return Unavailable(
            source="nvml",
            reason=f"this user may not read the {name} by NVML",
            do="run as root, or add the user to the group of /dev/nvidia* (ls -l /dev/nvidia0)",
        )
    reason = f'NVML starts for the {name} and then answers "not supported" to everything, as on a Jetson'
    return Unavailable(source="nvml", reason=reason, do=_BOARD_SENSORS)


def _not_started(nvml: Any, error: Any) -> Unavailable:
    advice = {
        nvml.NVML_ERROR_LIBRARY_NOT_FOUND: "install NVIDIA's driver; in a container: --gpus all",
        nvml.NVML_ERROR_DRIVER_NOT_LOADED: "sudo modprobe nvidia",
        nvml.NVML_ERROR_NO_PERMISSION: "add the user to the group of /dev/nvidiactl (ls -l /dev/nvidiactl)",
        nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "restart the machine: the driver was updated under way",
    }
    do = advice.get(error.value, "nvidia-smi says more")
    return Unavailable(source="nvml", reason=f"NVML does not start: {error}", do=do)
