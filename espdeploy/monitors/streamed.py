"""Sources that are a program beside us which prints a line for each reading, at a period of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from espdeploy.child import Child
from espdeploy.errors import ToolFailed
from espdeploy.protocols import Clock
from espdeploy.units import NS_PER_S

#: a source without a new reading for so many periods, and at least so long, hangs
SILENT_PERIODS = 5
SILENT_LEAST_S = 3.0
#: a source that prints so many times more lines than its period says, in a second, floods
_FLOOD_TIMES = 10
_FLOOD_LEAST = 100
#: readings that nobody fetches: the oldest are let go
_MOST_WAITING = 1024
_ENVIRONMENT = {"LC_ALL": "C"}
_TRY_S = 0.01
_REASON_CHARS = 200

Told = TypeVar("Told")


class FloodError(Exception):
    """The program prints far more lines than it was asked for."""


class Stream(Generic[Told]):
    """The program's readings, each with the time at which its line arrived, on the shared clock.

    Args:
        argv: the program; its messages come in English.
        read: what a line tells; None for a line that is no reading.
        period_s: how often a reading was asked for.
        clock: what arrivals are dated by.
    """

    def __init__(
        self, argv: Sequence[str], *, read: Callable[[str], Told | None], period_s: float, clock: Clock
    ) -> None:
        self._name = argv[0]
        self._read = read
        self._period_s = period_s
        self._clock = clock
        self._waiting: deque[tuple[int, Told]] = deque(maxlen=_MOST_WAITING)
        self._words: deque[str] = deque(maxlen=2)  # the last lines that are no readings: why it ends, often
        self._arrived_ns = clock.now_ns()
        self._second_ns, self._lines = self._arrived_ns, 0
        self._silent = False
        self.child = Child.start(argv, on_line=self._take, env=_ENVIRONMENT)

    def first(self, count: int, *, within_s: float) -> list[Told]:
        """The first readings, waited for; fewer, down to none, where they do not come. They stay to be fetched."""
        deadline_ns = self._clock.now_ns() + round(within_s * NS_PER_S)
        while len(self._waiting) < count and self.child.alive and self._clock.now_ns() < deadline_ns:
            self._clock.sleep_s(_TRY_S)
        return [told for _, told in list(self._waiting)[:count]]

    def fetch(self) -> list[tuple[int, Told]]:
        """The readings that came since the call before, with their times of arrival in ns; each is given once.

        Raises:
            ToolFailed: the program ended, hangs, or floods.
        """
        fetched = []
        while self._waiting:
            fetched.append(self._waiting.popleft())
        if not fetched:
            self._check()
        return fetched

    def why_silent(self) -> str:
        """What the program said last, or did."""
        said = " | ".join(self._words)
        code = self.child.returncode
        did = "it prints nothing that can be read" if code is None else f"it ended with exit code {code}"
        return f"{did}: {said}" if said else did

    def _check(self) -> None:
        failure = self.child.failure
        if failure is not None:
            what = "floods" if isinstance(failure, FloodError) else "could not be read"
            raise ToolFailed(
                f"{self._name} {what} during the run", why=str(failure), do="espdeploy doctor"
            ) from failure
        if not self.child.alive:
            raise ToolFailed(f"{self._name} ended during the run", why=self.why_silent(), do="espdeploy doctor")
        silent_s = (self._clock.now_ns() - self._arrived_ns) / NS_PER_S
        was_silent, self._silent = self._silent, silent_s >= max(SILENT_PERIODS * self._period_s, SILENT_LEAST_S)
        if was_silent and self._silent:  # at a second look: where we were held up ourselves, its lines wait to be read
            raise ToolFailed(
                f"{self._name} has told nothing for {silent_s:.1f} s", why=self.why_silent(), do="espdeploy doctor"
            )

    def _take(self, line: str) -> None:
        """A line, in the reading thread."""
        now_ns = self._clock.now_ns()
        self._count(now_ns)
        told = self._read(line)
        if told is not None:
            self._arrived_ns = now_ns
            self._waiting.append((now_ns, told))
        elif line.strip():
            self._words.append(line.strip()[:_REASON_CHARS])

    def _count(self, now_ns: int) -> None:
        """Notice a flood: it takes a core from what is measured, and its values are not at the times they claim."""
        if now_ns - self._second_ns >= NS_PER_S:
            self._second_ns, self._lines = now_ns, 0
        self._lines += 1
        if self._lines > max(_FLOOD_TIMES / self._period_s, _FLOOD_LEAST):
            raise FloodError(f"{self._lines} lines within a second; one every {self._period_s:g} s was asked for")
