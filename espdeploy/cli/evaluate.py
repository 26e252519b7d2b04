"""``espdeploy eval``: what an engine's answers are worth on labelled images, or beside a reference."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from espdeploy.cli import options, progress
from espdeploy.cli.output import Column, Output

if TYPE_CHECKING:
    from espdeploy.accuracy.evaluate import Evaluation


def evaluate(
    engine: Annotated[Path, typer.Argument(metavar="ENGINE_OR_ONNX", help="An engine or an .onnx file.")],
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="Folder of images.")],
    labels: options.LabelFolder = None,
    reference: Annotated[
        Path | None, typer.Option("--reference", metavar="F.onnx", help="Compare the answers with this network's.")
    ] = None,
    runtime: options.Runtime = None,
    device: options.Device = "cpu",
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Intersection over union class by class, pixel accuracy, agreement with a reference."""
    from espdeploy.pipeline.evaluate import EvalRequest, evaluate_engine
    from espdeploy.recipes import device_profile

    request = EvalRequest(
        engine=engine,
        data=data,
        labels=labels,
        reference=reference,
        profile=device_profile(device),
        runtime=runtime,
        threads=threads,
    )
    with progress.shown() as shown:
        evaluation = evaluate_engine(request, shown)
    _show(Output(as_json=json), evaluation)


def _show(output: Output, evaluation: Evaluation) -> None:
    if output.as_json:
        output.json(_document(evaluation))
        return
    if evaluation.class_iou_pct:
        columns = [Column(head="class"), Column(head="IoU %", numeric=True)]
        output.table(columns, [[name, _percent(value)] for name, value in evaluation.class_iou_pct.items()])
    if evaluation.category_iou_pct:
        columns = [Column(head="category"), Column(head="IoU %", numeric=True)]
        output.table(columns, [[name, _percent(value)] for name, value in evaluation.category_iou_pct.items()])
    rows = [("images", str(evaluation.images))]
    if evaluation.miou_pct is not None:
        interval = evaluation.ci95
        between = f"  (95 % interval over images {interval[0]:.2f} … {interval[1]:.2f})" if interval else ""
        rows.append(("mIOU", f"{evaluation.miou_pct:.2f} %{between}"))
        rows.append(("pixel accuracy", f"{_percent(evaluation.pixel_accuracy_pct)} %"))
    if evaluation.reference is not None:
        rows.append(("agreement with the reference", f"{evaluation.reference.agreement_pct:.3f} % of pixels"))
        if evaluation.reference.miou_drop_pct is not None:
            rows.append(("mIOU lost against it", f"{evaluation.reference.miou_drop_pct:.2f} points"))
    output.pairs(rows)
    for note in evaluation.notes:
        output.note(note)


def _document(evaluation: Evaluation) -> dict[str, object]:
    document = asdict(evaluation)
    document["miou_ci95_pct"] = document.pop("ci95")
    return document


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
