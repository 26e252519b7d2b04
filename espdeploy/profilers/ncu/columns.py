"""Headers of ncu's CSV pages, and their rows taken apart.

The details page is long: one counter in each row, and rows of rules between them, whose counter is empty. Rows of
counters end behind the value, with fewer cells than the header has. Up to 2022.3 it has a ``Kernel Time``; later
``Block Size``, ``Grid Size``, ``Device`` and ``CC``. The raw page is wide: one launch in each row, hundreds of columns,
and units in the row below the header. Summaries are long, with the least, greatest and mean value over launches.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass

DETAILS, RAW, SUMMARY = "details", "raw", "summary"
#: where a header begins, which may be behind a program's output that has no line end
_BEGIN = re.compile(
    r'"ID","Process ID",|"Process ID","Process Name",|"Domain","Range:'
    r"|^\ufeff?(?:ID,Process ID|Process ID,Process Name),"
)
_IDENTITY = frozenset({
    "ID", "Process ID", "Process Name", "Host Name", "Kernel Name", "Kernel Time", "Context", "Stream", "Device",
    "Device Id", "CC", "Block Size", "Grid Size", "Invocations", "Domain", "Green Context", "NVTX Ranges",
    "Section Name", "Body Item Label",
})  # fmt: skip
_RANGES = ("Domain", "Range:", "thread Domain", "Id:Domain", "NVTX")
_LONGEST_HEADER = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Header:
    """The columns of one page; ``at`` is where each stands."""

    kind: str
    names: tuple[str, ...]
    at: dict[str, int]
    quoted: bool

    def cell(self, cells: list[str], name: str) -> str:
        """A row's cell by its column; empty where the row or the page has none."""
        index = self.at.get(name, len(cells))
        return cells[index].strip() if index < len(cells) else ""


def header(line: str) -> Header | None:
    """The page that a line begins; None for a line that begins none."""
    begin = _BEGIN.search(line) if "Process ID" in line or '"Domain"' in line else None
    if begin is None or len(line) > _LONGEST_HEADER:
        return None
    names = tuple(name.strip() for name in _cells(line[begin.start() :].lstrip("\ufeff")))
    kind = _kind(set(names))
    if kind is None or len(set(names)) < len(names) - len(names) // 8:
        return None
    at = {name: index for index, name in reversed(list(enumerate(names)))}
    return Header(kind=kind, names=names, at=at, quoted=line[begin.start()] == '"')


def _kind(names: set[str]) -> str | None:
    if "Kernel Name" not in names:
        return None
    if "Metric Name" not in names:
        return RAW if "ID" in names and len(names - _IDENTITY) else None
    if "Average" in names:
        return SUMMARY
    return DETAILS if "Metric Value" in names and "ID" in names else None


def counters(header: Header) -> list[tuple[int, str]]:
    """The columns of a raw page that hold counters: index and name."""
    return [
        (index, name)
        for index, name in enumerate(header.names)
        if name and name not in _IDENTITY and not name.startswith(_RANGES)
    ]


def row(line: str, header: Header) -> list[str] | None:
    """A row's cells, at most one for each column and at least up to the value; None where the line is no whole row."""
    if header.quoted:
        if not line.startswith('"') or not line.endswith(('"', '",')):
            return None
        inner = line[1:-2] if line.endswith('",') else line[1:-1]
        cells = inner.split('","')
        if '"' in inner.replace('","', ""):
            cells = _cells(line)
    else:
        cells = _cells(line)
    needed = {RAW: len(header.names), SUMMARY: header.at.get("Average", 0) + 1}
    least = needed.get(header.kind, header.at.get("Metric Value", 0) + 1)
    return cells if least <= len(cells) <= len(header.names) + 1 else None


def is_open(line: str) -> bool:
    """Whether a line may be a row that goes on in the next one: ends of line may stand in a rule's text."""
    return line.startswith('"') and not line.endswith('"') and line.count('"') % 2 == 1


def units(cells: list[str], header: Header) -> bool:
    """Whether a raw page's row holds units: it has no launch."""
    return not any(header.cell(cells, name) for name in ("ID", "Process ID", "Kernel Name"))


def _cells(line: str) -> list[str]:
    try:
        return next(csv.reader([line], strict=False), [])
    except csv.Error:
        return []
