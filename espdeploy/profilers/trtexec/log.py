"""The log of one or several runs, read line by line: verdicts, and what each run tells between them.

A run stands between ``&&&& RUNNING TensorRT.trtexec [TensorRT v8201] # command`` and ``&&&& PASSED …`` or ``FAILED``;
TensorRT 7 leaves the bracket out, 10 adds one with the build. Copied logs begin or end anywhere, and since warnings and
errors go to standard error, their place among the other lines means nothing (samples/common/logging.h).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from espdeploy.profilers.trtexec.lines import read_line
from espdeploy.profilers.trtexec.run import RunReader, version_of_code
from espdeploy.profilers.trtexec.values import Summary

_STATUS = re.compile(r"&&&& (RUNNING|PASSED|FAILED|WAIVED) \S+(?P<tags>(?: \[[^\]]*\])*)(?: # (?P<command>.*))?")
_TAG = re.compile(r"\[[^\]]*?v(\d{4,7})\]")
_LONGEST_COMMAND = 4000
_MARKS_END = 40


@dataclass(frozen=True, kw_only=True)
class TrtexecLog:
    """The runs of a log, in order; a log may hold several, one after the other."""

    runs: tuple[Summary, ...]

    @property
    def told(self) -> Summary:
        """The run to show where one is wanted: the first with figures, else the first."""
        with_figures = (run for run in self.runs if run.gpu_compute or run.latency or run.profile)
        return next(with_figures, self.runs[0] if self.runs else Summary())


def read_log(lines: Iterable[str]) -> TrtexecLog:
    """Read a log. Any text is one: what is no line of the tool is passed over."""
    reader = _Reader()
    for raw in lines:
        reader.take(raw)
    return TrtexecLog(runs=tuple(reader.finish()))


class _Reader:
    def __init__(self) -> None:
        self._done: list[Summary] = []
        self._run: RunReader | None = None

    def take(self, raw: str) -> None:
        if "[V]" in raw[:_MARKS_END] or "Average on " in raw:  # by far the most lines of long logs, none looked for
            return
        status = _STATUS.search(raw) if "&&&& " in raw else None
        if status is not None:
            self._status(status)
            return
        line = read_line(raw)
        marked = line.severity or ": min = " in line.text or "=== Profile" in line.text
        if self._run is None and not marked:
            return  # text around the runs
        if self._run is None or self._run.is_over(line):
            self._run = self._begin()
        self._run.take(line)

    def finish(self) -> list[Summary]:
        self._close()
        return self._done

    def _status(self, status: re.Match[str]) -> None:
        running = status[1] == "RUNNING"
        if running or self._run is None or self._run.fields.get("passed") is not None:
            self._run = self._begin()
        fields = self._run.fields
        tag = _TAG.search(status["tags"])
        if tag is not None:
            fields["version"] = version_of_code(int(tag[1]))
        if status["command"]:
            fields["command"] = status["command"].strip()[:_LONGEST_COMMAND]
        fields["passed"] = None if running else status[1] == "PASSED"
        self._run.began |= running

    def _begin(self) -> RunReader:
        self._close()
        return RunReader()

    def _close(self) -> None:
        if self._run is not None:
            summary = self._run.finish()
            if summary != Summary():
                self._done.append(summary)
        self._run = None
