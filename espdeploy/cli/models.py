"""``espdeploy models``: the zoo, one network of it, or an ONNX file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from espdeploy import units
from espdeploy.cli import options
from espdeploy.cli.output import Column, Output

if TYPE_CHECKING:
    from espdeploy.networks.breakdown import Breakdown, KindCount
    from espdeploy.networks.entry import ModuleFigures, NetworkSummary, ReleasedCheckpoint
    from espdeploy.networks.published import Compared
    from espdeploy.pipeline.models import Described, DescribedFile

_METRICS = {"miou_pct": "mIOU", "top1_pct": "top-1"}


def models(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME|F.onnx", help="Show this network or ONNX file alone.")
    ] = None,
    settings: options.Settings = None,
    size: options.Size = None,
    layers: Annotated[bool, typer.Option("--layers", help="With NAME: count every layer and list them.")] = False,
    json: options.Json = False,
) -> None:
    """Networks that espdeploy builds itself: parameters, MACs, printed accuracy, released checkpoints.

    MACs are multiply-adds of convolution and linear layers for one image. With NAME: the papers' figures beside
    our count, and why they differ.
    """
    from espdeploy.errors import UsageError
    from espdeploy.pipeline.models import describe, describe_file, listing
    from espdeploy.specs import ImageSize

    output = Output(as_json=json)
    chosen = options.settings_from(settings)
    at = ImageSize.parse(size) if size else None
    if name is None:
        given = {"--set": bool(chosen), "--size": at is not None, "--layers": layers}
        if any(given.values()):
            first = next(option for option, used in given.items() if used)
            raise UsageError(f"{first} needs the network that it belongs to", do=f"espdeploy models NAME {first} …")
        _show_zoo(output, listing())
    elif name.endswith(".onnx"):
        if chosen:
            raise UsageError(
                f"--set cannot change {name}", why="an ONNX file is as it was exported", do="leave it away"
            )
        _show_file(output, describe_file(Path(name), size=at), layers=layers)
    else:
        _show_one(output, describe(name, chosen, size=at, count=json or layers), layers=layers)


def _show_zoo(output: Output, zoo: Sequence[Described]) -> None:
    if output.as_json:
        output.json([network.document() for network in zoo])
        return
    columns = [
        Column(head="network"),
        Column(head="task"),
        Column(head="params", numeric=True),
        Column(head="MB", numeric=True),
        Column(head="MACs", numeric=True),
        Column(head="at"),
        Column(head="accuracy in print"),
        Column(head="weights"),
    ]
    output.table(columns, [_row(network) for network in zoo])
    for network in zoo:
        if network.printed_with:
            output.note(f"* {network.summary.name} with {network.printed_with}")
    output.note(
        "MB: as FP32. MACs: multiply-adds for one image or text. mIOU and top-1: %. weights: released files read."
    )
    output.note("One network with all its figures: espdeploy models NAME")


def _row(network: Described) -> list[str]:
    summary = network.summary
    released = len(summary.checkpoints)
    return [
        summary.name,
        summary.task,
        units.count(summary.params),
        f"{summary.size_mb:.2f}",
        units.count(summary.macs),
        str(summary.input_size),
        _short_accuracy(network),
        f"{network.checkpoints_read} of {released}" if released else "–",
    ]


def _short_accuracy(network: Described) -> str:
    """``60.3 mIOU Cityscapes test``, with a star where the settings are not the defaults."""
    row = network.accuracy
    if row is None or row.value is None:
        return "–"
    data = (row.data or "").partition(",")[0].replace("validation", "val")
    return f"{_score(row.metric, row.value).replace(' % ', ' ')} {data}{' *' if network.printed_with else ''}"


def _accuracy(network: Described) -> str:
    """``60.3 % mIOU, Cityscapes test``, with the settings where they are not the defaults."""
    row = network.accuracy
    if row is None or row.value is None:
        return "–"
    data = (row.data or "").partition(",")[0]
    with_settings = f" ({network.printed_with})" if network.printed_with else ""
    return f"{_score(row.metric, row.value)}, {data}{with_settings}"


def _score(metric: str | None, value: float | None) -> str:
    if value is None:
        return "–"
    if metric in _METRICS:
        return f"{value:.1f} % {_METRICS[metric]}"
    return f"{value:.1f} {metric}"


def _show_one(output: Output, network: Described, *, layers: bool) -> None:
    if output.as_json:
        output.json(network.document(layers=layers))
        return
    summary = network.summary
    rows = [
        ("network", summary.name),
        ("task", summary.task),
        ("source", summary.source),
        ("settings", ", ".join(f"{key}={value}" for key, value in summary.settings.items())),
        ("parameters", f"{summary.params:,}"),
        ("MACs", f"{units.count(summary.macs)} for {_input(summary)}"),
        ("size", f"{summary.size_mb:.2f} MB as FP32"),
        ("accuracy", f"{_accuracy(network)}; {network.accuracy.source}" if network.accuracy else "none in print"),
    ]
    rows.extend(_checkpoint_lines(summary.checkpoints))
    rows.extend(("module", _module_line(module)) for module in summary.modules)
    if summary.note:
        rows.append(("note", summary.note))
    rows.extend(("note", note) for note in network.notes)
    output.pairs(rows)
    _show_printed(output, network.compared)
    _show_parts(output, network.breakdown, layers=layers)


def _input(summary: NetworkSummary) -> str:
    """One input in words; a text is as wide as it has tokens."""
    if summary.task == "language-modeling":
        return f"one text of {summary.input_size.width} tokens"
    return f"one image of {summary.input_size}"


def _checkpoint_lines(checkpoints: Sequence[ReleasedCheckpoint]) -> list[tuple[str, str]]:
    """One line for each file that is read, and one for all the others."""
    rows = []
    for checkpoint in checkpoints:
        if checkpoint.read:
            score = f", {_score(checkpoint.metric, checkpoint.value)}" if checkpoint.value is not None else ""
            rows.append(
                ("checkpoint", f"{checkpoint.name}: {checkpoint.data} {checkpoint.size}{score} ({checkpoint.source})")
            )
    others = sum(not checkpoint.read for checkpoint in checkpoints)
    if others:
        rows.append(("", f"{others} more released, which were not at hand: espdeploy weights list"))
    return rows


def _module_line(module: ModuleFigures) -> str:
    side = module.effective_receptive_field
    return (
        f"{module.path}: {module.name}, {module.repeats} times, {module.params:,} weights of convolutions, "
        f"{module.memory_mb:.2f} MB at {module.map_size}, sees {side}x{side} pixels"
    )


def _show_printed(output: Output, compared: Sequence[Compared]) -> None:
    """The papers' figures beside ours; the reasons below, each once."""
    if not compared:
        return
    columns = [
        Column(head="in print"),
        Column(head="parameters", numeric=True),
        Column(head="ours", numeric=True),
        Column(head="%", numeric=True),
        Column(head="MACs", numeric=True),
        Column(head="ours", numeric=True),
        Column(head="%", numeric=True),
        Column(head="at"),
        Column(head="accuracy"),
    ]
    output.table(columns, [_printed_row(row) for row in compared])
    for reason in dict.fromkeys(row.reason for row in compared if row.reason):
        output.line(f"over 1 %: {reason}")


