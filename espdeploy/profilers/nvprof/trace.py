"""``--print-gpu-trace`` and ``--print-api-trace``: one row for each launch, copy and call, added up by name.

A file of 1 GB has eight million rows, and nearly all of them repeat a launch or a copy seen before: but for start,
duration, number and size, the row is the same text. So a row whose remaining text is known costs no more than one look;
every other row is taken apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from espdeploy.profilers.nvprof import names
from espdeploy.profilers.nvprof.cells import TIME_US, is_untold, size_bytes, time_us
from espdeploy.profilers.nvprof.columns import Columns, row
from espdeploy.profilers.nvprof.ledger import Room, Tallies, Tally
from espdeploy.profilers.nvprof.tables import TableReader

_MOST_KNOWN = 4096
_TALLY_AFTER = 100_000
_SCALES = {unit: scale for unit, scale in TIME_US.items() if len(unit) == 2}
_NO_CELL = ("", "-")


class Activities:
    """What the traces of a file add up to."""

    def __init__(self, room: Room) -> None:
        self.kernels = Tallies(room)
        self.memops = Tallies(room)
        self.calls = Tallies(room)
        #: page faults and the like, which take no time of their own in the trace
        self.events = Tallies(room)
        self.devices: dict[str, None] = {}
        self.untold = 0


@dataclass(kw_only=True)
class _Waiting:
    tally: Tally
    durations: list[float] = field(default_factory=list)
    sizes: list[float] = field(default_factory=list)


class TraceReader(TableReader):
    """Takes the rows of one table."""

    def __init__(self, columns: Columns, into: Activities) -> None:
        super().__init__(columns)
        self._into = into
        self._numbered = "Correlation_ID" in columns.names  # else the number stands behind the name
        self._plain = columns.names[:2] == ("Start", "Duration")
        self._step = 1024 if "SrcMemType" in columns.names else 1000
        self._scale = 1.0
        self._untallied = 0
        #: cells between a copy's duration and its size, which stand empty; 0 where sizes are elsewhere
        self._before_size = max(_size_at(columns) - 2, 0)
        #: by what rows say but for start, duration and number; copies, by what they say behind size and throughput
        self._launches: dict[str, Callable[[float], None]] = {}
        self._copies: dict[str, _Waiting] = {}
        self._waiting: dict[int, _Waiting] = {}
        self._sizes: dict[str, float] = {}
        #: what the row taken last counted for, if rows like it may be known from now on
        self._learnt: Tally | None = None

    def set_units(self, columns: Columns) -> None:
        """The row of units below the header came."""
        super().set_units(columns)
        self._scale = TIME_US.get(columns.unit("Duration"), 0.0)
        self._sizes.clear()

    def run(self, lines: list[str], start: int) -> int:
        """Take rows that are known from before; returns where the first other line is."""
        if not self._waiting or (self.columns.csv and not self._scale):
            return start
        end = self._run_csv(lines, start) if self.columns.csv else self._run_text(lines, start)
        self._untallied += end - start
        if self._untallied > _TALLY_AFTER:
            self.finish()
        return end

    def _run_csv(self, lines: list[str], start: int) -> int:
        launches, numbered, index = self._launches, self._numbered, start
        copies, sizes, before = self._copies, self._sizes, self._before_size
        empty = "," * before
        try:
            for index in range(start, len(lines)):
                _, duration, rest = lines[index].split(",", 2)
                if numbered:
                    launch, _, number = rest.rpartition(",")
                else:
                    launch, _, number = rest.rpartition(" [")
                    number = number[:-2] if number.endswith(']"') else ""
                if launch in launches and number.isdigit():
                    launches[launch](float(duration))
                    continue
                if numbered and number.isdigit():
                    rest = launch
                if not before or not rest.startswith(empty):
                    return index
                size, _, copy = rest[before:].split(",", 2)
                amount, waiting = sizes[size], copies[copy]
                waiting.durations.append(float(duration))
                waiting.sizes.append(amount)
        except (ValueError, KeyError):
            return index
        return len(lines)

    def _run_text(self, lines: list[str], start: int) -> int:
        launches, index = self._launches, start
        copies, sizes, before = self._copies, self._sizes, self._before_size
        empty = ["-"] * before
        try:
            for index in range(start, len(lines)):
                _, duration, rest = lines[index].split(None, 2)
                launch, _, number = rest.rpartition(" [")
                time = float(duration[:-2]) * _SCALES[duration[-2:]]
                if launch in launches and number[-1:] == "]" and number[:-1].isdigit():
                    launches[launch](time)
                    continue
                *dashes, size, _, copy = rest.split(None, before + 2)
                if not before or dashes != empty:
                    return index
                amount, waiting = sizes[size], copies[copy]
                waiting.durations.append(time)
                waiting.sizes.append(amount)
        except (ValueError, KeyError):
            return index
        return len(lines)

    def take(self, line: str) -> bool:
        """Whether a line is a row of this table."""
        cells = self._short(line) or row(line, self.columns)
        if cells is None:
            return False
        told = dict(zip(self.columns.names, map(str.strip, cells), strict=True))
        if not self.take_cells(told):
            return False
        if self._learnt is not None:
            self._learn(line, told, self._learnt)
        return True

    def take_cells(self, told: dict[str, str]) -> bool:
        """Whether a row's cells, by column, are sound."""
        duration = told["Duration"]
        time = time_us(duration, self.columns.unit("Duration"))
        unknown = duration in _NO_CELL or is_untold(duration) or _is_figure(duration)
        if not told["Name"] or (time is None and not unknown):
            return False
        self._into.untold += is_untold(duration)
        self._learnt = self._count(told, time)
        return True

    def finish(self) -> None:
        """Add up what is waiting."""
        scale = self._scale if self.columns.csv else 1.0
        self._untallied = 0
        for waiting in self._waiting.values():
            if waiting.durations:
                waiting.tally.add_each(waiting.durations, scale)
                waiting.durations.clear()
            if waiting.sizes:
                waiting.tally.add_bytes(math.fsum(waiting.sizes))
                waiting.sizes.clear()

    def _count(self, told: dict[str, str], time: float | None) -> Tally | None:
        name = told["Name"]
        if names.is_memory(name):
            tally = self._count_memory(name, told, time)
            return tally if time is not None else None
        if name.startswith("[") and name.endswith("]"):
            if name.startswith("[Unified Memory"):
                self._into.events[name.strip("[]").replace("Unified Memory ", "")].add(1, time, time, time)
            return None  # markers, ranges, and what the system profiler adds
        device = told.get("Device", "")
        if device not in _NO_CELL:
            self._device(device)
            name = name if self._numbered else names.without_launch(name)
        tally = (self._into.calls if device in _NO_CELL else self._into.kernels)[name]
        tally.add(1, time, time, time)
        return tally if time is not None else None

    def _count_memory(self, name: str, told: dict[str, str], time: float | None) -> Tally:
        column = "Size" if "Size" in told else "Unified Memory"
        if name.startswith("[Unified"):
            column = "Unified Memory"
        tally = self._into.memops[names.memory(name)]
        tally.add(1, time, time, time)
        tally.add_bytes(self._size(told, column))
        self._device(told.get("Device", ""))
        return tally

    def _device(self, text: str) -> None:
        if text.strip() not in _NO_CELL and len(self._into.devices) < 64:
            self._into.devices.setdefault(names.device(text), None)

    def _learn(self, line: str, told: dict[str, str], tally: Tally) -> None:
        if not self._plain or len(self._launches) + len(self._copies) >= _MOST_KNOWN:
            return
        rest = line.split("," if self.columns.csv else None, 2)[2]
        launch, _, number = rest.rpartition("," if self._numbered else " [")
        numbered = bool(launch) and number.strip(']"').isdigit()
        waiting = self._waiting.setdefault(id(tally), _Waiting(tally=tally))
        if tally.size_bytes is not None:
            self._learn_copy(launch if self._numbered and numbered else rest, told, waiting)
        elif numbered:
            self._launches.setdefault(launch, waiting.durations.append)

    def _learn_copy(self, rest: str, told: dict[str, str], waiting: _Waiting) -> None:
        size = self._size(told, "Size") if self._before_size > 0 else None
        cells = rest.split("," if self.columns.csv else None, self._before_size + 2)
        if size is None or len(cells) != self._before_size + 3 or cells[-3].strip() != told["Size"]:
            return
        if all(cell in _NO_CELL for cell in cells[:-3]):
            self._copies.setdefault(cells[-1], waiting)
            if len(self._sizes) < _MOST_KNOWN:
                self._sizes[cells[-3]] = size

    def _size(self, told: dict[str, str], column: str) -> float | None:
        step = self._step if column == "Size" else 1024
        return size_bytes(told.get(column, ""), self.columns.unit(column), step=step)

    def _short(self, line: str) -> list[str] | None:
        """The cells of a row without surprises, at a fraction of the cost: copies are too different to be known."""
        columns = self.columns
        if not columns.csv or columns.names[columns.name_at + 1 :] != ("Correlation_ID",):
            return None
        cells = line.split(",", columns.name_at)
        name, _, number = cells[-1].rpartition(",")
        quoted = name[:1] == '"' and name[-1:] == '"' and len(name) > 1
        if (
            len(cells) <= columns.name_at
            or not quoted
            or not number.isdigit()
            or any(cell.count('"') == 1 for cell in cells)
        ):
            return None
        return [*(cell.strip('"') for cell in cells[:-1]), name[1:-1], number]


def _is_figure(text: str) -> bool:
    """Whether rows that are known would count this as a duration, if only as one that cannot be."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _size_at(columns: Columns) -> int:
    named = columns.names
    at = named.index("Size") if "Size" in named else 0
    return at if named[at + 1 : at + 2] == ("Throughput",) else 0
