"""One thread that reads every monitor at a fixed rate, on the clock that the timed loop uses."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from espdeploy.errors import EspdeployError, InternalError, ToolFailed
from espdeploy.protocols import Clock, Monitor
from espdeploy.records import Series
from espdeploy.units import NS_PER_S

if TYPE_CHECKING:
    from typing_extensions import Self

_log = logging.getLogger(__name__)
#: longest single wait, so that stopping never takes longer
_LONGEST_WAIT_S = 0.1
_STOP_WITHIN_S = 10.0


@runtime_checkable
class TimedMonitor(Monitor, Protocol):
    """A monitor whose source has a period of its own: it dates its readings itself.

    ``cpu_ns`` is the processor time that a thread of the monitor's own took so far; it counts as sampling.
    """

    @property
    def cpu_ns(self) -> int:
        """Processor time in ns."""

    def timed_read(self) -> Iterable[tuple[int, Mapping[str, float | None]]]:
        """What came since the call before, in order: the time in ns of the sampler's clock, and values by channel."""


@dataclass
class _Cost:
    """What sampling took: processor time of the threads, and the time that passed meanwhile."""

    cpu_ns: int = 0
    wall_ns: int = 0


@dataclass
class _Channel:
    """The readings of one channel, in order. Only the sampling thread appends."""

    source: str
    readings: list[tuple[int, float | None]] = field(default_factory=list)


