"""``espdeploy sweep``: a suite of measurements, resumable, on one machine or on many."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from espdeploy.cli import options, progress
from espdeploy.cli.output import Column, Output
from espdeploy.cli.remote import Elsewhere, cells_elsewhere
from espdeploy.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espdeploy.pipeline.sweeping.plan import Planned
    from espdeploy.pipeline.sweeping.run import Outcome
    from espdeploy.records import Record
    from espdeploy.suites import PublishedFigure, Suite


def sweep(
    context: typer.Context,
    suite: Annotated[
        str | None,
        typer.Argument(
            metavar="SUITE",
            help="A name of benchmarks/suites, or a TOML file, whose paths start at its own folder; all if none.",
        ),
    ] = None,
    results: options.Results = Path("results"),
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="TEXT", help="Only cells whose line holds this (or fits a *).")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", metavar="ADDRESS", help="Hand the cells to this Dask cluster.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what remains; measure nothing.")] = False,
    json: options.Json = False,
) -> None:
    """Measure every combination that a suite asks for; what is done already is skipped.

    Each record is stored as it is made, so a sweep that was stopped goes on where it was. With --scheduler the cells
    go to workers that declare their device as a resource: dask worker ADDRESS --nthreads 1 --resources "tx2=1".
    With --host they are measured there, and the records come here.
    """
    from espdeploy import suites
    from espdeploy.pipeline.sweeping.plan import plan

    output = Output(as_json=json)
    if scheduler is not None and isinstance(context.obj, Elsewhere):
        raise UsageError("--scheduler and --host both say where cells are measured", do="leave one of them away")
    if suite is None:
        _list(output)
        return
    chosen = suites.suite(suite)
    planned = plan(chosen, results, only=only or ())
    if dry_run:
        _show_plan(output, chosen, planned)
        return
    from espdeploy.pipeline.sweeping import run

    with progress.shown() as shown, contextlib.ExitStack() as stack:
        measure = None
        if scheduler is not None:
            from espdeploy.pipeline.sweeping.cluster import on_cluster

            measure = on_cluster(scheduler, results, shown)
        elif isinstance(context.obj, Elsewhere) and any(not item.done for item in planned):
            measure = stack.enter_context(cells_elsewhere(context.obj, results, shown))
        outcomes = run.sweep(planned, results, shown, measure)
    _show(output, chosen, outcomes)
    failed = next((outcome.error for outcome in outcomes if outcome.error is not None), None)
    if failed is not None:
        raise typer.Exit(failed.exit_code)


def _list(output: Output) -> None:
    from espdeploy import suites

    found = [suites.suite(name) for name in suites.suite_names()]
    if output.as_json:
        output.json([{"name": item.name, "description": item.description} for item in found])
        return
    columns = [Column(head="suite"), Column(head="cells", numeric=True), Column(head="what it measures")]
    output.table(columns, [[item.name, str(len(suites.cells(item))), item.description] for item in found])


def _show_plan(output: Output, suite: Suite, planned: Sequence[Planned]) -> None:
    from espdeploy.pipeline.sweeping.plan import command_of

    if output.as_json:
        cells = [
            {"id": item.cell.id, "cell": item.cell.label, "done": item.done, "command": command_of(item.cell)}
            for item in planned
        ]
        output.json({"suite": suite.name, "cells": cells, "remaining": sum(not item.done for item in planned)})
        return
    columns = [Column(head="cell"), Column(head="state")]
    output.table(columns, [[item.cell.label, "done" if item.done else "to do"] for item in planned])
    left = [item.cell for item in planned if not item.done]
    output.note(f"{len(left)} of {len(planned)} cells remain")
    for cell in left[:1]:
        output.note(f"the first: {command_of(cell)}")
    for note in suite.notes:
        output.note(note)


def _show(output: Output, suite: Suite, outcomes: Sequence[Outcome]) -> None:
    if output.as_json:
        output.json({"suite": suite.name, "cells": [_document(outcome) for outcome in outcomes]})
        return
    columns = [
        Column(head="cell"),
        Column(head="GPU MHz", numeric=True),
        Column(head="FPS", numeric=True),
        Column(head="median ms", numeric=True),
        Column(head="power W", numeric=True),
        Column(head="J/frame", numeric=True),
        Column(head="printed in the paper"),
    ]
    rows = [_row(suite, outcome, record) for outcome in outcomes for record in outcome.records]
    if rows:
        output.table(columns, rows)
    for outcome in outcomes:
        if outcome.error is not None:
            output.note(f"failed: {outcome.cell.label}")
            output.error(outcome.error)
    measured = sum(outcome.measured and outcome.error is None for outcome in outcomes)
    failed = sum(outcome.error is not None for outcome in outcomes)
    output.note(f"{measured} measured now, {len(outcomes) - measured - failed} there before, {failed} failed")


def _row(suite: Suite, outcome: Outcome, record: Record) -> list[str]:
    clock, power = record.device.gpu_freq_mhz, record.power
    mark = "SIMULATED " if record.device.simulated else ""
    return [
        mark + outcome.cell.label,
        f"{clock.set:g}" if clock.set is not None else "–",
        f"{record.fps:.2f}",
        f"{record.latency_ms.p50:.2f}",
        "not measured" if power is None else f"{power.mean_w:.2f}",
        "not measured" if power is None else f"{power.energy_per_inference_j:.4g}",
        "; ".join(_printed(figure) for figure in suite.published if _is_of(figure, outcome, record)),
    ]


def _printed(figure: PublishedFigure) -> str:
    at = f" at {figure.gpu_mhz:g} MHz" if figure.gpu_mhz is not None else ""
    return f"{figure.metric} {figure.value:g}{at} ({figure.where})"


def _is_of(figure: PublishedFigure, outcome: Outcome, record: Record) -> bool:
    """Whether a printed figure is of this row: the network, and the frequency that was asked for."""
    cell, asked_mhz = outcome.cell, record.device.gpu_freq_mhz.requested
    named = figure.model in (cell.model.label, cell.model.name)
    at = figure.gpu_mhz is None or asked_mhz == figure.gpu_mhz
    return named and at and (figure.size is None or figure.size == cell.size)


def _document(outcome: Outcome) -> dict[str, object]:
    error = outcome.error
    return {
        "id": outcome.cell.id,
        "cell": outcome.cell.label,
        "state": "failed" if error else "measured" if outcome.measured else "found",
        "records": [record.id for record in outcome.records],
        "error": None
        if error is None
        else {"code": error.exit_code, "what": error.what, "why": error.why, "do": error.do},
    }
