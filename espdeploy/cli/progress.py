"""Progress on standard error: a bar on a terminal, one line per stage elsewhere."""

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
        if text != self._last:
            self._last = text
            with contextlib.suppress(OSError):  # a reader that has gone, or a full disk, ends no export
                sys.stderr.write(f"{text} ...\n")
                sys.stderr.flush()


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
            if text not in tasks:
                for task in tasks.values():
                    bars.update(task, visible=False)
                tasks[text] = bars.add_task(text, total=total)
            bars.update(tasks[text], completed=done, total=total)

        yield progress
