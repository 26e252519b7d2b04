from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest


class FakeClock:
    """Time that passes only when it is told to; a reading may cost some too."""

    def __init__(self, *, reading_ns: int = 0) -> None:
        self.at_ns = 5_000_000_000
        self.reading_ns = reading_ns

    def now_ns(self) -> int:
        self.at_ns += self.reading_ns
        return self.at_ns

    def sleep_s(self, seconds: float) -> None:
        self.at_ns += round(seconds * 1e9)

    def step_of(self, durations_ms: Iterable[float]) -> Callable[[], object]:
        """A step whose calls take these times, one after the other."""
        pending = iter(durations_ms)

        def step() -> None:
            self.at_ns += round(next(pending) * 1e6)

        return step


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
