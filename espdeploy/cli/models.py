"""``espdeploy models``: the zoo, or one network of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from espdeploy import units
from espdeploy.cli import options
from espdeploy.cli.output import Column, Output

if TYPE_CHECKING:
    from espdeploy.networks.summary import NetworkSummary


def models(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Show this network alone.")] = None,
    settings: options.Settings = None,
    json: options.Json = False,
) -> None:
    """Networks that espdeploy builds itself, with parameters, MACs and released checkpoints."""
    from espdeploy.errors import UsageError
    from espdeploy.networks.registry import REGISTRY, entry
    from espdeploy.networks.summary import summarise

    output = Output(as_json=json)
    chosen = options.settings_from(settings)
    if name is not None:
        _show_one(output, summarise(entry(name), chosen))
        return
    if chosen:
        raise UsageError("--set needs the network that it belongs to", do="espdeploy models NAME --set KEY=VALUE")
    summaries = [summarise(item, {}) for item in REGISTRY.values()]
    if json:
        output.json(summaries)
        return
    columns = [
        Column(head="network"),
        Column(head="task"),
        Column(head="parameters", numeric=True),
        Column(head="MACs", numeric=True),
        Column(head="at"),
        Column(head="size MB", numeric=True),
        Column(head="source"),
        Column(head="released checkpoints", numeric=True),
    ]
    output.table(columns, [_row(item) for item in summaries])


def _row(summary: NetworkSummary) -> list[str]:
    return [
        summary.name,
        summary.task,
        units.count(summary.params),
        units.count(summary.macs),
        "x".join(str(side) for side in summary.input_size),
        f"{summary.size_mb:.2f}",
        summary.source,
        str(len(summary.checkpoints)),
    ]


def _show_one(output: Output, summary: NetworkSummary) -> None:
    if output.as_json:
        output.json(summary)
        return
    output.pairs(
        [
            ("network", summary.name),
            ("task", summary.task),
            ("source", summary.source),
            ("parameters", f"{summary.params:,}"),
            ("MACs", f"{units.count(summary.macs)} at {summary.input_size[0]}x{summary.input_size[1]}"),
            ("size", f"{summary.size_mb:.2f} MB as FP32"),
        ]
    )
