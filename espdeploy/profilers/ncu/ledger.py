"""What was read of each kernel and counter, added up launch by launch in bounded memory.

Cells stay text until the file has shown how it marks thousands; then each launch is added up as it comes. Where a
launch has its time, its figures are added up a second time, weighed by it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import mul

from espdeploy.profilers.ncu.numbers import Numbers, is_untold
from espdeploy.profilers.ncu.units import base
from espdeploy.profilers.values import Kernel, Reading

#: characters of names that are kept, with this many added for each counter of a kernel: about 100 MB
_ROOM, _EACH = 40_000_000, 200
#: characters of cells that may wait until the marks are known
_MOST_WAITING = 2_000_000
#: rows of one raw page that are added up together
_BATCH = 512
#: the counters that are a kernel's time, the best first: its name, and its label on the details page
TIMES = ("gpu__time_duration.sum", "Duration", "gpu__time_duration.avg")
#: mean, least and greatest value over launches; of one launch the value alone
Cells = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The counters of a raw page: index, name and unit of each; pages with other columns are other objects.

    ``numbers`` are the indices of all that hold figures, which show how the page marks thousands.
    """

    counters: tuple[tuple[int, str, str], ...]
    numbers: tuple[int, ...]


class _Tally:
    """One counter of one kernel; ``told`` of its launches have a figure, and ``timed`` of these a time too."""

    __slots__ = ("greatest", "launches", "least", "time_ns", "timed", "told", "total", "weighed")

    def __init__(self) -> None:
        self.launches = self.told = self.timed = 0
        self.total, self.least, self.greatest = 0.0, math.inf, -math.inf
        self.time_ns = self.weighed = 0.0

    def add(self, launches: int, total: float, least: float, greatest: float) -> None:
        self.launches += launches
        self.told += launches
        self.total += total
        self.least = min(self.least, least)
        self.greatest = max(self.greatest, greatest)

    def weigh(self, values: Sequence[float], times_ns: Sequence[float], factor: float) -> None:
        """The same launches' figures, each with its time."""
        self.timed += len(values)
        self.time_ns += math.fsum(times_ns)
        self.weighed += math.fsum(map(mul, values, times_ns)) * factor

    @property
    def mean(self) -> float | None:
        return self.total / self.told if self.told else None

    @property
    def mean_by_time(self) -> float | None:
        return self.weighed / self.time_ns if self.told == self.timed and self.time_ns > 0 else None

    @property
    def range(self) -> tuple[float | None, float | None]:
        return (self.least, self.greatest) if self.least <= self.greatest else (None, None)


class _Counters:
    def __init__(self) -> None:
        self.calls = 0
        self.of: dict[tuple[str, str], _Tally] = {}


