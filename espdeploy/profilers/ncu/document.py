"""ncu's output as a profile: kernels with their times, counters, and what went wrong.

Read off the outputs of 2020.3 to 2025.1. Each kernel was run alone, several times over, with caches emptied and clocks
at their base unless the command said otherwise: its time is not that of the run.
"""

from __future__ import annotations

import re
from collections.abc import Container
from typing import IO

from espdeploy.profilers.ncu import columns
from espdeploy.profilers.ncu.messages import is_marked
from espdeploy.profilers.ncu.reader import OutputReader
from espdeploy.profilers.ncu.text import PROCESS, RULE
from espdeploy.profilers.values import Profile

KIND = "ncu"
#: how much of a file its kind is told by
HEAD_CHARS = 1 << 16
_CUT_HEADER = re.compile(r'"ID","Process ID","Process Name","Host Name","Kernel Name","')
_SUMMARY = re.compile(
    r"(?<=\S) \([\d, ]+\)x\([\d, ]+\).*Invocations \d|Block Size [\d.,]+, Grid Size [\d.,]+.* invocations"
)
_SECTION = re.compile(r"\s+Section: \S")


def recognise(head: str) -> str | None:
    """``details-csv``, ``raw-csv``, ``summary-csv``, ``text``, ``summary-text`` or ``messages``, else None.

    A raw page's header may be longer than the head; its first columns tell it.
    """
    marked = texts = False
    previous = ""
    for line in head.lstrip("\ufeff").splitlines():
        found = columns.header(line)
        if found is not None:
            return f"{found.kind}-csv"
        if _CUT_HEADER.match(line):
            return f"{columns.RAW}-csv"
        if (texts or line.startswith("  ")) and _SUMMARY.search(line):
            return "summary-text"
        if RULE.fullmatch(line) and (_SECTION.match(previous) or texts):
            return "text"
        texts = texts or (PROCESS.fullmatch(line.strip()) is not None)
        marked = marked or is_marked(line)
        previous = line if line.strip() and not line.lstrip().startswith("Metric Name") else previous
    return "messages" if marked else None


def parse(stream: IO[str], *, only: Container[str] | None = None) -> Profile:
    """What a file tells; the profile of a file that ncu did not write is empty.

    Args:
        stream: the file's text; read once and in pieces, so that it may be of any size.
        only: the counters that are wanted of a raw page, which has some 700; None for all.
    """
    read = OutputReader(only)
    read.read(stream)
    errors = read.messages.finish(launches=read.found.launches)
    kernels = read.ledger.kernels()
    return Profile(
        kind=KIND,
        tool_version=read.version,
        device=read.found.attributes.get("display_name") or None,
        kernels=kernels,
        readings=read.ledger.readings(),
        errors=errors,
        notes=tuple(_notes(read, timed=any(kernel.total_ms is not None for kernel in kernels))),
        skipped_lines=read.skipped,
        extra=_extra(read),
    )


def _notes(read: OutputReader, *, timed: bool) -> list[str]:
    notes = list(read.messages.notes)
    numbers = read.ledger.numbers
    if timed:
        clocks = "clocks were left as they were" if read.messages.free_clocks else "clocks at their base by default"
        notes.append(
            f"ncu runs each kernel alone and replays it ({clocks}): its times are no measure of the run's speed"
        )
    if read.messages.passes > 1:
        notes.append(f"each launch was run up to {read.messages.passes} times to count all of it")
    if read.ledger.untold:
        notes.append(f"{read.ledger.untold} figures are nan or n/a: they are left out")
    if numbers.point_groups or numbers.comma_groups:
        mark = "points" if numbers.point_groups else "commas"
        notes.append(f"numbers are marked for a locale: {mark} between thousands (LC_ALL=C ncu … prints none)")
    elif numbers.guessed:
        notes.append(
            f"{numbers.guessed} numbers such as 117.344 are taken for thousands, as ncu never prints three decimals;"
            " LC_ALL=C ncu … leaves no doubt"
        )
    if read.found.in_ranges:
        notes.append("launches are summed up by NVTX range: one that stands in ranges of two domains counts twice")
    if read.ledger.refused:
        notes.append(f"{read.ledger.refused} counters are left out: the file holds more names than anyone could read")
    return notes


def _extra(read: OutputReader) -> dict[str, object]:
    found, messages = read.found, read.messages
    told: dict[str, object] = {
        "pages": list(found.kinds),
        "launches": found.launches,
        "profiled": messages.profiled,
        "replays": messages.passes or None,
        "compute_capability": found.compute_capability,
        "device_attributes": found.attributes,
        "rules": found.rules,
    }
    return {name: value for name, value in told.items() if value not in (None, [], {})}
