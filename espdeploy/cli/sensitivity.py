"""``espdeploy sensitivity``: which layers lose accuracy in a lower precision."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from espdeploy.cli import options, progress
from espdeploy.cli.output import Column, Output

if TYPE_CHECKING:
    from espdeploy.pipeline.building.sensitivity import Sensitivity


def sensitivity(
    onnx: Annotated[Path, typer.Argument(metavar="F.onnx", help="The network in FP32.")],
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="Folder of images, or a data set.")],
    labels: options.LabelFolder = None,
    calibration: Annotated[
        Path | None,
        typer.Option("--calibration", metavar="T.json", help="What `espdeploy calibrate` wrote; int8 needs it."),
    ] = None,
    precision: Annotated[str, typer.Option("--precision", metavar="P", help="int8, fp16 or bf16.")] = "int8",
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            metavar="N",
            min=1,
            help="Judge by so many images, evenly spread over their names; 12 if not given.",
        ),
    ] = None,
    device: options.Device = "cpu",
    runtime: Annotated[
        str | None,
        typer.Option(
            "--runtime",
            metavar="R",
            help="What tries the layers out: onnxruntime, or openvino for int8; the faster that is right if not given.",
        ),
    ] = None,
    threads: options.Threads = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Draw the ranking: an .svg picture, or an .html page with numbers."
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Show what each layer costs in accuracy when it alone goes to a lower precision, worst first.

    With labels mIOU lost, else the pixels whose class changes; and the error of the outputs, which tells small effects
    apart. `espdeploy build --precision mixed` uses the same measure to choose layers.
    """
    from espdeploy.pipeline.building.sensitivity import SensitivityRequest, measure
    from espdeploy.recipes import device_profile

    request = SensitivityRequest(
        onnx=onnx,
        data=data,
        labels=labels,
        calibration=calibration,
        profile=device_profile(device),
        precision=precision,
        limit=limit,
        runtime=runtime,
        threads=threads,
        output=output,
    )
    with progress.shown() as shown:
        found = measure(request, shown)
    _show(Output(as_json=json), found)


def _show(output: Output, found: Sensitivity) -> None:
    from espdeploy.pipeline.building.ranking import error, interval, points

    if output.as_json:
        output.json(found.document())
        return
    columns = [Column(head="layer"), Column(head="operator")]
    if found.labelled:
        columns += [Column(head="mIOU lost", numeric=True), Column(head="95 % interval", numeric=True)]
    columns += [Column(head="pixels changed %", numeric=True), Column(head="output error", numeric=True)]
    everything = [("all layers together", "", found.together)]
    alone = [(layer, found.operators[layer], effect) for layer, effect in found.effects.items()]
    rows = []
    for name, operator, effect in (*alone, *everything):
        lost = [points(effect.drop_pct), interval(effect.drop_ci95_pct)] if found.labelled else []
        rows.append([name, operator, *lost, points(100 - effect.agreement_pct), error(effect.error)])
    output.table(columns, rows)
    for layer, reason in found.left.items():
        output.note(f"{layer} stays in FP32: {reason}")
    for note in found.notes:
        output.note(note)
    if found.output is not None:
        output.note(f"drawn in {found.output}")
