"""``espdeploy sweep``: what a suite still lacks, measured one by one; one failure costs its cell alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from espdeploy import store
from espdeploy.errors import EspdeployError, Interrupted
from espdeploy.pipeline.measuring.bench import benchmark
from espdeploy.pipeline.sweeping.plan import Planned, check_files, request_of
from espdeploy.protocols import Progress
from espdeploy.records import Record
from espdeploy.suites import Cell


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a cell: its records (found, or measured now), or the error that it ended in."""

    cell: Cell
    records: tuple[Record, ...] = ()
    error: EspdeployError | None = None
    measured: bool = False


#: measures cells; told of each outcome as it is there
Runner = Callable[[Sequence[Cell], Callable[[Outcome], None]], None]


def sweep(
    planned: Sequence[Planned], results: Path, progress: Progress, measure: Runner | None = None
) -> list[Outcome]:
    """Measure what is not done; every record is stored as soon as it is there, so that a later run goes on from it.

    Args:
        planned: the cells, as :func:`~espdeploy.pipeline.sweeping.plan.plan` tells them.
        results: where records go.
        progress: told of each cell.
        measure: how cells are measured; None: here, one by one.

    Raises:
        MissingCapability: the folder takes no more records (one that was just made is kept elsewhere, and said), or the
            cluster cannot be used.
        KeyboardInterrupt: in the middle; what was measured stays.
    """
    store.probe_writable(results)
    found = {item.cell.id: Outcome(cell=item.cell, records=item.records) for item in planned if item.done}
    left = [item.cell for item in planned if not item.done]

    def told(outcome: Outcome) -> None:
        found[outcome.cell.id] = outcome
        progress(len(found), len(planned), f"sweep, {outcome.cell.label}")

    (measure or _here(results, progress))(left, told)
    return [found[item.cell.id] for item in planned if item.cell.id in found]


def _here(results: Path, progress: Progress) -> Runner:
    """Cells one by one on this machine."""

    def measure(left: Sequence[Cell], told: Callable[[Outcome], None]) -> None:
        for number, cell in enumerate(left, start=1):
            progress(number - 1, len(left), f"measuring {cell.label}")
            told(_one(cell, results, progress))

    return measure


def _one(cell: Cell, results: Path, progress: Progress) -> Outcome:
    try:
        check_files(cell)
        benched = benchmark(request_of(cell), results, progress)
    except (Interrupted, store.ResultsUnwritable):  # it would be the same for every cell that is left
        raise
    except EspdeployError as error:
        return Outcome(cell=cell, error=error, measured=True)
    if any(item.stopped for item in benched):
        raise KeyboardInterrupt
    return Outcome(cell=cell, records=tuple(item.record for item in benched), measured=True)
