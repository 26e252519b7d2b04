"""The SQLite file that ``nsys export`` and ``nsys stats`` make of a recording, read without nsys.

Columns are asked for by name: releases add some and move others. Kernels are named by ``demangledName``, as ``nsys
stats`` names them. Tables that a run had nothing for do not exist. Source: the schemas of exports 2.9 to 3.24.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from espdeploy.errors import InputFileError
from espdeploy.profilers.nsys import names
from espdeploy.profilers.nsys.database import Database
from espdeploy.profilers.nsys.launches import launches
from espdeploy.profilers.nsys.messages import Messages
from espdeploy.profilers.nsys.sums import LONGEST_NS, PIECE, IdSums, Sum, Sums, kernels, memops
from espdeploy.profilers.nsys.timeline import OutOfOrderError, Timeline, Work, merged, nearly_ordered
from espdeploy.profilers.values import Profile, ToolMessage

KERNELS = "CUPTI_ACTIVITY_KIND_KERNEL"
COPIES = "CUPTI_ACTIVITY_KIND_MEMCPY"
SETS = "CUPTI_ACTIVITY_KIND_MEMSET"
CALLS = "CUPTI_ACTIVITY_KIND_RUNTIME"
GRAPHS = "CUPTI_ACTIVITY_KIND_GRAPH_TRACE"
_META = ("META_DATA_EXPORT", "EXPORT_META_DATA")
_NAMES = ("demangledName", "shortName", "mangledName")
_TIMES = ("start", "end")
_SOUND = (
    "typeof(start) = 'integer' AND typeof(\"end\") = 'integer' AND start >= 0"
    f' AND "end" - start BETWEEN 0 AND {LONGEST_NS - 1}'
)
#: rows carry their device above their name
_DEVICE_BIT = 40
_NAME_MASK = (1 << _DEVICE_BIT) - 1
_LARGEST = 1 << 46
_ASKED = 500
_RECORD = (
    "record the process that uses the GPU with --trace=cuda (espdeploy profile --tool nsys does), let it end by itself,"
    " and in a container give it the GPU (--gpus all; on a Jetson --runtime nvidia)"
)
_Columns = tuple[NDArray[np.int64], ...]


def parse_sqlite(path: Path) -> Profile:
    """What an export tells: kernels, memory operations, API calls, and when the GPU was idle.

    ``extra`` holds, as far as they are known, ``span_ms``, ``busy_ms`` and ``idle_pct`` from the first kernel to the
    last on the GPU that was busiest, ``launches``, ``launch_calls`` with ``launch_call_total_ms``, the medians
    ``launch_call_us`` and ``launch_latency_us``, and ``api``.

    Raises:
        InputFileError: it is locked, damaged, or no export of Nsight Systems.
    """
    with Database(path) as database:
        if not _is_export(database):
            raise InputFileError(
                f"{path} is a SQLite database, but no export of Nsight Systems",
                why=f"it has no table StringIds or {KERNELS}; it has {_few(sorted(database.tables))}",
                do="make one: nsys export --type sqlite REPORT.nsys-rep",
            )
        return _Export(database).profile()


def _is_export(database: Database) -> bool:
    return database.has("StringIds", "id", "value") or any(database.has(table, *_TIMES) for table in (KERNELS, COPIES))


class _Table:
    """A table of what ran: which columns tell what, and what is done with each piece of it."""

    def __init__(self, name: str, key: str, *, size: str | None = None, kernel: bool = False) -> None:
        self.name = name
        self.expressions = ("start", '"end"', key) if size is None else ("start", '"end"', key, size)
        self.kernel = kernel
        self.sums = IdSums()
        self.rows = 0
        self.where = _SOUND

    def added(self, columns: _Columns) -> Work:
        start, end, key = columns[:3]
        self.sums.add(key, end - start, columns[3] if len(columns) > 3 else None)
        self.rows += start.size
        return self.work(columns)

    def work(self, columns: _Columns) -> Work:
        start, end, key = columns[:3]
        return Work(start_ns=start, end_ns=end, device=key >> _DEVICE_BIT, kernel=np.full(start.size, self.kernel))


class _Export:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._notes: list[str] = []
        self._skipped = 0
        self._tables = {
            name: table
            for name, table in (
                (KERNELS, self._keyed(KERNELS, *_NAMES, kernel=True)),
                (GRAPHS, self._keyed(GRAPHS, "graphId", "graphExecId", kernel=True)),
                (COPIES, self._keyed(COPIES, "copyKind")),
                (SETS, self._keyed(SETS, "value")),
            )
            if table is not None
        }

    def profile(self) -> Profile:
        messages = self._diagnostics()
        timeline = self._timeline()
        calls = self._calls()
        self._count_skipped()
        found = self._named_kernels()
        if not found.of:
            self._say_no_kernels(messages)
        return Profile(
            kind="nsys",
            tool_version=self._version(),
            device=self._device(timeline),
            kernels=kernels(found.of.items()),
            memops=memops(self._named_memory().of.items()),
            errors=messages.errors(kernels=bool(found.of)),
            notes=tuple(self._notes),
            skipped_lines=self._skipped,
            extra=self._extra(timeline, calls, found),
        )

    def _keyed(self, name: str, *keys: str, kernel: bool = False) -> _Table | None:
        """The table, its rows told apart by the first of the columns that it has."""
        database = self._database
        if not database.has(name, *_TIMES):
            if name in database.tables:
                self._notes.append(f"table {name} has no columns start and end: it is left out")
            return None
        key = next((f'"{key}"' for key in keys if key in database.tables[name]), None)
        if key is None:
            self._notes.append(f"table {name} has no column {' or '.join(keys)}: its rows have no names")
        device = "ifnull(deviceId, 0)" if "deviceId" in database.tables[name] else "0"
        size = "bytes" if "bytes" in database.tables[name] else None
        # what sets memory is told apart by nothing; a kernel without a name still counts
        told = "0" if key is None or name == SETS else f"ifnull({key}, 0)"
        table = _Table(
            name, f"(({device} & 65535) << {_DEVICE_BIT}) + ({told} & {_NAME_MASK})", size=size, kernel=kernel
        )
        if size is not None:
            table.where += f" AND typeof(bytes) = 'integer' AND bytes BETWEEN 0 AND {_LARGEST}"
        return table

    def _timeline(self) -> Timeline | None:
        """Everything that ran, counted, and in order of its begin."""
        tables = list(self._tables.values())
        timeline = Timeline()
        sources = [self._pieces(table, table.added) for table in tables]
        try:
            for work in merged([nearly_ordered(source) for source in sources]):
                timeline.add(work)
        except OutOfOrderError:
            for source in sources:
                deque(source, maxlen=0)  # what is left of it is counted all the same
            timeline = self._ordered_timeline(tables)
        return timeline

    def _ordered_timeline(self, tables: list[_Table]) -> Timeline:
        """The same where the file is not in order: SQLite sorts it, which takes longer."""
        timeline = Timeline()
        for work in merged([self._sorted_pieces(table) for table in tables]):
            timeline.add(work)
        return timeline

    def _pieces(self, table: _Table, use: Callable[[_Columns], Work]) -> Iterator[Work]:
        for columns in self._database.arrays(table.name, table.expressions, table.where):
            yield use(columns)

    def _sorted_pieces(self, table: _Table) -> Iterator[Work]:
        told = ", ".join(table.expressions)
        query = f'SELECT {told} FROM "{table.name}" WHERE {table.where} ORDER BY start'  # noqa: S608 - our names
        rows = self._database.rows(query)
        while piece := list(islice(rows, PIECE)):
            yield table.work(tuple(np.array(piece, dtype=np.int64).T))

    def _calls(self) -> Sums:
        """API calls by name."""
        database, sums = self._database, IdSums()
        if not database.has(CALLS, *_TIMES, "nameId"):
            return Sums()
        where = f"{_SOUND} AND typeof(nameId) = 'integer'"
        for start, end, key in database.arrays(CALLS, ("start", '"end"', "nameId"), where):
            sums.add(key, end - start)
        told = self._strings(list(sums.of))
        found = Sums()
        for number, row in sums.of.items():
            found.add(names.api(told.get(number, f"call {number}")), row)
        return found

    def _named_kernels(self) -> Sums:
        found = Sums()
        table = self._tables.get(KERNELS)
        if table is not None:
            told = self._strings(sorted({key & _NAME_MASK for key in table.sums.of}))
            for key, row in table.sums.of.items():
                found.add(told.get(key & _NAME_MASK, f"kernel {key & _NAME_MASK} (its name is not in the file)"), row)
        return found

    def _named_memory(self) -> Sums:
        found = Sums()
        if COPIES in self._tables:
            for key, row in self._tables[COPIES].sums.of.items():
                kind = key & _NAME_MASK
                found.add(names.COPY_KINDS.get(kind, f"copy of kind {kind}"), row)
        if SETS in self._tables:
            for row in self._tables[SETS].sums.of.values():
                found.add(names.MEMSET, row)
        return found

    def _strings(self, ids: list[int]) -> dict[int, str]:
        found: dict[int, str] = {}
        if not self._database.has("StringIds", "id", "value"):
            return found
        for at in range(0, len(ids), _ASKED):
            asked = ids[at : at + _ASKED]
            marks = ", ".join("?" * len(asked))
            query = f"SELECT id, substr(value, 1, 8192) FROM StringIds WHERE id IN ({marks})"  # noqa: S608 - marks alone
            found.update(
                (key, text)
                for key, text in self._database.rows(query, tuple(asked))
                if isinstance(key, int) and isinstance(text, str)
            )
        return found

    def _extra(self, timeline: Timeline | None, calls: Sums, found: Sums) -> dict[str, object]:
        extra: dict[str, object] = {"launches": sum(row.calls for row in found.of.values())}
        spans = timeline.spans if timeline else ()
        if spans:
            extra |= {"span_ms": spans[0].span_ms, "busy_ms": spans[0].busy_ms, "idle_pct": spans[0].idle_pct}
        if len(spans) > 1:
            extra["gpus"] = len(spans)
            self._notes.append(f"kernels ran on {len(spans)} GPUs: the span and its idle share are of the busiest one")
        if calls:
            extra |= launch_calls(calls)
            extra["api"] = calls.documents()
        told = launches(self._database, self._tables[KERNELS].rows) if calls and found else None
        if told is not None:
            extra |= {"launch_call_us": told.call_us, "launch_latency_us": told.latency_us}
        if GRAPHS in self._tables and self._tables[GRAPHS].rows:
            extra["graph_launches"] = self._tables[GRAPHS].rows
        return extra

    def _count_skipped(self) -> None:
        for table in self._tables.values():
            self._skipped += self._database.seen.get(table.name, 0) - table.rows + table.sums.refused

    def _say_no_kernels(self, messages: Messages) -> None:
        if GRAPHS in self._tables and self._tables[GRAPHS].rows:
            text = "CUDA graphs were traced as a whole: the file does not tell of the kernels in them"
            do = "record with --cuda-graph-trace=node (espdeploy profile --tool nsys does)"
            messages.add(ToolMessage(code="graphs_whole", text=text, do=do))
            return
        absent = "no rows in" if KERNELS in self._database.tables else "no table"
        messages.add(ToolMessage(code="no_kernels", text=f"the export has {absent} {KERNELS}", do=_RECORD))

    def _diagnostics(self) -> Messages:
        """What nsys said while it recorded."""
        messages = Messages()
        if self._database.has("DIAGNOSTIC_EVENT", "text"):
            query = "SELECT DISTINCT substr(text, 1, 1000) FROM DIAGNOSTIC_EVENT LIMIT 1000"
            for (text,) in self._database.rows(query):
                messages.take(text if isinstance(text, str) else "")
        return messages

    def _version(self) -> str | None:
        for table in _META:
            if self._database.has(table, "name", "value"):
                query = f"SELECT substr(value, 1, 100) FROM {table} WHERE name = 'EXPORT_PRODUCT_VERSION'"  # noqa: S608
                found = next(self._database.rows(query), (None,))[0]
                if isinstance(found, str):
                    return found
        return None

    def _device(self, timeline: Timeline | None) -> str | None:
        """The GPU that was busiest; the only one where nothing ran."""
        if not self._database.has("TARGET_INFO_GPU", "id", "name"):
            return None
        number = "cuDevice" if "cuDevice" in self._database.tables["TARGET_INFO_GPU"] else "id"
        query = f"SELECT ifnull({number}, id), substr(name, 1, 200) FROM TARGET_INFO_GPU LIMIT 1000"  # noqa: S608
        found = {key: name for key, name in self._database.rows(query) if isinstance(name, str)}
        spans = timeline.spans if timeline else ()
        if spans and spans[0].device in found:
            return found[spans[0].device]
        return next(iter(found.values())) if len(set(found.values())) == 1 else None


def launch_calls(calls: Sums) -> dict[str, object]:
    """How many API calls launched kernels, and their time; nothing where there are none."""
    launching = Sum()
    for name, row in calls.of.items():
        if names.is_launch(name):
            launching.add(row)
    if not launching.calls:
        return {}
    return {"launch_calls": launching.calls, "launch_call_total_ms": launching.total_ms}


def _few(found: list[str]) -> str:
    shown = ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
    return shown or "none"
