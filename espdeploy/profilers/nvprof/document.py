"""nvprof's output as a profile: kernels, memory operations, counters, and what went wrong.

Read off the outputs of CUDA 5 to 11.8; nvprof came with CUDA 5 and is gone since 12. Figures of processes and GPUs that
stand in one file are added up by name; ranges marked with NVTX repeat parts of a run and stand apart.
"""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import IO

from espdeploy.profilers.nvprof.columns import OTHER, SUMMARY, TRACE, header
from espdeploy.profilers.nvprof.ledger import Tallies
from espdeploy.profilers.nvprof.lines import said
from espdeploy.profilers.nvprof.messages import failure
from espdeploy.profilers.nvprof.reader import OutputReader
from espdeploy.profilers.values import Kernel, MemoryOperation, Profile

KIND = "nvprof"
#: how much of a file its kind is told by
HEAD_CHARS = 1 << 16
_MOST_CALLS = 1000
_TITLE = re.compile(
    r"NVPROF is profiling|Profiling (?:application: |result:|all processes)|(?:Metric|Event|NVTX|Trace) result:"
    r"|Unified Memory profiling result:|API calls:|CPU profiling result|System profiling result:|PC SAMPLING SUMMARY"
    r"|Some kernel\(s\) will be replayed"
)


def recognise(head: str) -> str | None:
    """``summary-csv``, ``trace``, ``metrics-csv`` … or ``messages``, told by a file's first characters, else None.

    Columns tell a variant by their names, marks by what stands behind them: other tools write ``==PID==`` too.
    """
    marked = False
    for line in head.lstrip("\ufeff").splitlines():
        columns = header(line)
        if columns is not None and (columns.kind != OTHER or marked):
            return f"{columns.kind}-csv" if columns.csv else columns.kind
        marked = marked or _is_nvprofs(line)
    return "messages" if marked else None


def _is_nvprofs(line: str) -> bool:
    found = said(line)
    if found is None:
        return False
    pid, text = found
    kind, colon, message = text.partition(": ")
    warned = bool(colon) and kind in ("Warning", "Error")
    return bool(_TITLE.match(text)) or (warned and (pid is None or failure(message) is not None))


def parse(stream: IO[str]) -> Profile:
    """What a file tells; the profile of a file that nvprof did not write is empty.

    Args:
        stream: the file's text; read once and in pieces, so that it may be of any size.
    """
    read = OutputReader()
    read.read(stream)
    kernels, memops = _activities(read)
    devices = [*dict.fromkeys([*read.traces.devices, *read.counters.devices])]
    readings = read.counters.readings.readings()
    return Profile(
        kind=KIND,
        tool_version=read.version,
        device=devices[0] if devices else None,
        kernels=kernels,
        memops=memops,
        readings=readings,
        errors=read.messages.finish(kernels=bool(kernels)),
        notes=tuple(_notes(read)),
        skipped_lines=read.skipped + read.room.refused,
        extra=_extra(read, devices),
    )


def _activities(read: OutputReader) -> tuple[tuple[Kernel, ...], tuple[MemoryOperation, ...]]:
    of = read.summaries if _has_summary(read) else read.traces
    timed = of.kernels.kernels()
    counted = {name: calls for name, calls in read.counters.readings.calls().items() if name not in of.kernels.of}
    kernels = (*timed, *(Kernel(name=name, calls=calls) for name, calls in counted.items()))
    if not any(name.startswith("unified") for name in of.memops.of):
        of.memops.of.update(read.unified.memops.of)
    return kernels, of.memops.memops()


def _has_summary(read: OutputReader) -> bool:
    return bool(read.summaries.kernels.of or read.summaries.memops.of)


def _notes(read: OutputReader) -> list[str]:
    notes = list(read.messages.notes)
    untold = read.summaries.untold + read.traces.untold + read.counters.untold
    if untold:
        notes.append(f"{untold} figures are <OVERFLOW>, <INVALID>, inf or the like: they are left out")
    if _has_summary(read) and (read.traces.kernels.of or read.traces.memops.of):
        notes.append("the file holds a summary and a trace: times are the summary's")
    if len(read.processes) > 1 and read.results > 1:
        notes.append(f"the file holds {read.results} results of {len(read.processes)} processes: they are added up")
    if len(devices := {**read.traces.devices, **read.counters.devices}) > 1:
        notes.append(f"figures of {len(devices)} GPUs are added up: {', '.join(list(devices)[:4])}")
    if read.counters.instances:
        told = ", ".join(f"{metric} of {count}" for metric, count in list(read.counters.instances.items())[:4])
        notes.append(f"--aggregate-mode off: the mean over units of the GPU is given ({told})")
    if read.room.refused:
        notes.append(f"{read.room.refused} rows are left out: the file holds more names than anyone could read")
    for title, rows in list(read.summaries.others.items())[:10]:
        notes.append(f"{rows} rows of {title} are not read")
    if set(read.kinds) == {OTHER}:
        notes.append("the file holds samples of the processor or of program counters, and nothing on kernels")
    elif (SUMMARY in read.kinds or TRACE in read.kinds) and not read.rows:
        notes.append("a table's header is there, but none of its rows")
    return notes


def _extra(read: OutputReader, devices: list[str]) -> dict[str, object]:
    """What a profile has no place for; keys without anything to tell are absent."""
    calls = read.summaries.calls if read.summaries.calls.of else read.traces.calls
    told: dict[str, object] = {
        "command": read.command,
        "devices": devices if len(devices) > 1 else None,
        "results": read.results,
        "api_calls": _calls(calls),
        "unified_memory": [asdict(one) for one in read.unified.migrations],
        "unified_memory_totals": read.unified.totals,
        "unified_memory_events": {name: tally.calls for name, tally in read.traces.events.of.items()},
        "nvtx_ranges": [asdict(one) for one in read.summaries.ranges],
    }
    return {key: value for key, value in told.items() if value}


def _calls(calls: Tallies) -> list[dict[str, object]]:
    return [asdict(call) for call in calls.kernels()[:_MOST_CALLS]]
