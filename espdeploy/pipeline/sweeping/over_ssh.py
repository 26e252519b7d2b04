"""Cells of a suite measured on another machine over SSH, one by one; what is done, and every record, is kept here."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from espdeploy import store
from espdeploy.backends.registry import TAKES_MODULES
from espdeploy.devices.ssh import Remote
from espdeploy.errors import AnswerIsNo, EspdeployError, Interrupted, MissingCapability, ToolFailed, UsageError
from espdeploy.pipeline.measuring.targets import exported
from espdeploy.pipeline.remote.run import Lines, Ran, run_there
from espdeploy.pipeline.remote.there import There
from espdeploy.pipeline.sweeping.plan import check_files, command_of, request_of
from espdeploy.pipeline.sweeping.run import Outcome, Runner
from espdeploy.protocols import Progress
from espdeploy.suites import Cell

_BY_CODE = {kind.exit_code: kind for kind in (AnswerIsNo, UsageError, MissingCapability, ToolFailed)}


def on_host(remote: Remote, there: There, results: Path, messages: Callable[[str], None], progress: Progress) -> Runner:
    """A runner that gives each cell to ``bench`` on the other side.

    Networks are exported on this side, for a board needs neither PyTorch nor the weights. A connection that breaks ends
    the sweep; an error of a cell costs that cell.

    Args:
        remote: an open connection.
        there: how espdeploy is started there.
        results: where records go, on this machine.
        messages: told what the other side writes to its standard error.
        progress: told of exports and of each cell.
    """
    lines = Lines(output=_nothing, messages=messages)

    def measure(left: Sequence[Cell], told: Callable[[Outcome], None]) -> None:
        for number, cell in enumerate(left):
            progress(number, len(left), f"measuring {cell.label} on {remote.host}")
            try:
                graph = _graph(cell, progress)
            except Interrupted:
                raise
            except EspdeployError as error:
                told(Outcome(cell=cell, error=error, measured=True))
                continue
            words = shlex.split(command_of(cell, graph=graph))[1:]
            ran = run_there(
                remote, there, [*words, "--json", "--results", str(results)], lines=lines, progress=progress
            )
            told(_outcome(cell, ran))

    return measure


def _graph(cell: Cell, progress: Progress) -> Path | None:
    """The network's file on this side; None for runtimes of PyTorch's own."""
    check_files(cell)
    request = request_of(cell).target
    if request.model is None or (cell.runtime or "") in TAKES_MODULES:
        return None
    return Path(request.model.name) if request.model.is_onnx else exported(request, progress)


def _outcome(cell: Cell, ran: Ran) -> Outcome:
    """The records that came home, known again as this cell's; or the error that the other side told."""
    if ran.returncode == Interrupted.exit_code:
        raise Interrupted("interrupted on the other side", do="run the same command again")
    if ran.returncode != 0:
        return Outcome(cell=cell, error=_error(ran), measured=True)
    records = []
    for path in ran.files:
        record = dataclasses.replace(store.read_folder(path).records[0], cell=cell.id, command=command_of(cell))
        store.replace(record, path)
        records.append(record)
    return Outcome(cell=cell, records=tuple(records), measured=True)


def _error(ran: Ran) -> EspdeployError:
    try:
        told = json.loads(ran.stdout)["error"]
        return _BY_CODE.get(ran.returncode, ToolFailed)(told["what"], why=told["why"], do=told["do"])
    except (ValueError, KeyError, TypeError):
        return ToolFailed(f"espdeploy ended with {ran.returncode} on the other side, and told no error")


def _nothing(line: str) -> None:
    """For a document that is read whole at the end."""
