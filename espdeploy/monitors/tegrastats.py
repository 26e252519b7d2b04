"""NVIDIA's tegrastats beside the run: power rails, loads, clocks, memory and temperatures of a Jetson.

It prints at its own period; without root some releases leave the GPU's load and clock out. It runs in the foreground
and ends with the run: a tegrastats that somebody started with ``--start`` is left alone. The grammar of its lines is in
:mod:`espdeploy.readings.tegrastats`.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from espdeploy import units
from espdeploy.errors import MissingCapability
from espdeploy.monitors import rails
from espdeploy.monitors.sources import Unavailable
from espdeploy.monitors.streamed import Stream
from espdeploy.protocols import Clock
from espdeploy.readings.tegrastats import TegraSample, read_line
from espdeploy.specs import RailFacts
from espdeploy.units import MS_PER_S

_MW_PER_W = 1_000
_PROGRAM = "tegrastats"
#: where it lies off PATH: L4T 32 and newer, and older ones
_PLACES = ("usr/bin/tegrastats", "home/nvidia/tegrastats")
#: rails are taken from two lines, because one may be cut
_PROOFS = 2
_STOP = "end one that runs already: tegrastats --stop; then espdeploy doctor"


def find(
    facts: RailFacts, *, clock: Clock, period_s: float = 0.1, root: Path = Path("/"), within_s: float = 5.0
) -> TegrastatsMonitor | Unavailable:
    """A running tegrastats, its first lines read.

    Args:
        facts: which rails are the total and the GPU's.
        clock: what its lines are dated by.
        period_s: how often it is to print.
        root: where ``usr/bin`` and ``home/nvidia`` lie, for where it is not on PATH.
        within_s: how long its first lines are waited for, besides its periods.
    """
    program = _located(root)
    if program is None:
        return _unavailable("there is no tegrastats on PATH, in /usr/bin or in /home/nvidia", do="run it on a Jetson")
    argv = (program, "--interval", str(max(round(period_s * MS_PER_S), 1)))
    try:
        stream = Stream(argv, read=read_line, period_s=period_s, clock=clock)
    except MissingCapability as error:
        return _unavailable(error.what, do=error.do)
    samples = stream.first(_PROOFS, within_s=within_s + _PROOFS * period_s)
    if not samples:
        reason = f"{program} tells nothing: {stream.why_silent()}"
        stream.child.stop()
        return _unavailable(reason, do=_STOP)
    return TegrastatsMonitor(stream, samples, facts, period_s=period_s)


class TegrastatsMonitor:
    """A :class:`~espdeploy.protocols.Monitor` of what tegrastats prints, each line once, dated to when it arrived.

    Channels: ``tegrastats_rail_<NAME>_w``, ``tegrastats_total_w``, ``tegrastats_gpu_util_pct``,
    ``tegrastats_gpu_freq_mhz``, ``tegrastats_emc_util_pct``, ``tegrastats_emc_freq_mhz``, ``tegrastats_cpu_pct`` (mean
    of the cores online), ``tegrastats_cores_online``, ``tegrastats_memory_used_mb``, ``tegrastats_swap_used_mb`` and
    ``tegrastats_temp_<NAME>_c``. What a line lacks is None, as is a total of which it lacks a rail. ``power_channel``
    is None where the board prints no rails, or the device's facts name no total among them.
    """

    name = _PROGRAM
    energy_channel: str | None = None
    memory_used_channel = "tegrastats_memory_used_mb"

    def __init__(
        self, stream: Stream[TegraSample], first: Sequence[TegraSample], facts: RailFacts, *, period_s: float
    ) -> None:
        self._stream = stream
        self._newest = first[-1]
        self._rails = tuple(dict.fromkeys(name for sample in first for name in sample.rails_mw))
        self._zones = tuple(dict.fromkeys(name for sample in first for name in sample.temps_c))
        roles = rails.roles(facts, answering=self._rails)
        self.rails = roles.total
        self.period_s: float | None = period_s
        self.power_channel = "tegrastats_total_w" if roles.total else None
        self.gpu_power_channel = None if roles.gpu is None else _rail_channel(roles.gpu)
        util = any(sample.gpu_util_pct is not None for sample in first)
        freq = any(sample.gpu_freq_mhz is not None for sample in first)
        self.gpu_util_channel = "tegrastats_gpu_util_pct" if util else None
        self.gpu_freq_channel = "tegrastats_gpu_freq_mhz" if freq else None
        self.temperature_channels = tuple(_zone_channel(name) for name in self._zones)

    @property
    def cpu_ns(self) -> int:
        """Processor time that reading its lines took so far."""
        return self._stream.child.cpu_ns

    def timed_read(self) -> Sequence[tuple[int, Mapping[str, float | None]]]:
        """The values of each line since the call before, with the time in ns at which it arrived.

        Raises:
            ToolFailed: tegrastats ended, fell silent, or floods.
        """
        fetched = self._stream.fetch()
        if fetched:
            self._newest = fetched[-1][1]
        return [(arrived_ns, self._values(sample)) for arrived_ns, sample in fetched]

    def read(self) -> Mapping[str, float | None]:
        """The newest line's values; nothing where no line came since the call before.

        Raises:
            ToolFailed: as :meth:`timed_read`.
        """
        fetched = self.timed_read()
        return fetched[-1][1] if fetched else {}

    def probe_text(self) -> str:
        """The newest line for people: ``VDD_IN 4.95 W, VDD_SYS_GPU 0.3 W, GPU 12 %``."""
        sample = self._newest
        power = rails.text({name: mw / _MW_PER_W for name, mw in sample.rails_mw.items()}) or "no power rail"
        return f"{power}, GPU {units.significant(sample.gpu_util_pct)} %"

    def close(self) -> None:
        """End tegrastats."""
        self._stream.child.stop()

    def _values(self, sample: TegraSample) -> dict[str, float | None]:
        watts = {name: _watts(sample.rails_mw.get(name)) for name in self._rails}
        values: dict[str, float | None] = {_rail_channel(name): value for name, value in watts.items()}
        if self.power_channel is not None:
            values[self.power_channel] = rails.total_w(watts, self.rails)
        cores = sample.cores
        values.update(
            tegrastats_gpu_util_pct=sample.gpu_util_pct,
            tegrastats_gpu_freq_mhz=sample.gpu_freq_mhz,
            tegrastats_emc_util_pct=sample.emc_util_pct,
            tegrastats_emc_freq_mhz=sample.emc_freq_mhz,
            tegrastats_cpu_pct=sample.cpu_util_pct,
            tegrastats_cores_online=None if cores is None else sum(core is not None for core in cores),
            tegrastats_memory_used_mb=sample.ram_used_mb,
            tegrastats_swap_used_mb=sample.swap_used_mb,
        )
        values.update((_zone_channel(name), sample.temps_c.get(name)) for name in self._zones)
        return values


def _located(root: Path) -> str | None:
    on_path = shutil.which(_PROGRAM)
    places = (root / place for place in _PLACES)
    return on_path or next((str(place) for place in places if place.is_file()), None)


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / _MW_PER_W


def _rail_channel(name: str) -> str:
    return f"tegrastats_rail_{name}_w"


def _zone_channel(name: str) -> str:
    return f"tegrastats_temp_{name}_c"


def _unavailable(reason: str, *, do: str) -> Unavailable:
    return Unavailable(source=_PROGRAM, reason=reason, do=do)
