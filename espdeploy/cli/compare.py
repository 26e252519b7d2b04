"""``espdeploy compare``: two sets of records side by side, as a table or as a gate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from espdeploy import units
from espdeploy.cli import options
from espdeploy.cli.output import Column, Output

if TYPE_CHECKING:
    from espdeploy.pipeline.measuring.compare import Row


def compare(
    base: Annotated[Path, typer.Argument(metavar="BASE", help="A record, or a folder of records.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="A record, or a folder of records.")],
    max_regression: Annotated[
        list[str] | None,
        typer.Option(
            "--max-regression",
            metavar="METRIC=PCT%",
            help="End with 1 if METRIC gets worse by more: latency, gpu_latency, latency_p95, fps, power, energy, "
            "memory, accuracy or size. Repeatable.",
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Set two measurements side by side, with the uncertainty of the difference.

    A difference inside the noise breaks no limit. Three records or more on each side let the noise between runs be
    judged; with fewer only that within a run is known. Different protocols are never compared.
    """
    from espdeploy.pipeline.measuring.compare import compare_records, limits_from

    compared = compare_records(base, new, limits_from(max_regression or []))
    output = Output(as_json=json)
    if json:
        output.json({"rows": [row.document() for row in compared.rows], "passed": compared.passed})
    else:
        _show(output, compared.rows)
        for note in compared.notes:
            output.note(note)
    if not compared.passed:
        raise typer.Exit(1)


def _show(output: Output, rows: tuple[Row, ...]) -> None:
    columns = [
        Column(head="metric"),
        Column(head="base", numeric=True),
        Column(head="new", numeric=True),
        Column(head="change % (95 % interval)", numeric=True),
        Column(head="verdict"),
    ]
    for subject in dict.fromkeys(row.subject for row in rows):
        cells = [_cells(row) for row in rows if row.subject == subject]
        output.table(columns, cells, title=subject)


def _cells(row: Row) -> list[str]:
    change = row.change
    interval = f" ({change.ci95_pct[0]:+.1f} … {change.ci95_pct[1]:+.1f})" if change.ci95_pct else ""
    return [
        f"{change.metric} {change.unit}",
        units.significant(change.base, 4),
        units.significant(change.new, 4),
        "–" if change.change_pct is None else f"{change.change_pct:+.1f}{interval}",
        _verdict(row),
    ]


def _verdict(row: Row) -> str:
    change = row.change
    if not row.passed:
        reason = "not measured" if change.change_pct is None else f"worse by more than {row.limit_pct:g} %"
        return f"FAIL: {reason}"
    if change.change_pct is None:
        return "not measured"
    if change.significant is None or change.change_pct == 0:
        return "" if change.change_pct else "equal"
    if not change.significant:
        return "within the noise"
    return "worse" if change.worse else "better"
