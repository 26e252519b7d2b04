"""Headers of the tables that ``nsys stats`` prints, and rows taken apart by them.

One report keeps its columns over all releases but for their spelling: ``Time(%)`` and ``Average`` up to 2021, ``Time
(%)`` and ``Avg (ns)`` since; before 2020.3 times had no unit and sizes one in the title. 2022 alone adds the launch
configuration to the kernel summary. So a table is known by its columns, whatever its report is called.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, replace

from espdeploy.profilers.nsys.numbers import SIZE_BYTES, TIME_NS

KERNELS, GPU, MEMORY_TIME, MEMORY_SIZE = "kernels", "gpu", "memory-time", "memory-size"
CALLS, RANGES, GPU_TRACE, API_TRACE, OTHER = "calls", "ranges", "gpu-trace", "api-trace", "other"
#: ends what a text table cuts off, after 100 characters or at the width of its first 100 rows
CUT = "\u2026"
CSV, TSV, BOX, TEXT = "csv", "tsv", "box", "text"

_LONGEST_HEADER = 1 << 12
_BEGINS = ("Time", "Total", "Start (", "Start,", "PID,", "NVTX Range")
_GAP = re.compile(r"\s{2,}")
_DASHES = re.compile(r"-+")
_RULE = re.compile(r"[\s+|-]*-{3,}[\s+|-]*")
_UNIT = re.compile(r"(?P<what>.*?) ?\((?P<unit>[^()]*)\)")
_TIMES = ("total", "min", "max", "start", "duration")
_SAME = {
    "Total Time": "total",
    "Total": "total",
    "Instances": "calls",
    "Num Calls": "calls",
    "Calls": "calls",
    "Count": "calls",
    "Operations": "calls",
    "Min": "min",
    "Minimum": "min",
    "Max": "max",
    "Maximum": "max",
    "Name": "name",
    "Operation": "name",
    "Range": "name",
    "Start": "start",
    "Duration": "duration",
    "Bytes": "bytes",
    "Category": "category",
    "Device": "device",
}


@dataclass(frozen=True, kw_only=True)
class Column:
    """What a column holds: a word of ours, or its title where we have none for it."""

    what: str
    unit: str

    @property
    def whole(self) -> bool:
        """Whether its figures have no decimals, which tells what their marks mean."""
        return self.what == "calls" or self.unit in ("ns", "B") or (self.what in _TIMES and not self.unit)


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table. ``spans`` are where its columns stand in a text, once the rule below its header told."""

    kind: str
    layout: str
    titles: tuple[str, ...]
    columns: tuple[Column, ...]
    spans: tuple[tuple[int, int], ...] = ()

    @property
    def gridded(self) -> bool:
        """Whether a kernel has a row for each launch configuration."""
        return "GridXYZ" in self.titles

    def ruled(self, line: str) -> Table:
        """With the columns' places, which a line of dashes tells."""
        spans = tuple(match.span() for match in _DASHES.finditer(line))
        return replace(self, spans=spans) if self.layout == TEXT and len(spans) == len(self.columns) else self


def header(line: str, *, size_unit: str = "") -> Table | None:
    """The table that a line begins; None for a line that begins none.

    Args:
        line: without its end.
        size_unit: of sizes, where the title told it.
    """
    if len(line) > _LONGEST_HEADER or not line.lstrip(' |"\ufeff').startswith(_BEGINS):
        return None
    line = line.lstrip("\ufeff")
    layout = _layout(line)
    titles = tuple(title.strip().strip('"') for title in _split(line, layout))
    if len(titles) < 4:
        return None
    columns = tuple(_column(title, size_unit) for title in titles)
    kind = _kind(titles, columns)
    return Table(kind=kind, layout=layout, titles=titles, columns=columns) if kind else None


def is_rule(line: str) -> bool:
    """Whether a line is drawn below a header or around a table."""
    return _RULE.fullmatch(line) is not None


def cells(line: str, table: Table) -> list[str] | None:
    """A row's cells, as many as there are columns; None where it is none."""
    if table.layout == TEXT:
        return _text_cells(line, table)
    if table.layout == BOX:
        found = [
            cell.strip()
            for cell in line.strip().removeprefix("|").removesuffix("|").split(" | ", len(table.columns) - 1)
        ]
    elif table.layout == TSV:
        found = line.split("\t")
    else:
        found = _csv_cells(line)
    return _fitted(found, table, "," if table.layout == CSV else " ")


def is_open(line: str, table: Table) -> bool:
    """Whether a row of CSV ends inside a quoted name, as one does whose name holds a line end."""
    return table.layout == CSV and line.count('"') % 2 == 1


def _layout(line: str) -> str:
    if line.lstrip().startswith("|"):
        return BOX
    if "\t" in line:
        return TSV
    return CSV if line.count(",") >= 3 else TEXT


def _split(line: str, layout: str) -> list[str]:
    if layout == TEXT:
        return _GAP.split(line.strip())
    if layout == BOX:
        return line.strip().strip("|").split("|")
    return line.strip().split("\t" if layout == TSV else ",")


def _column(title: str, size_unit: str) -> Column:
    found = _UNIT.fullmatch(title)
    what, unit = (found["what"], found["unit"]) if found else (title, "")
    unit = unit or (size_unit if what in ("Total", "Minimum", "Maximum") else "")
    return Column(what="share" if title in ("Time(%)", "Time (%)") else _SAME.get(what, what), unit=unit)


def _kind(titles: tuple[str, ...], columns: tuple[Column, ...]) -> str | None:
    held = {column.what: column for column in columns}
    if {"start", "duration", "name"} <= held.keys():
        return GPU_TRACE if {"Strm", "device"} <= held.keys() else API_TRACE if "Result" in held else OTHER
    if "Kernel Name" in held:
        return OTHER
    if "total" not in held or "calls" not in held or "name" not in held:
        return None
    if "share" not in held:
        return MEMORY_SIZE if held["total"].unit in SIZE_BYTES else OTHER
    if held["total"].unit not in ("", *TIME_NS):
        return None
    return _timed(titles)


def _timed(titles: tuple[str, ...]) -> str:
    held = set(titles)
    if "Range" in held:
        return RANGES
    if "Category" in held:
        return GPU
    if "Operation" in held or "Operations" in held:
        return MEMORY_TIME
    if "Instances" in held:
        return KERNELS if "Name" in held and "Q Type" not in held else OTHER
    return CALLS if held & {"Num Calls", "Calls"} else OTHER


def _csv_cells(line: str) -> list[str]:
    if '"' not in line:
        return line.split(",")
    try:
        return next(csv.reader([line]), [])
    except csv.Error:
        return []


def _fitted(found: list[str], table: Table, comma: str) -> list[str] | None:
    """Names lose their quotes in copies: what is too much belongs to the name, where that stands last."""
    count = len(table.columns)
    if len(found) > count and table.columns[-1].what == "name":
        found = [*found[: count - 1], comma.join(found[count - 1 :])]
    return found if len(found) == count else None


def _text_cells(line: str, table: Table) -> list[str] | None:
    if table.spans and line[:1] == " ":
        begins = [begin for begin, _ in table.spans]
        ends = [*(end for _, end in table.spans[:-1]), len(line)]
        apart = all(line[end : end + 2].strip() == "" for end in ends[:-1])
        if apart and len(line) > begins[-1]:
            return [line[begin:end].strip() for begin, end in zip(begins, ends, strict=True)]
    found = [cell.strip() for cell in _GAP.split(line.strip(), len(table.columns) - 1)]
    return found if len(found) == len(table.columns) else None
