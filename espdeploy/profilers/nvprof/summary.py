"""Summaries: kernels, copies and calls by the time they took; of a run, a GPU, or a range marked with NVTX."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from espdeploy.profilers.nvprof import names
from espdeploy.profilers.nvprof.cells import count, is_untold, number, size_bytes, time_us
from espdeploy.profilers.nvprof.columns import Columns
from espdeploy.profilers.nvprof.ledger import Room, Tallies
from espdeploy.profilers.nvprof.tables import TableReader

GPU, API = "GPU activities", "API calls"
_MOST_RANGES = 20_000
_MOST_ROWS = 1000
_CALLS = ("Calls", "Calls (host)", "Calls (device)")
_RANGE = re.compile(r'(?P<what>Thread|Domain|Range) "(?P<name>.*)"(?: \(id = \d+\))?')


@dataclass(kw_only=True)
class NvtxRange:
    """A range of the application's own, with what the GPU did for it."""

    thread: str
    domain: str
    name: str
    calls: int = 0
    total_ms: float | None = None
    gpu_ms: float | None = None
    gpu_operations: int = 0


@dataclass(kw_only=True)
class Sections:
    """Where in the output a table stands, as the titles before it told."""

    title: str = GPU
    in_ranges: bool = False
    thread: str = ""
    domain: str = ""
    range: NvtxRange | None = None


class Activities:
    """What the summaries of a file add up to."""

    def __init__(self, room: Room) -> None:
        self.kernels = Tallies(room)
        self.memops = Tallies(room)
        self.calls = Tallies(room)
        #: rows of the sections that no figure is made of: OpenACC, OpenMP
        self.others: dict[str, int] = {}
        self.ranges: list[NvtxRange] = []
        self.sections = Sections()
        self.untold = 0

    def begin(self, title: str) -> bool:
        """Whether a title, marked by nvprof, says what the next summaries are of."""
        if title in ("API calls:", "OpenACC (excl):", "OpenACC (incl):", "OpenMP (incl):"):
            self.sections = Sections(title=title[:-1])
        elif title == "NVTX result:":
            self.sections = Sections(in_ranges=True)
        elif title.endswith("result:"):
            self.sections = Sections()
        elif self.sections.in_ranges and (found := _RANGE.match(title)) is not None:
            self._begin_range(found["what"], found["name"])
        else:
            return False
        return True

    def _begin_range(self, what: str, name: str) -> None:
        sections = self.sections
        sections.range = None
        if what == "Thread":
            sections.thread, sections.domain = name, ""
        elif what == "Domain":
            sections.domain = name
        elif len(self.ranges) < _MOST_RANGES:
            sections.range = NvtxRange(thread=sections.thread, domain=sections.domain, name=name)
            self.ranges.append(sections.range)


class SummaryReader(TableReader):
    """Takes the rows of one table."""

    def __init__(self, columns: Columns, into: Activities) -> None:
        super().__init__(columns)
        self._into = into
        self._title = into.sections.title

    def take_cells(self, told: dict[str, str]) -> bool:
        """Whether a row's cells, by column, are sound."""
        calls = [count(told[column]) for column in _CALLS if column in told]
        texts = [told["Time(%)"].removesuffix("%"), told["Time"], told["Min"], told["Max"]]
        times = [time_us(told[column], self.columns.unit(column)) for column in ("Time", "Min", "Max")]
        known = (number(text) is not None or is_untold(text) for text in texts)
        sound = (one or time is not None for one, time in zip(known, [None, *times], strict=True))
        if not told["Name"] or None in calls or not all(sound):
            return False
        self._into.untold += sum(map(is_untold, texts[1:]))
        if told.get("Type"):
            self._title = told["Type"].removesuffix(":")
        self._count(told["Name"], sum(one or 0 for one in calls), (times[0], times[1], times[2]))
        return True

    def _count(self, name: str, calls: int, times: tuple[float | None, float | None, float | None]) -> None:
        into = self._into
        if into.sections.in_ranges:
            self._count_range(calls, times[0])
        elif self._title == GPU:
            tally = into.memops[names.memory(name)] if names.is_memory(name) else into.kernels[name]
            tally.add(calls, *times)
        elif self._title == API:
            into.calls[name].add(calls, *times)
        elif len(into.others) < _MOST_ROWS:
            into.others[self._title] = into.others.get(self._title, 0) + 1

    def _count_range(self, calls: int, total_us: float | None) -> None:
        marked = self._into.sections.range
        if marked is None or total_us is None:
            return
        if self._title == "Range":
            marked.calls += calls
            marked.total_ms = (marked.total_ms or 0.0) + total_us / 1e3
        elif self._title == GPU:
            marked.gpu_operations += calls
            marked.gpu_ms = (marked.gpu_ms or 0.0) + total_us / 1e3


@dataclass(frozen=True, kw_only=True)
class Migration:
    """Pages of unified memory that moved, or faults, between a device and the host."""

    device: str
    name: str
    calls: int | None
    total_mb: float | None
    total_ms: float | None


@dataclass(kw_only=True)
class Unified:
    """The tables of unified memory; ``totals`` are such as ``Total CPU Page faults``."""

    memops: Tallies

    device: str = ""
    migrations: list[Migration] = field(default_factory=list)
    totals: dict[str, int] = field(default_factory=dict)


class UnifiedReader(TableReader):
    """Takes the rows of one table of unified memory: in CSV each has its device, in text a line before has it."""

    def __init__(self, columns: Columns, into: Unified) -> None:
        super().__init__(columns)
        self._into = into

    def take_cells(self, told: dict[str, str]) -> bool:
        """Whether a row's cells, by column, are sound."""
        calls, size, time = told["Count"], told["Total Size"], told.get("Total Time", "")
        name = told[self.columns.names[self.columns.name_at]]
        if not name or (calls not in ("", "-") and count(calls) is None) or len(self._into.migrations) >= _MOST_ROWS:
            return False
        moved, took, pages = size_bytes(size), time_us(time), count(calls)
        self._into.migrations.append(
            Migration(
                device=names.device(told.get("Device", self._into.device)),
                name=names.memory(name) if name in names.UNIFIED else name,
                calls=pages,
                total_mb=None if moved is None else moved / 1e6,
                total_ms=None if took is None else took / 1e3,
            )
        )
        if name in names.UNIFIED and pages:
            tally = self._into.memops[names.memory(name)]
            tally.add(pages, took, None, None)
            tally.add_bytes(moved)
        return True
