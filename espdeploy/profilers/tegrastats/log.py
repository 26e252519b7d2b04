"""A log of any size: which of its lines are samples, and what they add up to."""

from __future__ import annotations

from itertools import repeat
from operator import eq, itemgetter

from espdeploy.profilers.tegrastats.batches import Batch, Readable, batches
from espdeploy.profilers.tegrastats.columns import Shape, UnlikeError, leading_rail, shapes
from espdeploy.profilers.tegrastats.counting import count_sample
from espdeploy.profilers.tegrastats.restarts import Reading, Restarts
from espdeploy.profilers.tegrastats.sorting import MOST_PIECES, Sorter
from espdeploy.profilers.tegrastats.values import Log
from espdeploy.readings.tegrastats import fields_of, timestamp_of, without_open_end

_RAM = "RAM "


def read_log(stream: Readable) -> Log:
    """Read a log as a stream. Any text is one: lines that are not the tool's are counted as skipped."""
    reader = _Reader()
    for batch in batches(stream):
        reader.take(batch)
    return reader.finish()


class _Reader:
    def __init__(self) -> None:
        self._log = Log()
        self._shapes: dict[bytes, Shape] = {}
        self._restarts = Restarts()
        self._held: list[str] = []
        self._last: str | None = None

    def take(self, batch: Batch) -> None:
        """The next lines. The last sample waits for those that follow: its rest may be there."""
        self._log.skipped += batch.dropped
        lines = self._held + batch.lines
        if batch.open_end:
            lines[-1] = without_open_end(lines[-1])
        end = len(lines)
        cut = next((at for at in range(end - 1, max(end - MOST_PIECES, 0) - 1, -1) if _RAM in lines[at]), end)
        self._held = lines[cut:]
        self._add(lines[:cut])

    def finish(self) -> Log:
        """The log, after its last line."""
        self._add(self._held)
        self._log.restarts = self._restarts.count
        return self._log

    def _add(self, lines: list[str]) -> None:
        if not lines:
            return
        self._log.repeated += sum(map(eq, lines, lines[1:])) + (lines[0] == self._last)
        self._last = lines[-1]
        sorter = Sorter(lines, shapes(lines), self._shapes, self._log)
        sorter.sort()
        rails = self._groups(lines, sorter) + self._singles(sorter)
        self._restarts.take(sorted(rails, key=itemgetter(0)))
        self._times(lines, sorter)

    def _groups(self, lines: list[str], sorter: Sorter) -> list[Reading]:
        """Count the lines of known shapes; their leading rails. Lines that do not fit become singles."""
        rails: list[Reading] = []
        for kind, numbers in sorter.groups.items():
            shape = self._shapes[kind]
            members = [lines[number] for number in numbers]
            try:
                tokens = shape.add(members, self._log) if members else ()
            except UnlikeError:
                sorter.singles += zip(numbers, members, strict=True)
                continue
            if shape.lead is not None:
                rails += zip(numbers, repeat(shape.lead), tokens)
        return rails

    def _singles(self, sorter: Sorter) -> list[Reading]:
        """Count the other samples, one by one; their leading rails."""
        rails: list[Reading] = []
        for number, text in sorter.singles:
            tokens = text.split()
            fields = fields_of(tokens)
            if not any(each.kind == "ram" for each in fields):
                self._log.skipped += 1
                continue
            count_sample(tokens, fields, self._log)
            lead = leading_rail(fields)
            if lead is not None:
                rails.append((number, lead.name, tokens[lead.index]))
        return rails

    def _times(self, lines: list[str], sorter: Sorter) -> None:
        """The board's own time of the first and of the last sample."""
        texts = dict(sorter.singles)
        numbers = [number for group in sorter.groups.values() for number in group[:1] + group[-1:]]
        if not (numbers or texts):
            return
        first, last = (
            _time(texts.get(number, lines[number])) for number in (min([*numbers, *texts]), max([*numbers, *texts]))
        )
        self._log.first_timestamp = self._log.first_timestamp or first
        self._log.last_timestamp = last or self._log.last_timestamp


def _time(sample: str) -> str | None:
    tokens = sample.split()
    return timestamp_of(tokens, tokens.index("RAM")) if "RAM" in tokens else None
