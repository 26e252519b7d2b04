"""Rows of the summaries that ``nsys stats`` prints, added up by name."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from espdeploy.profilers.nsys import columns, names
from espdeploy.profilers.nsys.columns import Table
from espdeploy.profilers.nsys.numbers import SIZE_BYTES, TIME_NS, count, figure
from espdeploy.profilers.nsys.sums import Sum, Sums


@dataclass(kw_only=True)
class Found:
    """What the summaries of a file hold. Several reports tell of the same kernels: each has sums of its own."""

    kernels: Sums = field(default_factory=Sums)
    gridded: Sums = field(default_factory=Sums)
    of_gpu: Sums = field(default_factory=Sums)
    memory: Sums = field(default_factory=Sums)
    memory_of_gpu: Sums = field(default_factory=Sums)
    sizes: Sums = field(default_factory=Sums)
    calls: Sums = field(default_factory=Sums)
    system: Sums = field(default_factory=Sums)
    ranges: Sums = field(default_factory=Sums)
    cut_names: int = 0
    tables: Counter[str] = field(default_factory=Counter)

    @property
    def refused(self) -> int:
        """Rows for which there was no room."""
        return sum(sums.refused for sums in vars(self).values() if isinstance(sums, Sums))


class SummaryReader:
    """Takes the rows of one summary."""

    def __init__(self, table: Table, into: Found) -> None:
        self.table = table
        self._into = into
        self._place = {column.what: index for index, column in reversed(list(enumerate(table.columns)))}
        self._seen: Counter[str] = Counter()

    def take(self, line: str) -> bool:
        """Whether a line is a row of this table."""
        cells = columns.cells(line, self.table)
        if cells is None:
            return False
        if self.table.kind == columns.OTHER:
            return True
        calls = count(cells[self._place["calls"]])
        name = cells[self._place["name"]].strip()
        row = None if calls is None or not name else self._row(cells, calls)
        if row is None:
            return False
        self._add(name, row, cells)
        return True

    def finish(self) -> None:
        """Nothing waits here."""

    def _row(self, cells: list[str], calls: int) -> Sum | None:
        sized = self.table.kind == columns.MEMORY_SIZE
        total, least, most = (self._value(cells, what) for what in ("total", "min", "max"))
        if total is None:
            return None
        if sized:
            return Sum(calls=calls, size_bytes=total)
        if least is None or most is None:
            return None
        return Sum(calls=calls, total_ns=total, min_ns=least, max_ns=most)

    def _value(self, cells: list[str], what: str) -> float | None:
        """In ns or bytes."""
        at = self._place.get(what)
        if at is None:
            return None
        column = self.table.columns[at]
        scale = (
            SIZE_BYTES.get(column.unit) if self.table.kind == columns.MEMORY_SIZE else TIME_NS.get(column.unit or "ns")
        )
        value = figure(cells[at], whole=column.whole)
        return None if value is None or scale is None else value * scale

    def _add(self, name: str, row: Sum, cells: list[str]) -> None:
        into, kind = self._into, self.table.kind
        if kind == columns.KERNELS:
            (into.gridded if self.table.gridded else into.kernels).add(self._apart(name), row)
        elif kind == columns.MEMORY_TIME:
            into.memory.add(names.memory(name), row)
        elif kind == columns.MEMORY_SIZE:
            into.sizes.add(names.memory(name), row)
        elif kind == columns.CALLS:
            (into.calls if names.is_cuda_api(name) else into.system).add(name, row)
        elif kind == columns.RANGES:
            into.ranges.add(name, row)
        elif kind == columns.GPU:
            self._add_of_gpu(name, row, cells[self._place["category"]].strip())

    def _add_of_gpu(self, name: str, row: Sum, category: str) -> None:
        if category == "CUDA_KERNEL":
            self._into.of_gpu.add(self._apart(name), row)
        elif category == "MEMORY_OPER":
            self._into.memory_of_gpu.add(names.memory(name), row)
        else:
            self._into.calls.add(name, row)

    def _apart(self, name: str) -> str:
        """Text tables cut long names: two rows with one beginning are two kernels all the same."""
        if not name.endswith(columns.CUT):
            return name
        self._into.cut_names += 1
        self._seen[name] += 1
        nth = self._seen[name]
        return name if nth == 1 or self.table.gridded else f"{name} ({nth})"
