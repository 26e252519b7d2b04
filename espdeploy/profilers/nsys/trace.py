"""Rows of ``cuda_gpu_trace`` and ``cuda_api_trace``: one for each launch, copy and call, added up as they come.

Nearly all rows repeat a launch seen before: but for begin, duration and number, the row is the same text. So a row
whose remaining text is known is not taken apart again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from espdeploy.profilers.nsys import columns, names
from espdeploy.profilers.nsys.columns import Table
from espdeploy.profilers.nsys.numbers import SIZE_BYTES, TIME_NS, figure
from espdeploy.profilers.nsys.sums import LONGEST_NS, PIECE, IdSums, Sum, Sums
from espdeploy.profilers.nsys.timeline import OutOfOrderError, Timeline, Work

_MOST_KNOWN = 4096
_MOST_CODES = 100_000
_DEVICE = re.compile(r" \((\d{1,3})\)$")
_Code = tuple[str, bool, str]


@dataclass(kw_only=True)
class Traced:
    """What traces add up to. ``timeline`` is None where rows were not in order."""

    work: IdSums = field(default_factory=IdSums)
    codes: dict[_Code, int] = field(default_factory=dict)
    #: whether each code is of a kernel, and of which device
    kinds: list[tuple[bool, int]] = field(default_factory=list)
    calls: Sums = field(default_factory=Sums)
    timeline: Timeline | None = field(default_factory=Timeline)
    devices: dict[str, int] = field(default_factory=dict)
    refused: int = 0

    @property
    def cut_names(self) -> int:
        """Names that a text table cut off."""
        return sum(name.endswith(columns.CUT) for name, _, _ in self.codes)

    def sums(self, *, kernels: bool) -> Sums:
        """Kernels, or memory operations, by name."""
        found = Sums()
        for (name, kernel, _), code in self.codes.items():
            if kernel == kernels and code in self.work.of:
                found.add(name, self.work.of[code])
        return found


class TraceReader:
    """Takes the rows of one table of launches and copies."""

    def __init__(self, table: Table, into: Traced) -> None:
        self.table = table
        self._into = into
        self._place = {column.what: index for index, column in reversed(list(enumerate(table.columns)))}
        plain = table.layout == columns.CSV and table.titles[:2] == ("Start (ns)", "Duration (ns)")
        self._plain = plain and table.titles[2:3] in (("CorrId",), ("CorrID",))
        self._known: dict[str, int] = {}
        self._rows: list[tuple[int, int, int, int]] = []

    def run(self, lines: list[str], start: int) -> int:
        """Take rows that are known from before; returns where the first other line is."""
        if not self._plain or not self._known:
            return start
        known, rows, index = self._known, self._rows, start
        try:
            for index in range(start, len(lines)):
                begin, duration, _, rest = lines[index].split(",", 3)
                rows.append((int(begin), int(duration), known[rest], 0))
        except (ValueError, KeyError):
            return index
        finally:
            if len(rows) >= PIECE:
                self.finish()
        return len(lines)

    def take(self, line: str) -> bool:
        """Whether a line is a row of this table."""
        cells = columns.cells(line, self.table)
        if cells is None:
            return False
        start, duration = self._time(cells, "start"), self._time(cells, "duration")
        name = cells[self._place["name"]].strip()
        if start is None or duration is None or not name:
            return False
        if self.table.kind == columns.API_TRACE:
            self._into.calls.add(name, Sum(calls=1, total_ns=duration, min_ns=duration, max_ns=duration))
            return True
        code = self._code(name, cells[self._place["device"]].strip())
        if code is None:
            self._into.refused += 1
            return True
        self._rows.append((int(start), int(duration), code, self._bytes(cells)))
        if self._plain and len(self._known) < _MOST_KNOWN and not names.is_memory(name):
            self._known.setdefault(line.split(",", 3)[3], code)
        if len(self._rows) >= PIECE:
            self.finish()
        return True

    def finish(self) -> None:
        """Add up what is waiting."""
        rows, self._rows = self._rows, []
        into = self._into
        sound = [row for row in rows if 0 <= row[0] < 1 << 62 and 0 <= row[1] < LONGEST_NS]
        into.refused += len(rows) - len(sound)
        for at in range(0, len(sound), PIECE):
            start, duration, code, size = np.array(sound[at : at + PIECE], dtype=np.int64).T
            into.work.add(code, duration, size)
            if into.timeline is not None:
                told = [into.kinds[one] for one in code.tolist()]
                self._add(
                    Work(
                        start_ns=start,
                        end_ns=start + duration,
                        device=np.array([device for _, device in told], dtype=np.int64),
                        kernel=np.array([kernel for kernel, _ in told], dtype=np.bool_),
                    )
                )

    def _add(self, work: Work) -> None:
        try:
            if self._into.timeline is not None:
                self._into.timeline.add(work)
        except OutOfOrderError:
            self._into.timeline = None

    def _code(self, name: str, device: str) -> int | None:
        into, kernel = self._into, not names.is_memory(name)
        key = (name if kernel else names.memory(name), kernel, device)
        if key not in into.codes:
            if len(into.codes) >= _MOST_CODES:
                return None
            into.codes[key] = len(into.codes)
            into.kinds.append((kernel, into.devices.setdefault(device, len(into.devices))))
        return into.codes[key]

    def _time(self, cells: list[str], what: str) -> float | None:
        """In ns."""
        column = self.table.columns[self._place[what]]
        value, scale = figure(cells[self._place[what]], whole=column.whole), TIME_NS.get(column.unit or "ns")
        return None if value is None or scale is None else value * scale

    def _bytes(self, cells: list[str]) -> int:
        at = self._place.get("bytes")
        if at is None:
            return 0
        column = self.table.columns[at]
        value = figure(cells[at], whole=column.whole)
        return 0 if value is None else int(min(value * SIZE_BYTES.get(column.unit, 1e6), 1 << 46))


def device_name(told: str) -> str:
    """A device without its index: ``NVIDIA A100-SXM4-40GB (0)`` becomes ``NVIDIA A100-SXM4-40GB``."""
    return _DEVICE.sub("", told)
