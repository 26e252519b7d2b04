"""Whatever Nsight Systems wrote, as one profile."""

from __future__ import annotations

import re
from collections import Counter
from typing import IO

from espdeploy.profilers.nsys import columns
from espdeploy.profilers.nsys.columns import Table
from espdeploy.profilers.nsys.database import MAGIC
from espdeploy.profilers.nsys.export import launch_calls, parse_sqlite
from espdeploy.profilers.nsys.lines import Lines, is_progress
from espdeploy.profilers.nsys.messages import Messages
from espdeploy.profilers.nsys.sums import Sums, kernels, memops
from espdeploy.profilers.nsys.tables import Found, SummaryReader
from espdeploy.profilers.nsys.trace import Traced, TraceReader, device_name
from espdeploy.profilers.values import Profile

__all__ = ["HEAD_CHARS", "KIND", "is_sqlite", "parse", "parse_sqlite", "recognise"]

KIND = "nsys"
#: how much of a file its kind is told by
HEAD_CHARS = 1 << 16
_MOST_OPEN = 1 << 16
_SIGNS = re.compile(
    r"^[ |]*\"?Time ?\(%\)\"?[,\t |]+\"?Total Time\b|^[ |]*Start \((?:ns|us|ms|s|sec|\u03bcs)\)[,\t |]+Duration \("
    r"|^[ |]*Total \([KMG]?i?Bi?\)[,\t |]+(?:Count|Operations)\b|^CUDA [A-Za-z ]*Statistics(?: \([^)]*\))?:?$"
    r"|\bExecuting '\w+' stats report|^Processing \[.+\] with \[.+\]|^Exporting \[.+\] to console"
    r"|^Generating '.*\.qdstrm'|^Generating SQLite file .+ from |^SKIPPED: .+ does not contain "
    r"|^Exportation error: |^Importer error status: |^ERROR: [Rr]eport '.*' could not be found"
    r"|^ERROR: Database file .+",
    re.MULTILINE,
)
_VERSION = re.compile(r"nsight-systems/(?P<path>\d{4}\.\d+(?:\.\d+)*)/|your current version \((?P<told>\d{4}[\d.]+)")
_REPORT = re.compile(
    r"Executing '(?P<run>\w+)' stats report|/(?P<file>\w+)\.py(?: [^\]]*)?\](?:\.\.\.| to )|\((?P<title>\w+)\):\s*$"
)
_SIZE_TITLE = re.compile(r"CUDA Memory Operation Statistics \((?P<unit>[KMG]?i?B)\)")


def recognise(head: str) -> str | None:
    """``stats`` or ``sqlite``, told by a file's first characters; None for anything else."""
    if head.startswith(MAGIC.decode()):
        return "sqlite"
    return "stats" if _SIGNS.search(head) else None


def is_sqlite(head: bytes) -> bool:
    """Whether a file's first bytes are those of a SQLite database; ``parse_sqlite`` tells whether it is nsys'."""
    return head.startswith(MAGIC)


def parse(stream: IO[str]) -> Profile | None:
    """What ``nsys stats`` or ``nsys profile --stats=true`` printed; None where they did not.

    ``extra`` holds, as far as the text tells, ``launches``, ``launch_calls`` and ``launch_call_total_ms``; ``api``,
    ``os_runtime`` and ``nvtx`` with the keys of kernels; and of a GPU trace ``span_ms``, ``busy_ms`` and ``idle_pct``.

    Args:
        stream: the file's text; it need not be seekable.
    """
    head = stream.read(HEAD_CHARS)
    if recognise(head) != "stats":
        return None
    lines, reader = Lines(head, stream), _Reader()
    for some in lines:
        reader.take(some)
    return reader.profile(lines.overlong)


