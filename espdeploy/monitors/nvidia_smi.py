"""nvidia-smi beside the run, for machines where NVML's Python package is not installed.

It prints a row per period. Its power is what NVML gives: averaged over a second on most GPUs from Ampere on.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence

from espdeploy import units
from espdeploy.errors import MissingCapability
from espdeploy.monitors.sources import Unavailable
from espdeploy.monitors.streamed import Stream
from espdeploy.protocols import Clock
from espdeploy.readings.nvidia_smi import GpuRow, Header, read_header, read_row, split_cells
from espdeploy.units import MS_PER_S

_PROGRAM = "nvidia-smi"
_QUERY = "index,name,power.draw,utilization.gpu,clocks.sm,memory.used,temperature.gpu"
#: channels by the field of a row
_CHANNELS = {
    "power_w": "nvidia_smi_power_w",
    "util_pct": "nvidia_smi_gpu_util_pct",
    "sm_clock_mhz": "nvidia_smi_sm_clock_mhz",
    "memory_used_mb": "nvidia_smi_memory_used_mb",
    "temp_c": "nvidia_smi_temp_c",
}
_DO = "nvidia-smi shows what the driver says; on a Jetson use tegrastats"


def find(
    *, clock: Clock, period_s: float = 0.1, index: int = 0, within_s: float = 15.0
) -> NvidiaSmiMonitor | Unavailable:
    """A running nvidia-smi, its first row read.

    Args:
        clock: what its rows are dated by.
        period_s: how often it is to print.
        index: the GPU's number in the driver's order, which is that of the bus and not always CUDA's.
        within_s: how long its first row is waited for: a driver that is not kept loaded takes seconds to start.
    """
    program = shutil.which(_PROGRAM)
    if program is None:
        return _unavailable("there is no nvidia-smi on PATH", do="install NVIDIA's driver, which brings it")
    argv = (program, f"--query-gpu={_QUERY}", "--format=csv,nounits", f"--id={index}", f"--loop-ms={_ms(period_s)}")
    try:
        stream = Stream(argv, read=_Rows().read, period_s=period_s, clock=clock)
    except MissingCapability as error:
        return _unavailable(error.what, do=error.do)
    rows = stream.first(1, within_s=within_s + period_s)
    told = [field for field in _CHANNELS if rows and getattr(rows[0], field) is not None]
    if not told:
        reason = "prints rows without any value" if rows else f"tells nothing: {stream.why_silent()}"
        stream.child.stop()
        return _unavailable(f"{program} {reason}", do=_DO)
    return NvidiaSmiMonitor(stream, rows[0], told, period_s=period_s)


class NvidiaSmiMonitor:
    """A :class:`~espdeploy.protocols.Monitor` of the rows that nvidia-smi prints, dated to when each arrived.

    Channels, of those that the GPU tells: ``nvidia_smi_power_w``, ``nvidia_smi_gpu_util_pct``,
    ``nvidia_smi_sm_clock_mhz``, ``nvidia_smi_memory_used_mb`` (the GPU's own) and ``nvidia_smi_temp_c``.
    ``power_channel`` is None for a GPU that does not tell its power.
    """

    name = _PROGRAM
    energy_channel: str | None = None
    memory_used_channel: str | None = None  # the machine's memory is another one

    def __init__(self, stream: Stream[GpuRow], first: GpuRow, told: Sequence[str], *, period_s: float) -> None:
        self._stream = stream
        self._newest = first
        self._told = tuple(told)
        self.rails = (first.name or "GPU",)
        self.period_s: float | None = period_s
        self.power_channel = self._if_told("power_w")
        self.gpu_util_channel = self._if_told("util_pct")
        self.gpu_freq_channel = self._if_told("sm_clock_mhz")
        self.gpu_memory_used_channel = self._if_told("memory_used_mb")
        self.temperature_channels = (_CHANNELS["temp_c"],) if "temp_c" in told else ()

    @property
    def cpu_ns(self) -> int:
        """Processor time that reading its rows took so far."""
        return self._stream.child.cpu_ns

    def timed_read(self) -> Sequence[tuple[int, Mapping[str, float | None]]]:
        """The values of each row since the call before, with the time in ns at which it arrived.

        Raises:
            ToolFailed: nvidia-smi ended, fell silent, or floods.
        """
        fetched = self._stream.fetch()
        if fetched:
            self._newest = fetched[-1][1]
        return [
            (arrived_ns, {_CHANNELS[each]: getattr(row, each) for each in self._told}) for arrived_ns, row in fetched
        ]

    def read(self) -> Mapping[str, float | None]:
        """The newest row's values; nothing where no row came since the call before.

        Raises:
            ToolFailed: as :meth:`timed_read`.
        """
        fetched = self.timed_read()
        return fetched[-1][1] if fetched else {}

    def probe_text(self) -> str:
        """The newest row for people: ``NVIDIA H100: 71.2 W, 34 % load``."""
        row = self._newest
        return f"{self.rails[0]}: {units.significant(row.power_w)} W, {units.significant(row.util_pct)} % load"

    def close(self) -> None:
        """End nvidia-smi."""
        self._stream.child.stop()

    def _if_told(self, field: str) -> str | None:
        return _CHANNELS[field] if field in self._told else None


class _Rows:
    """Its output: a header once, then rows."""

    def __init__(self) -> None:
        self._header: Header | None = None

    def read(self, line: str) -> GpuRow | None:
        """The row that a line holds; None for the header and for messages."""
        cells = split_cells(line)
        if not cells:
            return None
        header = read_header(cells)
        if header is not None:
            self._header = header
        elif self._header is not None:
            return read_row(cells, self._header)
        return None


def _ms(period_s: float) -> int:
    return max(round(period_s * MS_PER_S), 1)


def _unavailable(reason: str, *, do: str) -> Unavailable:
    return Unavailable(source=_PROGRAM, reason=reason, do=do)
