"""``espdeploy models``: the zoo, or one network of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from espdeploy import units
from espdeploy.cli import options
from espdeploy.cli.output import Column, Output

if TYPE_CHECKING:
    from espdeploy.networks.entry import NetworkSummary


def models(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Show this network alone.")] = None,
    settings: options.Settings = None,
    json: options.Json = False,
) -> None:
    """Networks that espdeploy builds itself, with parameters, MACs and released checkpoints."""
    from espdeploy.errors import UsageError
    from espdeploy.networks.registry import REGISTRY, entry, parse_settings, summary

    output = Output(as_json=json)
    chosen = options.settings_from(settings)
    if name is not None:
        network = entry(name)
        _show_one(output, summary(network, parse_settings(network, chosen)))
        return
    if chosen:
        raise UsageError("--set needs the network that it belongs to", do="espdeploy models NAME --set KEY=VALUE")
    summaries = [summary(item) for item in REGISTRY.values()]
    if json:
        output.json([_document(item) for item in summaries])
        return
    columns = [
        Column(head="network"),
        Column(head="task"),
        Column(head="parameters", numeric=True),
        Column(head="MACs", numeric=True),
        Column(head="at"),
        Column(head="size MB", numeric=True),
        Column(head="source"),
        Column(head="released checkpoints"),
    ]
    output.table(columns, [_row(item) for item in summaries])


def _row(network: NetworkSummary) -> list[str]:
    return [
        network.name,
        network.task,
        units.count(network.params),
        units.count(network.macs),
        str(network.input_size),
        f"{network.size_mb:.2f}",
        network.source,
        ", ".join(checkpoint.name for checkpoint in network.checkpoints) or "–",
    ]


def _show_one(output: Output, network: NetworkSummary) -> None:
    if output.as_json:
        output.json(_document(network))
        return
    rows = [
        ("network", network.name),
        ("task", network.task),
        ("source", network.source),
        ("settings", ", ".join(f"{key}={value}" for key, value in network.settings.items())),
        ("parameters", f"{network.params:,}"),
        ("MACs", f"{units.count(network.macs)} for one image of {network.input_size}"),
        ("size", f"{network.size_mb:.2f} MB as FP32"),
    ]
    for checkpoint in network.checkpoints:
        score = "" if checkpoint.value is None else f", {checkpoint.metric} {checkpoint.value} ({checkpoint.source})"
        rows.append(("checkpoint", f"{checkpoint.name}: {checkpoint.data} {checkpoint.size}{score}"))
    if network.note:
        rows.append(("note", network.note))
    output.pairs(rows)


def _document(network: NetworkSummary) -> dict[str, object]:
    """As the contract names it: sizes are [width, height]."""
    return {
        "name": network.name,
        "task": network.task,
        "params": network.params,
        "macs": network.macs,
        "input_size": [network.input_size.width, network.input_size.height],
        "size_mb": network.size_mb,
        "source": network.source,
        "settings": network.settings,
        "checkpoints": [
            {
                "name": checkpoint.name,
                "sha256": checkpoint.sha256,
                "data": checkpoint.data,
                "input_size": [checkpoint.size.width, checkpoint.size.height],
                "metric": checkpoint.metric,
                "value": checkpoint.value,
                "source": checkpoint.source,
            }
            for checkpoint in network.checkpoints
        ],
        "note": network.note,
    }
