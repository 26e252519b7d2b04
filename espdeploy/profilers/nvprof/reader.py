"""nvprof's output, line by line: titles, messages, headers and the tables below them, with other text in between."""

from __future__ import annotations

import re
from typing import IO

from espdeploy.profilers.nvprof import columns as kinds
from espdeploy.profilers.nvprof import summary, trace
from espdeploy.profilers.nvprof.columns import Columns, header, is_open, units_row
from espdeploy.profilers.nvprof.ledger import Room, Tallies
from espdeploy.profilers.nvprof.lines import Lines, said
from espdeploy.profilers.nvprof.messages import Messages
from espdeploy.profilers.nvprof.metrics import CounterReader, Counters, LaunchReader
from espdeploy.profilers.nvprof.names import device
from espdeploy.profilers.nvprof.tables import PassedOver, TableReader

_DEVICE = re.compile(r'Device "(?P<name>[^"]*)"')
_TOTAL = re.compile(r"(?P<what>Total (?:CPU|remote) [A-Za-z ]{4,40}): (?P<count>\d{1,18})")
_COMMAND = re.compile(r"(?:Profiling application: |NVPROF is profiling process \d+, command: )(?P<command>.*)")
_LEGEND = re.compile(r"(?:Regs|SSMem|DSMem|SrcMemType|DstMemType): ")
_RELEASE = re.compile(r"^Release version (?P<version>\d+\.\d+(?:\.\d+)?)")
_LONGEST_COMMAND = 4000
_LONGEST_NAME_LINES = 4


class OutputReader:
    """Reads a file once; then its parts hold what it told."""

    def __init__(self) -> None:
        self.room = Room()
        self.summaries = summary.Activities(self.room)
        self.traces = trace.Activities(self.room)
        self.counters = Counters(self.room)
        self.unified = summary.Unified(memops=Tallies(self.room))
        self.messages = Messages()
        self.skipped = 0
        self.version: str | None = None
        self.command: str | None = None
        self.results = 0
        self.processes: dict[str, None] = {}
        self.kinds: dict[str, None] = {}
        self.rows = 0
        self._table: TableReader | None = None
        self._fresh = False
        #: whether lines that are no rows are none of the table's business: an empty line came, or a legend
        self._loose = False
        self._open: list[str] = []

    def read(self, stream: IO[str]) -> None:
        """Read all of it."""
        source = Lines(stream)
        for lines in source:
            self._take_all(lines)
        self._close_open()
        self._end()
        self.skipped += source.overlong

    def _take_all(self, lines: list[str]) -> None:
        at, end = 0, len(lines)
        while at < end:
            if self._table is not None and not self._open:
                after = self._table.run(lines, at)
                self.rows += after - at
                at = after
            if at < end:
                self._take(lines[at])
                at += 1

    def _take(self, line: str) -> None:
        marked = said(line)
        if marked is not None:
            self._close_open()
            self._marked(*marked)
        elif not line.strip():
            self._loose = True
        elif (columns := header(line)) is not None:
            self._close_open()
            self._begin(columns)
        elif not self._named(line) and not self.messages.take_unmarked(line):
            self._row(line)

    def _marked(self, pid: str | None, text: str) -> None:
        if pid is not None and len(self.processes) < 1000:
            self.processes.setdefault(pid, None)
        if self.messages.take(text):
            return
        command = _COMMAND.match(text)
        if command is not None:
            self.command = self.command or command["command"][:_LONGEST_COMMAND]
        elif self.summaries.begin(text) or text.startswith(("PC SAMPLING", "CPU profiling", "Dependency Analysis")):
            self.results += text == "Profiling result:"
            self._end()
        else:
            self._named(text)

    def _named(self, line: str) -> bool:
        """Whether a line names the device, the kernel or the total of what follows or came before."""
        text = line.strip()
        if text.startswith("Kernel: ") and self._table is not None and self._table.columns.kind in _COUNTED:
            self.counters.kernel = text.removeprefix("Kernel: ")
        elif (match := _DEVICE.fullmatch(text)) is not None:
            self.counters.see(match["name"])
            self.unified.device = device(match["name"])
        elif (total := _TOTAL.fullmatch(text)) is not None:
            name = total["what"].removeprefix("Total ").lower()
            self.unified.totals[name] = self.unified.totals.get(name, 0) + int(total["count"])
        elif (release := _RELEASE.match(text)) is not None:
            self.version = release["version"]
        elif _LEGEND.match(text):
            self._loose = True
        else:
            return False
        return True

    def _begin(self, columns: Columns) -> None:
        self._end()
        self.kinds.setdefault(columns.kind, None)
        self._fresh = True
        self._table = self._reader(columns)

    def _reader(self, columns: Columns) -> TableReader:
        if columns.kind == kinds.SUMMARY:
            return summary.SummaryReader(columns, self.summaries)
        if columns.kind == kinds.TRACE:
            return trace.TraceReader(columns, self.traces)
        if columns.kind in _COUNTED:
            return CounterReader(columns, self.counters)
        if columns.kind == kinds.TRACE_METRICS:
            return LaunchReader(columns, self.counters)
        if columns.kind == kinds.UNIFIED:
            return summary.UnifiedReader(columns, self.unified)
        return PassedOver(columns)

    def _end(self) -> None:
        if self._table is not None:
            self._table.finish()
        self._table, self._loose, self.counters.kernel = None, False, ""

    def _row(self, line: str) -> None:
        table = self._table
        if table is None:
            return
        if self._fresh:
            self._fresh = False
            units = units_row(line, table.columns)
            if units is not None:
                table.set_units(table.columns.with_units(units))
                return
        if table.take(line):
            self._close_open()
            self.rows += 1
        elif self._open or (table.columns.csv and is_open(line)):
            self._go_on(table, line)
        else:
            self.skipped += not self._loose

    def _go_on(self, table: TableReader, line: str) -> None:
        """A name may hold line ends; what does not become a row soon was none."""
        self._open.append(line)
        if table.take("\n".join(self._open)):
            self._open.clear()
            self.rows += 1
        elif len(self._open) >= _LONGEST_NAME_LINES:
            self._close_open()

    def _close_open(self) -> None:
        self.skipped += len(self._open)
        self._open.clear()


_COUNTED = (kinds.METRICS, kinds.EVENTS)
