"""Headers of nvprof's tables, and rows taken apart by them; as text between blanks, or separated by commas.

nvprof quotes names in CSV but does not escape quotes inside them (``"say"hi", there(int)"``; 11.8), and copies of its
output lose the quotes altogether, so a row is taken apart from both its ends: what is left over is the name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from espdeploy.profilers.nvprof.cells import UNITS

SUMMARY, TRACE, METRICS, EVENTS = "summary", "trace", "metrics", "events"
TRACE_METRICS, UNIFIED, OTHER = "trace-metrics", "unified-memory", "other"

_GAP = re.compile(r"\s{2,}")
_TOKEN = re.compile(r"\S+(?: \S+)*")
_LONGEST_HEADER = 1 << 16
_BEGINS = ("Type", "Time(%)", "Start", "Invocations", "Device", "Count", "PC")
#: the columns that make a table one of a kind, and the one with the name; None is the last
_KINDS = (
    (SUMMARY, {"Time(%)", "Time", "Avg", "Min", "Max", "Name", "Calls"}, "Name"),
    (SUMMARY, {"Time(%)", "Time", "Avg", "Min", "Max", "Name", "Calls (host)"}, "Name"),
    (TRACE, {"Start", "Duration", "Name"}, "Name"),
    (TRACE_METRICS, {"Device", "Context", "Stream", "Kernel"}, "Kernel"),
    (UNIFIED, {"Count", "Avg Size", "Total Size"}, None),
    (OTHER, {"PC", "INST_FETCH"}, None),
)


@dataclass(frozen=True, kw_only=True)
class Columns:
    """One table's columns. ``name_at`` is that of the kernel's or operation's name, ``ends`` where text columns end."""

    kind: str
    csv: bool
    names: tuple[str, ...]
    name_at: int
    ends: tuple[int, ...] = ()
    units: tuple[str, ...] = ()

    def unit(self, column: str) -> str:
        """The unit above a column; empty where cells carry their own."""
        return self.units[self.names.index(column)] if self.units and column in self.names else ""

    def with_units(self, units: tuple[str, ...]) -> Columns:
        """The same columns with what stands above them."""
        return replace(self, units=units)


def header(line: str) -> Columns | None:
    """The table that a line begins; None for a line that begins none."""
    if len(line) > _LONGEST_HEADER or not line.lstrip(' "').startswith(_BEGINS):
        return None
    csv = line.count(",") >= 2
    names = tuple(cell.strip().strip('"') for cell in line.split(",")) if csv else tuple(_GAP.split(line.strip()))
    kind, name = _kind(names)
    if kind is None:
        return None
    ends = () if csv else tuple(match.end() for match in _TOKEN.finditer(line))
    return Columns(kind=kind, csv=csv, names=names, name_at=names.index(name), ends=ends)


def _kind(names: tuple[str, ...]) -> tuple[str | None, str]:
    held = set(names)
    for kind, wanted, name in _KINDS:
        if held >= wanted:
            return kind, names[-1] if name is None else name
    if held >= {"Invocations", "Min", "Max", "Avg"} and held & {"Metric Name", "Event Name"}:
        kind = METRICS if "Metric Name" in held else EVENTS
        return kind, next(one for one in ("Kernel", "Metric Description", "Event Name", "Metric Name") if one in held)
    return (OTHER, "Name") if names == ("Time(%)", "Time", "Name") else (None, "")


def units_row(line: str, columns: Columns) -> tuple[str, ...] | None:
    """The units of each column, where the line holds them and nothing else; it follows a header, if there is one."""
    if columns.csv:
        cells = tuple(cell.strip().strip('"') for cell in line.split(","))
        fits = len(cells) == len(columns.names)
        return cells if fits and any(cells) and UNITS.issuperset(cells) else None
    if len(line) > _LONGEST_HEADER:
        return None
    found = {match.end(): match[0] for match in _TOKEN.finditer(line)}
    if not found or not UNITS.issuperset(found.values()) or not found.keys() <= set(columns.ends):
        return None
    return tuple(found.get(end, "") for end in columns.ends)


def row(line: str, columns: Columns) -> list[str] | None:
    """A row's cells, as many as there are columns; None where it is none. A name whose quote does not close is none."""
    return _csv_row(line, columns) if columns.csv else _text_row(line, columns)


def is_open(line: str) -> bool:
    """Whether a row of CSV ends inside a quoted name, as one does whose name holds a line end."""
    return line.count('"') % 2 == 1


def _text_row(line: str, columns: Columns) -> list[str] | None:
    line = line.strip()
    left, after = columns.name_at, len(columns.names) - columns.name_at - 1
    typed = columns.names[0] != "Type" or _GAP.split(line, 1)[0].endswith(":")
    cells = _GAP.split(line, left if typed else left - 1)
    if not typed:
        cells.insert(0, "")
    if len(cells) != left + 1:
        return None
    name = cells.pop()
    right: list[str] = []
    for _ in range(after):
        # the values of instances stand in brackets, in the last column
        at = name.rfind("[") if name.endswith("]") and not right else name.rfind("  ")
        if at <= 0:
            return None
        right.append(name[at:].strip())
        name = name[:at].rstrip()
    return [*cells, name, *reversed(right)]


def _csv_row(line: str, columns: Columns) -> list[str] | None:
    left: list[str] = []
    for _ in range(columns.name_at):
        taken = _from_left(line)
        if taken is None:
            return None
        cell, line = taken
        left.append(cell)
    right: list[str] = []
    for _ in range(len(columns.names) - columns.name_at - 1):
        taken = _from_right(line)
        if taken is None:
            return None
        line, cell = taken
        right.append(cell)
    name = line.strip()
    if name.startswith('"'):
        if len(name) < 2 or not name.endswith('"'):
            return None
        name = name[1:-1]
    return [*left, name, *reversed(right)]


def _from_left(text: str) -> tuple[str, str] | None:
    if text.startswith('"'):
        end = text.find('",', 1)
        return (text[1:end], text[end + 2 :]) if end != -1 else None
    cell, comma, rest = text.partition(",")
    return (cell, rest) if comma else None


def _from_right(text: str) -> tuple[str, str] | None:
    text = text.rstrip()
    if text.endswith('"'):
        start = text.rfind(',"', 0, len(text) - 1)
        return (text[:start], text[start + 2 : -1]) if start != -1 else None
    rest, comma, cell = text.rpartition(",")
    return (rest, cell) if comma else None
