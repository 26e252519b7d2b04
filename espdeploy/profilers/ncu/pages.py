"""CSV pages row by row: which launch a row belongs to, and what it tells of it."""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass, field

from espdeploy.profilers.ncu import columns
from espdeploy.profilers.ncu.columns import Header
from espdeploy.profilers.ncu.ledger import TIMES, Cells, Columns, Ledger

#: ``--print-metric-name label-name`` prints both
_LABEL_AND_NAME = re.compile(r"[^()]{1,200} \((?P<name>[A-Za-z]\w*__[\w.:]+)\)")
ATTRIBUTE = "device__attribute_"
_MOST_COUNTERS, _MOST_RULES, _MOST_TEXT = 20_000, 100, 2000
_MOST_GROUPS = 200_000
_DIGITS = re.compile(r"\D+")


@dataclass(kw_only=True)
class Found:
    """What a file told beside its counters; of a raw page's only those of ``only`` are wanted, None for all."""

    only: Container[str] | None = None
    kinds: dict[str, None] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)
    compute_capability: str | None = None
    rules: list[dict[str, str]] = field(default_factory=list)
    launches: int = 0
    in_ranges: bool = False


class Launch:
    """The counters of one launch, or of one kernel's summary, until the next one begins.

    A counter that stands in several tables of a page counts once.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._key: tuple[str, ...] = ()
        self._kernel = ""
        self._launches = self._over = 0
        self._cells: dict[tuple[str, str], Cells] = {}

    def begin(self, key: tuple[str, ...], kernel: str, *, launches: int = 1, over: int = 1) -> None:
        """Go on with a launch: the same as before where the key is the same."""
        if key != self._key:
            self.finish()
            self._key, self._kernel, self._launches, self._over = key, kernel, launches, over

    def take(self, metric: str, unit: str, cells: Cells) -> bool:
        """Whether there was room for a counter."""
        if len(self._cells) < _MOST_COUNTERS:
            self._cells.setdefault((metric, unit), cells)
            return True
        return False

    def finish(self) -> None:
        """The launch is over."""
        if self._kernel:
            self._ledger.add(self._kernel, self._cells, launches=self._launches, over=self._over)
        self._key, self._kernel, self._cells = (), "", {}


class Groups:
    """The kernels of summaries that were seen already: a summary may come back to one for each section."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, ...]] = set()

    def new(self, key: tuple[str, ...]) -> bool:
        """Whether it was not seen before."""
        if key in self._seen:
            return False
        if len(self._seen) < _MOST_GROUPS:
            self._seen.add(key)
        return True


class Page:
    """Takes the rows of one page."""

    def __init__(self, header: Header, ledger: Ledger, found: Found) -> None:
        self.header = header
        self._ledger = ledger
        self._found = found
        self._launch = Launch(ledger)
        self._groups = Groups()
        self._columns: Columns | None = None
        self._first = True
        found.in_ranges |= any(name.startswith("Range:") for name in header.names)
        found.kinds.setdefault(header.kind, None)

    def take(self, cells: list[str]) -> bool:
        """Whether a row's cells make sense."""
        if self.header.kind == columns.RAW:
            return self._take_raw(cells)
        return self._take_summary(cells) if self.header.kind == columns.SUMMARY else self._take_details(cells)

    def finish(self) -> None:
        """The page is over."""
        self._launch.finish()

    def _take_raw(self, cells: list[str]) -> bool:
        if self._columns is None:
            units = cells if columns.units(cells, self.header) else [""] * len(cells)
            self._columns = self._of(units)
            if units is cells:
                return True
        kernel = self.header.cell(cells, "Kernel Name")
        if not kernel:
            return False
        self._see(cells)
        self._found.launches += 1
        self._ledger.add_row(kernel, self._columns, cells[: len(self.header.names)])
        return True

    def _of(self, units: list[str]) -> Columns:
        """The columns that hold figures, and those of them that are wanted."""
        only = self._found.only
        figures = [(at, name) for at, name in columns.counters(self.header) if not name.startswith(ATTRIBUTE)]
        return Columns(
            counters=tuple(
                (at, name, units[at]) for at, name in figures if only is None or name in only or name in TIMES
            ),
            numbers=tuple(at for at, _ in figures),
        )

    def _see(self, cells: list[str]) -> None:
        found = self._found
        if found.compute_capability is None:
            found.compute_capability = self.header.cell(cells, "CC") or None
        if self._first and self.header.kind == columns.RAW:
            self._first = False
            found.attributes = found.attributes or {
                name.removeprefix(ATTRIBUTE): self.header.cell(cells, name)
                for name in self.header.names
                if name.startswith(ATTRIBUTE)
            }

    def _take_details(self, cells: list[str]) -> bool:
        cell = self.header.cell
        kernel, metric = cell(cells, "Kernel Name"), cell(cells, "Metric Name")
        if not kernel or not (metric or cell(cells, "Rule Name")):
            return False
        key = (cell(cells, "Process ID"), cell(cells, "ID"), kernel)
        self._found.launches += key != self._launch_key
        self._launch_key = key
        self._see(cells)
        self._launch.begin(key, kernel)
        if not metric:
            self._rule(kernel, cells)
            return True
        value = cell(cells, "Metric Value")
        return self._launch.take(self._metric(cells, metric), cell(cells, "Metric Unit"), (value,))

    _launch_key: tuple[str, ...] = ()

    def _take_summary(self, cells: list[str]) -> bool:
        cell = self.header.cell
        kernel, metric = cell(cells, "Kernel Name"), cell(cells, "Metric Name")
        calls = invocations(cell(cells, "Invocations"))
        if not kernel or not metric or calls is None:
            return False
        at = self.header.at["Section Name"] if "Section Name" in self.header.at else self.header.at["Metric Name"]
        key = tuple(cells[:at])
        if key != self._launch_key:
            self._launch_key = key
            new = calls if self._groups.new(key) else 0
            self._found.launches += new
            self._see(cells)
            self._launch.begin(key, kernel, launches=new, over=calls)
        values = tuple(cell(cells, name) for name in ("Average", "Minimum", "Maximum"))
        return self._launch.take(self._metric(cells, metric), cell(cells, "Metric Unit"), values)

    def _metric(self, cells: list[str], metric: str) -> str:
        return name_of(metric, self.header.cell(cells, "Body Item Label"))

    def _rule(self, kernel: str, cells: list[str]) -> None:
        cell = self.header.cell
        if len(self._found.rules) < _MOST_RULES:
            self._found.rules.append(
                {
                    "kernel": kernel,
                    "rule": cell(cells, "Rule Name"),
                    "type": cell(cells, "Rule Type"),
                    "text": cell(cells, "Rule Description")[:_MOST_TEXT],
                    "estimated_speedup_pct": cell(cells, "Estimated Speedup"),
                }
            )


def invocations(text: str) -> int | None:
    """How often a kernel ran, with or without marks of thousands."""
    digits = _DIGITS.sub("", text)
    return int(digits) if 0 < len(digits) < 16 else None


def name_of(metric: str, table: str) -> str:
    """A counter's own name where a page prints it; a label in a section's tables has the table's name before it."""
    both = _LABEL_AND_NAME.fullmatch(metric)
    if both is not None:
        return both["name"]
    return f"{table}: {metric}" if table and "__" not in metric else metric
