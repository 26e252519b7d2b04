"""One run of the tool, followed line by line: how far it is, what it warns of, whether it passed.

trtexec writes information to standard output, warnings and errors to standard error (samples/common/logging.h), and
says at its end ``&&&& PASSED`` or ``&&&& FAILED``; a run that says neither did not pass, whatever its exit code.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from espdeploy.artifacts import write_atomic
from espdeploy.backends.trtexec.failures import explain
from espdeploy.backends.trtexec.plan import Plan
from espdeploy.backends.trtexec.tool import Tool
from espdeploy.errors import MissingCapability
from espdeploy.protocols import Progress, no_progress
from espdeploy.shell import run

_TIME = r"^(?:\[\d\d/\d\d/\d{4}-\d\d:\d\d:\d\d\] ?)?"
_WARNING = re.compile(_TIME + r"(?:\[W\] ?(?:\[TRT\] ?)?|\[TRT\] ?\[W\] ?)(?:\w+\.cpp:\d+: )?(?P<text>.*)")
#: what differs between warnings that say the same: names in brackets, numbers, addresses
_PARTICULAR = re.compile(r"\[[^\]]*\]|0x[0-9a-f]+|\d+(?:\.\d+)?")
_VERDICT = re.compile(r"^&&&& (PASSED|FAILED)", re.MULTILINE)
_KEPT_WARNINGS = 100

Stages = Sequence[tuple[re.Pattern[str], str]]


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run that passed. ``output`` holds the lines of both streams, in the order in which they came."""

    argv: tuple[str, ...]
    wall_s: float
    warnings: tuple[str, ...]
    output: str


@dataclass(kw_only=True)
class _Follower:
    """Takes the tool's lines as they come."""

    stages: Stages
    progress: Progress
    watch: Callable[[str], None]
    lines: list[str] = field(default_factory=list)
    warnings: dict[str, list[str]] = field(default_factory=dict)  # by what they say, all that say it
    _stage: int = 0

    def take(self, line: str) -> None:
        self.lines.append(line)
        for index, (pattern, text) in enumerate(self.stages[self._stage :], start=self._stage + 1):
            if pattern.search(line):
                self._stage = index
                self.progress(index, len(self.stages), text)
                break
        warning = _WARNING.match(line)
        if warning is not None and warning["text"].strip():
            said = warning["text"].strip()
            self.warnings.setdefault(_PARTICULAR.sub("", said), []).append(said)
        self.watch(line)

    def told(self) -> tuple[str, ...]:
        """Each warning once, with how often it came where that is more than once."""
        once = [said[0] if len(said) == 1 else f"{said[0]} ({len(said)} times)" for said in self.warnings.values()]
        more = len(once) - _KEPT_WARNINGS
        return tuple(once[:_KEPT_WARNINGS] + ([f"and {more} others"] if more > 0 else []))


def nothing_to_watch(line: str) -> None:
    """For runs whose lines need no judging while they come."""


def follow(
    tool: Tool,
    argv: Sequence[str],
    plan: Plan,
    *,
    timeout_s: float,
    stages: Stages = (),
    progress: Progress = no_progress,
    watch: Callable[[str], None] = nothing_to_watch,
) -> Run:
    """Run the tool to its end.

    Args:
        tool: which one.
        argv: the command.
        plan: what it follows, for the error where it fails.
        timeout_s: when it is ended.
        stages: lines that begin a stage, in order, and what to call it.
        progress: told of each stage.
        watch: called with each line; what it raises ends the tool.

    Raises:
        EspdeployError: it did not pass (:func:`espdeploy.backends.trtexec.failures.explain`), or took too long.
    """
    follower = _Follower(stages=stages, progress=progress, watch=watch)
    progress(0, len(stages) or None, f"starting {tool.kind}")
    began_s = time.monotonic()
    done = run(argv, timeout_s=timeout_s, check=False, on_line=follower.take)
    wall_s = time.monotonic() - began_s
    output = "\n".join(follower.lines)
    if done.returncode != 0 or not _passed(tool, output):
        raise explain(output, done.returncode, tool=tool, plan=plan)
    return Run(argv=tuple(argv), wall_s=wall_s, warnings=follower.told(), output=output)


def _passed(tool: Tool, output: str) -> bool:
    """trtexec says so in so many words; of tensorrt_rtx, whose last line nothing documents, silence is enough."""
    verdicts = _VERDICT.findall(output)
    return verdicts[-1] == "PASSED" if verdicts else tool.is_rtx


def keep(written: Path, final: Path) -> bool:
    """Move what the tool wrote to its own name, whole; False where it wrote nothing.

    Raises:
        MissingCapability: one of the two places cannot be used.
    """
    if not written.is_file():
        return False
    try:
        content = written.read_bytes()
    except OSError as error:
        raise MissingCapability(
            f"cannot read {written}: {error.strerror}", do="make room in the temporary folder"
        ) from error
    write_atomic(final, content)
    return True
