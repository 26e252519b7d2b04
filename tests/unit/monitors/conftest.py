from __future__ import annotations

import pytest


class FakeClock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.at_ns = 7_000_000_000

    def now_ns(self) -> int:
        return self.at_ns

    def sleep_s(self, seconds: float) -> None:
        self.at_ns += round(seconds * 1e9)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