class Sampler:
    """Reads ``monitors`` every ``period_s`` in a thread of its own between enter and exit.

    The schedule is fixed: reading k is due at start + k periods, so it does not drift; a reading that takes
    longer than a period makes the next due time that lies ahead the next one, without catching up.
    A monitor with ``timed_read`` (:class:`TimedMonitor`) dates its readings itself, and each is kept once.
    A monitor that raises ends the sampling, and :meth:`stop` (or leaving the block) raises its error:
    no figure rests on a series that silently ended.
    """

    def __init__(self, monitors: Sequence[Monitor], *, clock: Clock, period_s: float) -> None:
        if period_s <= 0:
            raise InternalError(f"a sampling period of {period_s:g} s is impossible")
        self.period_s = period_s
        self._monitors = tuple(monitors)
        self._timed = [monitor for monitor in monitors if isinstance(monitor, TimedMonitor)]
        self._asked = [monitor for monitor in monitors if not isinstance(monitor, TimedMonitor)]
        self._clock = clock
        self._channels: dict[str, _Channel] = {}
        self._cost = _Cost()
        self._failure: Exception | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="espdeploy-sampler", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.stop()
            return
        try:
            self.stop()
        except EspdeployError as failure:  # the error that is under way says more
            _log.warning("%s", failure.what)

    def stop(self) -> None:
        """End the sampling, with one last reading. May be called again; each call raises what went wrong.

        Raises:
            EspdeployError: a monitor failed: its own error, or :class:`ToolFailed` around another one.
        """
        self._stopping.set()
        self._thread.join(_STOP_WITHIN_S)
        if self._thread.is_alive():
            raise ToolFailed(
                f"the sensors did not answer within {_STOP_WITHIN_S:g} s",
                why="one of " + ", ".join(monitor.name for monitor in self._monitors) + " blocks",
                do="espdeploy doctor",
            )
        if self._failure is not None:
            raise self._failure

    @property
    def cpu_pct(self) -> float | None:
        """What sampling itself costs, in percent of one core; None before two readings."""
        cost = self._cost
        return cost.cpu_ns / cost.wall_ns * 100 if cost.wall_ns > 0 else None

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels that were read so far."""
        return tuple(self._channels)

    def readings(
        self, channel: str, *, start_ns: int | None = None, end_ns: int | None = None
    ) -> tuple[list[int], list[float | None]]:
        """Times and values of a channel from ``start_ns`` to ``end_ns``, both included; empty if it has none."""
        if channel not in self._channels:
            return [], []
        kept = [
            (t_ns, value)
            for t_ns, value in list(self._channels[channel].readings)
            if (start_ns is None or t_ns >= start_ns) and (end_ns is None or t_ns <= end_ns)
        ]
        return [t_ns for t_ns, _ in kept], [value for _, value in kept]

    def series(self, *, zero_ns: int, start_ns: int, end_ns: int) -> dict[str, Series]:
        """Every channel that has a value in the window, with its times in seconds from ``zero_ns``."""
        found = {}
        for channel in self.channels:
            times, values = self.readings(channel, start_ns=start_ns, end_ns=end_ns)
            if any(value is not None for value in values):
                found[channel] = Series(t_s=[(t_ns - zero_ns) / NS_PER_S for t_ns in times], values=values)
        return found

    def mean(self, channel: str, *, start_ns: int, end_ns: int) -> float | None:
        """The mean of a channel's values in the window; None where there is none."""
        _, values = self.readings(channel, start_ns=start_ns, end_ns=end_ns)
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known else None

    def _run(self) -> None:
        """The sampling thread."""
        start_ns = self._clock.now_ns()
        cpu_ns = self._cpu_ns()
        due_ns = start_ns
        try:
            while not self._stopping.is_set():
                self._read_all()
                now_ns = self._clock.now_ns()
                self._cost = _Cost(cpu_ns=self._cpu_ns() - cpu_ns, wall_ns=now_ns - start_ns)
                due_ns = next_due_ns(start_ns, now_ns=now_ns, period_s=self.period_s)
                self._wait_until(due_ns)
            # bracket the window's end; right after a reading, values over an interval would be noise
            if due_ns - self._clock.now_ns() < self.period_s * NS_PER_S / 2:
                self._read_all()
            else:
                self._read_timed()
        except Exception as error:  # it is raised again in stop()
            self._failure = error if isinstance(error, EspdeployError) else _wrapped(error)

    def _cpu_ns(self) -> int:
        """Processor time of this thread and of those that monitors keep."""
        return time.thread_time_ns() + sum(monitor.cpu_ns for monitor in self._timed)

    def _wait_until(self, due_ns: int) -> None:
        while not self._stopping.is_set():
            left_s = (due_ns - self._clock.now_ns()) / NS_PER_S
            if left_s <= 0:
                return
            self._clock.sleep_s(min(left_s, _LONGEST_WAIT_S))

    def _read_all(self) -> None:
        """Read each monitor once; a reading is dated to the middle of the time that it took."""
        for monitor in self._asked:
            before_ns = self._clock.now_ns()
            values = monitor.read()
            self._keep(monitor, (before_ns + self._clock.now_ns()) // 2, values)
        self._read_timed()

    def _read_timed(self) -> None:
        """Fetch what came from the sources that date their readings themselves."""
        for monitor in self._timed:
            for t_ns, values in monitor.timed_read():
                self._keep(monitor, t_ns, values)

    def _keep(self, monitor: Monitor, t_ns: int, values: Mapping[str, float | None]) -> None:
        for name, value in values.items():
            channel = self._channels.setdefault(name, _Channel(source=monitor.name))
            if channel.source != monitor.name:
                raise InternalError(f"{channel.source} and {monitor.name} both give a channel {name}")
            channel.readings.append((t_ns, value))


def next_due_ns(start_ns: int, *, now_ns: int, period_s: float) -> int:
    """The first time after ``now_ns`` that is a whole number of periods after ``start_ns``."""
    period_ns = max(round(period_s * NS_PER_S), 1)
    return start_ns + ((now_ns - start_ns) // period_ns + 1) * period_ns


def _wrapped(error: Exception) -> ToolFailed:
    failure = ToolFailed(
        f"a sensor failed during the run: {str(error) or type(error).__name__}",
        do="espdeploy doctor",
    )
    failure.__cause__ = error
    return failure