class Ledger:
    """Takes launches; then has kernels and readings. ``refused`` counts rows that no memory was left for."""

    def __init__(self) -> None:
        self.numbers = Numbers()
        self.refused = 0
        self.untold = 0
        self._kernels: dict[str, _Counters] = {}
        self._room = _ROOM
        self._waiting: list[tuple[str, int, int, dict[tuple[str, str], Cells]]] = []
        self._waiting_chars = 0
        self._rows: dict[tuple[str, int], list[list[str]]] = {}  # of each row the counters' cells alone
        self._columns: list[Columns] = []
        self._row_count = 0

    def add(self, kernel: str, cells: dict[tuple[str, str], Cells], *, launches: int = 1, over: int = 1) -> None:
        """Count a kernel's cells by counter and unit; ``launches`` are new, the figures are means over ``over``."""
        if self._waits(text for texts in cells.values() for text in texts):
            self._waiting.append((kernel, launches, over, cells))
            return
        self._settle()
        self._add(kernel, launches, over, cells)

    def add_row(self, kernel: str, columns: Columns, cells: list[str]) -> None:
        """Count one launch of a raw page."""
        waits = self._waits(cells[at] for at in columns.numbers)
        if not any(one is columns for one in self._columns[-1:]):
            self._columns.append(columns)
        counted = [cells[at] for at, _, _ in columns.counters]
        self._rows.setdefault((kernel, len(self._columns) - 1), []).append(counted)
        self._row_count += 1
        if not waits:
            self._settle()
            if self._row_count >= _BATCH:
                self._add_rows()

    def finish(self) -> None:
        """Add up what is waiting; a mark that nothing told apart is taken for one of thousands."""
        self._waiting_chars = _MOST_WAITING
        self._settle()
        self._add_rows()

    def _waits(self, texts: Iterable[str]) -> bool:
        """Whether figures cannot be read yet; looks at them first."""
        if self.numbers.decided or self._waiting_chars >= _MOST_WAITING:
            return False
        for text in texts:
            self._waiting_chars += len(text)
            self.numbers.see(text)
        return not self.numbers.decided

    def _settle(self) -> None:
        waiting, self._waiting = self._waiting, []
        for kernel, launches, over, cells in waiting:
            self._add(kernel, launches, over, cells)

    def _counters(self, kernel: str) -> _Counters | None:
        found = self._kernels.get(kernel)
        if found is None and self._take(len(kernel)):
            found = self._kernels[kernel] = _Counters()
        return found

    def _take(self, characters: int) -> bool:
        """Whether there is room for one more name."""
        self._room -= characters + _EACH
        self.refused += self._room < 0
        return self._room >= 0

    def _tally(self, counters: _Counters, metric: str, unit: str) -> _Tally | None:
        found = counters.of.get((metric, unit))
        if found is None and self._take(0):
            found = counters.of[metric, unit] = _Tally()
        return found

    def _add(self, kernel: str, launches: int, over: int, cells: dict[tuple[str, str], Cells]) -> None:
        counters = self._counters(kernel)
        if counters is None:
            return
        counters.calls += launches
        time_ns = self._time_ns(cells) if over == 1 else None
        for (metric, unit), texts in cells.items():
            self._add_cell(counters, (metric, unit), texts, over=over, time_ns=time_ns)

    def _time_ns(self, cells: dict[tuple[str, str], Cells]) -> float | None:
        """How long a launch took; None where no counter tells."""
        for wanted in TIMES:
            for (metric, unit), texts in cells.items():
                if metric == wanted and base(unit)[0] == "ns":
                    value = self.numbers.value(texts[0])
                    return value * base(unit)[1] if value is not None and value > 0 else None
        return None

    def _add_cell(
        self, counters: _Counters, named: tuple[str, str], texts: Cells, *, over: int = 1, time_ns: float | None
    ) -> None:
        metric, unit = named
        values = [self.numbers.value(text) for text in texts]
        untold = values[0] is None and is_untold(texts[0])
        if values[0] is None and not untold:
            return  # a word, such as a cache's configuration
        name, factor = base(unit)
        tally = self._tally(counters, metric, name)
        if tally is None:
            return
        if untold or values[0] is None:
            self.untold += 1
            tally.launches += over
            return
        known = [value * factor for value in values if value is not None]
        tally.add(over, known[0] * over, min(known), max(known))
        if time_ns is not None:
            tally.weigh(known[:1], (time_ns,), 1.0)

    def _add_rows(self) -> None:
        rows, self._rows, self._row_count = self._rows, {}, 0
        for (kernel, page), cells in rows.items():
            counters = self._counters(kernel)
            if counters is None:
                continue
            counters.calls += len(cells)
            named = [(metric, unit) for _, metric, unit in self._columns[page].counters]
            columns = dict(zip(named, zip(*cells, strict=True), strict=True))
            times_ns = self._times_ns(columns)
            for name, texts in columns.items():
                self._add_column(counters, name, texts, times_ns)
        self._columns = self._columns[-1:]

    def _times_ns(self, columns: dict[tuple[str, str], tuple[str, ...]]) -> list[float] | None:
        """How long each row's launch took; None where a row does not tell."""
        for wanted in TIMES:
            for (metric, unit), texts in columns.items():
                if metric == wanted and base(unit)[0] == "ns":
                    values, factor = self.numbers.values(texts), base(unit)[1]
                    return [value * factor for value in values] if values is not None and min(values) > 0 else None
        return None

    def _add_column(
        self, counters: _Counters, named: tuple[str, str], texts: tuple[str, ...], times_ns: list[float] | None
    ) -> None:
        values = self.numbers.values(texts)
        if values is None:
            for at, text in enumerate(texts):
                if text:
                    self._add_cell(counters, named, (text,), time_ns=times_ns[at] if times_ns else None)
            return
        name, factor = base(named[1])
        tally = self._tally(counters, named[0], name)
        if tally is not None:
            tally.add(len(values), sum(values) * factor, min(values) * factor, max(values) * factor)
            if times_ns is not None:
                tally.weigh(values, times_ns, factor)

    def kernels(self) -> tuple[Kernel, ...]:
        """Those that took longest first, those of unknown time last."""
        found = [_kernel(name, counters) for name, counters in self._kernels.items()]
        return tuple(sorted(found, key=lambda one: (one.total_ms is None, -(one.total_ms or 0.0), -one.calls)))

    def readings(self) -> tuple[Reading, ...]:
        """In the order of the file, in units without prefixes; the mean is over launches."""
        return tuple(
            _reading(name, metric, unit, tally)
            for name, counters in self._kernels.items()
            for (metric, unit), tally in counters.of.items()
        )


def _kernel(name: str, counters: _Counters) -> Kernel:
    time = next((counters.of[key, "ns"] for key in TIMES if (key, "ns") in counters.of), _Tally())
    least, greatest = time.range
    whole = time.told > 0 and time.told >= counters.calls
    return Kernel(
        name=name,
        calls=counters.calls,
        total_ms=time.total / 1e6 if whole else None,
        mean_us=None if time.mean is None else time.mean / 1e3,
        min_us=None if least is None else least / 1e3,
        max_us=None if greatest is None else greatest / 1e3,
    )


def _reading(kernel: str, metric: str, unit: str, tally: _Tally) -> Reading:
    least, greatest = tally.range
    return Reading(
        kernel=kernel,
        metric=metric,
        unit=unit,
        calls=tally.told or tally.launches,
        mean=tally.mean,
        mean_by_time=tally.mean_by_time,
        min=least,
        max=greatest,
    )
