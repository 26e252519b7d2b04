"""Clocks after an espdeploy that is killed at a random moment: put back in all of 200 runs.

Each run has files of a TX2 of its own and a nvpmodel of its own (tests/unit/devices/clocks/boards.py), over which one
espdeploy after the other locks the GPU's clock, sets another power mode, and puts both back. It gets SIGKILL, SIGTERM,
SIGHUP or SIGINT; after SIGKILL the next command's look at the journal follows, as at the start of every command.
"""

from __future__ import annotations

import importlib.util
import signal
import sys
import tempfile
from pathlib import Path
from types import ModuleType

from common import write

RUNS = 200
SEED = 6
#: two sessions and a little: kills come in every part of one, and between two
WITHIN_S = 0.8
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def boards() -> ModuleType:
    """The stand-in board of the tests, which are no package."""
    path = Path(__file__).parent.parent / "tests/unit/devices/clocks/boards.py"
    spec = importlib.util.spec_from_file_location("clock_boards", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        killer = boards().Killer(Path(folder), SEED)
        runs = [killer.kill(SIGNALS[index % len(SIGNALS)], within_s=WITHIN_S) for index in range(RUNS)]
        killer.close()
    by_signal = {}
    for number in SIGNALS:
        mine = [run for run in runs if run.signal == number.name]
        by_signal[number.name] = {
            "runs": len(mine),
            "restored": sum(run.restored for run in mine),
            "ended_by_the_session": sum(run.exit_code == 130 for run in mine),  # else by the signal, between two
            "changed_when_it_had_ended": sum(run.changed for run in mine),
        }
    restored = sum(run.restored for run in runs)
    write(
        "clock_restore",
        {
            "limit_restored": RUNS,
            "runs": len(runs),
            "restored": restored,
            "kill_within_s": WITHIN_S,
            "seed": SEED,
            "by_signal": by_signal,
        },
    )
    if restored != len(runs):
        sys.exit(f"not restored: {[run for run in runs if not run.restored]}")


if __name__ == "__main__":
    main()
