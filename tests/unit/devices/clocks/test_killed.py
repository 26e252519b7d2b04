"""espdeploys that are killed at random moments: the board is as it was, or the next command makes it so."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


@pytest.fixture(scope="module")
def killer(boards: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    found = boards.Killer(tmp_path_factory.mktemp("killed"), seed=20)
    yield found
    found.close()


def test_all_is_as_it_was_whenever_it_is_killed(killer: Any) -> None:
    """A session takes about half a second; benchmarks/clock_restore.py does the same 200 times."""
    runs = [killer.kill(number, within_s=0.5) for number in itertools.islice(itertools.cycle(SIGNALS), 12)]
    assert [run for run in runs if not run.restored] == []
    killed = [run for run in runs if run.signal == "SIGKILL"]
    assert any(run.changed for run in killed), "no kill came while clocks were changed: the test shows nothing"
    assert all(run.said for run in killed if run.changed)
    assert all(run.exit_code in (130, -number) for run in runs for number in (signal.Signals[run.signal],))
