"""Programs on the GPU that are not ours: which they are, and how they are told from this one and its children."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from espdeploy.monitors.attributes import text_of
from espdeploy.units import NS_PER_S

_EVERY_NS = NS_PER_S
_MOST_ANCESTORS = 64


class OnGpu(Protocol):
    """A process as NVML lists it."""

    pid: int


class Family:
    """This process and what it started, by the parents that /proc names."""

    def __init__(self, root: Path = Path("/"), own_pid: int | None = None) -> None:
        self._proc = root / "proc"
        self._own_pid = os.getpid() if own_pid is None else own_pid

    def is_ours(self, pid: int) -> bool | None:
        """Whether the process is this one or below it; None where /proc does not show it."""
        for _ in range(_MOST_ANCESTORS):
            if pid == self._own_pid or pid <= 1:
                return pid == self._own_pid
            parent = self._parent(pid)
            if parent is None:
                return None
            pid = parent
        return None

    def name(self, pid: int) -> str:
        """The program with its number: ``python3 (pid 4711)``."""
        return f"{text_of(self._proc / str(pid) / 'comm') or 'a program'} (pid {pid})"

    def _parent(self, pid: int) -> int | None:
        stat = text_of(self._proc / str(pid) / "stat")
        try:  # the name in parentheses may hold blanks and parentheses of its own
            return None if stat is None else int(stat.rpartition(")")[2].split()[1])
        except (IndexError, ValueError):
            return None


class OtherProcesses:
    """The programs of others on a GPU, looked for once a second because listing them costs most.

    Args:
        listed: the processes on the GPU now.
        error: what ``listed`` raises when it is refused.
        family: tells ours from others.
    """

    def __init__(self, listed: Callable[[], Sequence[OnGpu]], error: type[Exception], family: Family) -> None:
        self._listed = listed
        self._error = error
        self._family = family
        self._due_ns: int | None = None
        self._seen: dict[int, str] = {}

    @property
    def seen(self) -> tuple[str, ...]:
        """Every one that was seen so far, with its number."""
        return tuple(self._seen.values())

    def answers(self) -> bool:
        """Whether they can be listed at all."""
        try:
            self._listed()
        except (self._error, AttributeError):
            return False
        return True

    def is_due(self, now_ns: int) -> bool:
        """Whether it is time to look again."""
        return self._due_ns is None or now_ns >= self._due_ns

    def count(self, now_ns: int) -> int | None:
        """How many there are now; None where that cannot be told.

        In a container the numbers on the GPU are the host's: a process that /proc does not show may be this very one.
        """
        self._due_ns = now_ns + _EVERY_NS
        try:
            pids = [process.pid for process in self._listed()]
        except self._error:
            return None
        ours = {pid: self._family.is_ours(pid) for pid in pids}
        others = [pid for pid, is_ours in ours.items() if is_ours is False]
        self._seen.update((pid, self._family.name(pid)) for pid in others if pid not in self._seen)
        return None if None in ours.values() else len(others)
