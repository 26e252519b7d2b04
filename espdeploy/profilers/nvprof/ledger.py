"""What was read of each kernel, operation and counter, added up row by row in bounded memory."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from espdeploy.profilers.values import Kernel, MemoryOperation, Reading

#: characters of names that are kept, with this many added for each: about 100 MB where every name is new
_ROOM, _EACH = 24_000_000, 600
_ENDLESS = 1e18
_INSTANCES = re.compile(r" \(\d+ instances\)$")


class Room:
    """How much is left for names that were not seen before; ``refused`` counts rows that found none."""

    def __init__(self) -> None:
        self.left = _ROOM
        self.refused = 0

    def take(self, *names: str) -> bool:
        """Whether there is room for one more row's names."""
        self.left -= _EACH + sum(map(len, names))
        self.refused += self.left < 0
        return self.left >= 0


@dataclass(kw_only=True)
class Tally:
    """Calls and their times. ``timed`` of the ``calls`` have one; least and greatest are infinite where none has."""

    calls: int = 0
    timed: int = 0
    total_us: float = 0.0
    min_us: float = math.inf
    max_us: float = -math.inf
    size_bytes: float | None = None

    def add(self, calls: int, total_us: float | None, min_us: float | None, max_us: float | None) -> None:
        """Count a row of a summary; what it does not tell is None."""
        self.calls += calls
        if total_us is not None:
            self.timed += calls
            self.total_us += total_us
        self.min_us = min(self.min_us, math.inf if min_us is None else min_us)
        self.max_us = max(self.max_us, -math.inf if max_us is None else max_us)

    def add_each(self, durations: list[float], scale_us: float) -> None:
        """Count calls by the duration of each, in units of ``scale_us``."""
        sound = min(durations) >= 0 and max(durations) < _ENDLESS
        total = math.fsum(durations) if sound else math.nan
        if math.isnan(total):
            self.calls += len(durations)
            durations = [value for value in durations if 0 <= value < _ENDLESS]
            self.calls -= len(durations)
            total = math.fsum(durations)
        if durations:
            least, most = min(durations) * scale_us, max(durations) * scale_us
            self.add(len(durations), total * scale_us, least, most)

    def add_bytes(self, size: float | None) -> None:
        """Count what was copied or set."""
        if size is not None:
            self.size_bytes = (self.size_bytes or 0.0) + size

    @property
    def total_ms(self) -> float | None:
        """Over all calls; None where not every call's time is known."""
        return self.total_us / 1e3 if self.calls and self.timed == self.calls else None

    @property
    def mean_us(self) -> float | None:
        """Over the calls whose time is known."""
        return self.total_us / self.timed if self.timed else None

    @property
    def range_us(self) -> tuple[float | None, float | None]:
        """The shortest and the longest call."""
        return _finite(self.min_us), _finite(self.max_us)


class Tallies:
    """One tally for each name."""

    def __init__(self, room: Room) -> None:
        self.of: dict[str, Tally] = {}
        self._room = room

    def __getitem__(self, name: str) -> Tally:
        """The tally of a name; where there is no room for it, one that nobody sees."""
        tally = self.of.get(name)
        if tally is None:
            tally = Tally()
            if self._room.take(name):
                self.of[name] = tally
        return tally

    def kernels(self) -> tuple[Kernel, ...]:
        """As kernels, those that took longest first, those of unknown time last."""
        return tuple(_kernel(name, tally) for name, tally in _longest_first(self.of.items()))

    def memops(self) -> tuple[MemoryOperation, ...]:
        """As memory operations, in the same order."""
        return tuple(_memop(name, tally) for name, tally in _longest_first(self.of.items()))


@dataclass(kw_only=True)
class _Value:
    calls: int = 0
    told: int = 0
    total: float = 0.0
    least: float | None = None
    greatest: float | None = None


class Readings:
    """Counters of kernels; rows of one kernel and counter are joined by their calls."""

    def __init__(self, room: Room) -> None:
        self._of: dict[tuple[str, str, str], _Value] = {}
        self._room = room

    def add(self, kernel: str, metric: str, unit: str, calls: int, values: tuple[float | None, ...]) -> None:
        """Count a row: ``values`` are mean, least and greatest over the calls."""
        key = (kernel, metric, unit)
        value = self._of.get(key)
        if value is None:
            if not self._room.take(kernel, metric):
                return
            value = self._of[key] = _Value()
        mean, least, greatest = values
        value.calls += calls
        if mean is not None:
            value.told += calls
            value.total += calls * mean
        value.least = min((one for one in (value.least, least) if one is not None), default=None)
        value.greatest = max((one for one in (value.greatest, greatest) if one is not None), default=None)

    def calls(self) -> dict[str, int]:
        """How often each kernel ran, as far as its counters tell: the most that one of them counted."""
        found: dict[str, int] = {}
        for (kernel, _, _), value in self._of.items():
            found[kernel] = max(found.get(kernel, 0), value.calls)
        return found

    def readings(self) -> tuple[Reading, ...]:
        """In the order of the file. What no row could tell has no unit, and is left out where another row could.

        A percentage of each unit of the GPU is the whole's by its plain mean, where no row tells it of the whole.
        """
        told = {(kernel, metric) for (kernel, metric, _), value in self._of.items() if value.told}
        found = []
        for (kernel, metric, unit), value in self._of.items():
            whole = _INSTANCES.sub("", metric) if unit == "%" else metric
            if value.told or (kernel, metric) not in told:
                of_all = whole if (kernel, whole) not in told else metric
                found.append(_reading((kernel, of_all, unit), value))
        return tuple(found)


def _longest_first(items: Iterable[tuple[str, Tally]]) -> list[tuple[str, Tally]]:
    return sorted(items, key=lambda item: (item[1].total_ms is None, -(item[1].total_ms or 0.0), -item[1].calls))


def _kernel(name: str, tally: Tally) -> Kernel:
    least, most = tally.range_us
    return Kernel(
        name=name,
        calls=tally.calls,
        total_ms=tally.total_ms,
        mean_us=tally.mean_us,
        min_us=least,
        max_us=most,
    )


def _memop(name: str, tally: Tally) -> MemoryOperation:
    least, most = tally.range_us
    return MemoryOperation(
        name=name,
        calls=tally.calls,
        total_ms=tally.total_ms,
        mean_us=tally.mean_us,
        min_us=least,
        max_us=most,
        total_mb=None if tally.size_bytes is None else tally.size_bytes / 1e6,
    )


def _reading(key: tuple[str, str, str], value: _Value) -> Reading:
    kernel, metric, unit = key
    return Reading(
        kernel=kernel,
        metric=metric,
        unit=unit,
        calls=value.told or value.calls,
        mean=value.total / value.told if value.told else None,
        min=value.least,
        max=value.greatest,
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