def _printed_row(compared: Compared) -> list[str]:
    row = compared.row
    return [
        " ".join(f"{key}={value}" for key, value in row.settings.items()) or "default",
        units.count(row.params),
        units.count(compared.params),
        _signed(compared.params_difference_pct),
        units.count(row.macs),
        units.count(compared.macs),
        _signed(compared.macs_difference_pct),
        str(compared.size),
        _score(row.metric, row.value),
    ]


def _signed(difference_pct: float | None) -> str:
    return "–" if difference_pct is None else f"{difference_pct:+.1f}"


def _show_file(output: Output, file: DescribedFile, *, layers: bool) -> None:
    if output.as_json:
        output.json(file.document(layers=layers))
        return
    output.pairs(
        [
            ("network", file.name),
            ("task", file.task),
            ("file", str(file.path)),
            ("parameters", f"{file.params:,}"),
            ("MACs", f"{units.count(file.macs)} for one image of {file.input_size or 'unknown size'}"),
            ("size", f"{units.fp32_size_mb(file.params):.2f} MB as FP32"),
        ]
    )
    _show_parts(output, file.breakdown, layers=layers)


def _show_parts(output: Output, breakdown: Breakdown | None, *, layers: bool) -> None:
    """Kinds of layers and of blocks, and each layer where they are wanted."""
    if breakdown is None:
        return
    for title, kinds in (("layers by kind", breakdown.kinds), ("blocks by kind", breakdown.blocks)):
        if kinds:
            output.table(_part_columns(title, "number"), [_kind_row(kind) for kind in kinds])
    if layers:
        rows = [[item.name, item.kind, f"{item.params:,}", units.count(item.macs)] for item in breakdown.layers]
        output.table(_part_columns("layer", "kind"), rows)
    output.line(f"counted: {breakdown.note}; a block inside another counts in both")


def _part_columns(first: str, second: str) -> list[Column]:
    return [
        Column(head=first),
        Column(head=second, numeric=second == "number"),
        Column(head="parameters", numeric=True),
        Column(head="MACs", numeric=True),
    ]


def _kind_row(kind: KindCount) -> list[str]:
    return [kind.kind, str(kind.count), f"{kind.params:,}", units.count(kind.macs)]
