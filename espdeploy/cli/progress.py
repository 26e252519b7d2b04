"""Progress on standard error: a bar on a terminal, one line per stage elsewhere.

A text is the name of a stage, and after a comma what changes while it lasts: ``calibrating, 12.3 images/s``.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from espdeploy.cli.output import colours_wanted
from espdeploy.protocols import Progress

if TYPE_CHECKING:
    from rich.progress import TaskID


@contextlib.contextmanager
def shown() -> Iterator[Progress]:
    """A progress that draws as long as the block lasts."""
    if colours_wanted(sys.stderr.isatty()):
        with _bars() as progress:
            yield progress
    else:
        yield _PlainProgress()


class _PlainProgress:
    """Says each stage once, so that a log stays short."""

    def __init__(self) -> None:
        self._last: str | None = None

    def __call__(self, done: int, total: int | None, text: str) -> None:
        del done, total
        stage = _stage(text)
        if stage != self._last:
            self._last = stage
            with contextlib.suppress(OSError):  # a reader that has gone, or a full disk, ends no export
                sys.stderr.write(f"{stage} ...\n")
                sys.stderr.flush()


def _stage(text: str) -> str:
    return text.partition(", ")[0]


@contextlib.contextmanager
def _bars() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    tasks: dict[str, TaskID] = {}
    with RichProgress(*columns, console=Console(stderr=True), refresh_per_second=4, transient=True) as bars:

        def progress(done: int, total: int | None, text: str) -> None:
            stage = _stage(text)
            if stage not in tasks:
                for task in tasks.values():
                    bars.update(task, visible=False)
                tasks[stage] = bars.add_task(text, total=total)
            bars.update(tasks[stage], completed=done, total=total, description=text)

        yield progress