class _Reader:
    def __init__(self) -> None:
        self._found = Found()
        self._traced = Traced()
        self._messages = Messages()
        self._table: SummaryReader | TraceReader | None = None
        self._ended = False
        self._open = ""
        self._size_unit = ""
        self._skipped = 0
        self._reports: dict[str, None] = {}
        self._version: str | None = None

    def take(self, lines: list[str]) -> None:
        at = 0
        while at < len(lines):
            if isinstance(self._table, TraceReader) and not self._open:
                at = self._table.run(lines, at)
            if at < len(lines):
                self._take(lines[at])
                at += 1

    def profile(self, overlong: int) -> Profile:
        self._close_row()
        if self._table is not None:
            self._table.finish()
        found, traced = self._found, self._traced
        # the same kernels stand in several reports: the one that tells them whole and most exactly counts
        kernel_sums = next(
            (sums for sums in (found.kernels, found.gridded, found.of_gpu) if sums), traced.sums(kernels=True)
        )
        memory = next((sums for sums in (found.memory, found.memory_of_gpu) if sums), traced.sums(kernels=False))
        self._add_sizes(memory)
        return Profile(
            kind=KIND,
            tool_version=self._version,
            device=self._device(),
            kernels=kernels(kernel_sums.of.items()),
            memops=memops(memory.of.items()),
            errors=self._messages.errors(kernels=bool(kernel_sums)),
            notes=(*self._messages.notes, *self._notes(kernel_sums)),
            skipped_lines=self._skipped + overlong + found.refused + traced.refused + traced.work.refused,
            extra=self._extra(kernel_sums),
        )

    def _take(self, line: str) -> None:
        if self._open:
            self._continue_row(line)
            return
        if not line.strip():
            self._ended = True
            return
        if self._header(line) or columns.is_rule(line):
            self._ruled(line)
            return
        if self._table is not None and self._row(line):
            return
        if is_progress(line) or self._title(line) or self._messages.take(line):
            return
        self._skipped += self._table is not None and not self._ended

    def _row(self, line: str) -> bool:
        table = self._table
        if table is None:
            return False
        if columns.is_open(line, table.table) and line.count(",") >= 3:
            self._open = line
            return True
        return table.take(line)

    def _continue_row(self, line: str) -> None:
        """A quoted name goes on over a line end."""
        whole = f"{self._open} {line}"
        if line.count('"') % 2 == 1 or len(whole) > _MOST_OPEN:
            self._open = ""
            self._skipped += self._table is None or not self._table.take(whole)
        else:
            self._open = whole

    def _close_row(self) -> None:
        self._skipped += bool(self._open)
        self._open = ""

    def _header(self, line: str) -> bool:
        table = columns.header(line, size_unit=self._size_unit)
        if table is None:
            return False
        if self._table is not None:
            self._table.finish()
        self._found.tables[table.kind] += 1
        self._table, self._ended = self._reader(table), False
        return True

    def _reader(self, table: Table) -> SummaryReader | TraceReader:
        if table.kind in (columns.GPU_TRACE, columns.API_TRACE):
            return TraceReader(table, self._traced)
        return SummaryReader(table, self._found)

    def _ruled(self, line: str) -> None:
        if self._table is not None and not self._table.table.spans:
            self._table.table = self._table.table.ruled(line)

    def _title(self, line: str) -> bool:
        """Whether a line tells which report comes, and of which nsys."""
        if len(line) > 1000:
            return False
        version = _VERSION.search(line)
        if version is not None and self._version is None:
            self._version = version["path"] or version["told"]
        size = _SIZE_TITLE.match(line)
        self._size_unit = size["unit"] if size else self._size_unit
        report = _REPORT.search(line)
        if report is not None and len(self._reports) < 100:
            self._reports.setdefault(report["run"] or report["file"] or report["title"], None)
        return report is not None

    def _add_sizes(self, memory: Sums) -> None:
        for name, row in self._found.sizes.of.items():
            held = memory.of.get(name)
            if held is None:
                memory.add(name, row)
            elif held.calls == row.calls:
                held.size_bytes = row.size_bytes

    def _device(self) -> str | None:
        told = {device_name(device) for device in self._traced.devices}
        return told.pop() if len(told) == 1 else None

    def _notes(self, kernel_sums: Sums) -> list[str]:
        notes = []
        cut = self._found.cut_names or self._traced.cut_names
        if cut:
            notes.append(f"nsys cut {cut} long names off: nsys stats --format csv gives them whole")
        repeated = [kind for kind, count in _told(self._found.tables).items() if count > 1]
        if repeated:
            notes.append(f"several tables of one kind are added up: {', '.join(sorted(repeated))}")
        if not kernel_sums and not self._found.tables and not self._messages.errors(kernels=False):
            notes.append("the output holds no tables: nsys stats REPORT.nsys-rep prints them")
        if self._traced.timeline is None:
            notes.append("the trace is not in order of its begins: when the GPU was idle is not known")
        return notes

    def _extra(self, kernel_sums: Sums) -> dict[str, object]:
        extra: dict[str, object] = {}
        if kernel_sums:
            extra["launches"] = sum(row.calls for row in kernel_sums.of.values())
        calls = self._found.calls or self._traced.calls
        extra |= launch_calls(calls)
        for key, sums in (("api", calls), ("os_runtime", self._found.system), ("nvtx", self._found.ranges)):
            if sums:
                extra[key] = sums.documents()
        spans = self._traced.timeline.spans if self._traced.timeline else ()
        if spans:
            extra |= {"span_ms": spans[0].span_ms, "busy_ms": spans[0].busy_ms, "idle_pct": spans[0].idle_pct}
        if self._reports:
            extra["reports"] = list(self._reports)
        return extra


def _told(tables: Counter[str]) -> dict[str, int]:
    """Tables that add to one another; a kernel summary with launch configurations beside one without does not."""
    return {kind: count for kind, count in tables.items() if kind in (columns.KERNELS, columns.MEMORY_TIME)}
