"""``espdeploy eval``: what an engine's answers are worth on labelled images, or beside a reference."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from espdeploy.cli import options, progress
from espdeploy.cli.output import Column, Output

if TYPE_CHECKING:
    from espdeploy.accuracy.classify import ClassEvaluation
    from espdeploy.accuracy.evaluate import Evaluation
    from espdeploy.errors import AnswerIsNo
    from espdeploy.pipeline.evaluating.gates import Gate, Limits

_PLAIN_WIDTH = 200  # of a table in a file or a pipe


def evaluate(
    engine: Annotated[Path, typer.Argument(metavar="ENGINE_OR_ONNX", help="An engine or an .onnx file.")],
    data: Annotated[
        Path,
        typer.Option("--data", metavar="DIR", help="Folder of images; for a classifier, of one folder for each class."),
    ],
    labels: options.LabelFolder = None,
    reference: Annotated[
        Path | None, typer.Option("--reference", metavar="F.onnx", help="Compare the answers with this network's.")
    ] = None,
    min_miou: Annotated[
        float | None, typer.Option("--min-miou", metavar="PCT", help="End with 1 if mIOU is lower.")
    ] = None,
    min_top1: Annotated[
        float | None, typer.Option("--min-top1", metavar="PCT", help="End with 1 if a classifier's top-1 is lower.")
    ] = None,
    max_drop_pct: Annotated[
        float | None,
        typer.Option(
            "--max-drop-pct",
            metavar="POINTS",
            help="End with 1 if more points of mIOU (of top-1 for a classifier) are lost against --reference.",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", help="At most N of the images, evenly spread.")
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out images that cannot be used, and say which.")
    ] = False,
    confusion: Annotated[
        bool, typer.Option("--confusion", help="Show what each class is taken for, as a table of all classes.")
    ] = False,
    confusion_picture: Annotated[
        Path | None,
        typer.Option("--confusion-picture", metavar="FILE", help="Draw that table to an .svg or .png file."),
    ] = None,
    runtime: options.Runtime = None,
    device: options.Device = "cpu",
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Intersection over union class by class, pixel accuracy, agreement with a reference; top-1 and top-5.

    A classifier's images lie in one folder for each class, named after it, or numbered from 0, or in sorted order.
    """
    from espdeploy.pipeline.building.selection import Selection
    from espdeploy.pipeline.evaluating.evaluate import EvalRequest, evaluate_engine
    from espdeploy.pipeline.evaluating.gates import Limits, gates_of, refusal
    from espdeploy.recipes import device_profile

    limits = Limits(min_miou_pct=min_miou, min_top1_pct=min_top1, max_drop_pct=max_drop_pct)
    labels_for = _first_given(limits, confusion=confusion, confusion_picture=confusion_picture)
    request = EvalRequest(
        engine=engine,
        data=data,
        labels=labels,
        reference=reference,
        profile=device_profile(device),
        runtime=runtime,
        threads=threads,
        limits=limits,
        selection=Selection(limit=limit, skip_bad=skip_bad, labels_for=labels_for),
        confusion_picture=confusion_picture,
    )
    with progress.shown() as shown:
        evaluation = evaluate_engine(request, shown)
    gates = gates_of(limits, evaluation)
    refused = refusal(gates, evaluation)
    output = Output(as_json=json)
    if json:
        output.json(_document(evaluation, gates, refused))
    else:
        _show(output, evaluation, gates, whole_confusion=confusion)
        if confusion_picture is not None:
            output.note(f"wrote {confusion_picture}")
    if refused is not None:
        Output(as_json=False).error(refused)  # the one document on standard output holds it too
        raise typer.Exit(refused.exit_code)


def _first_given(limits: Limits, *, confusion: bool, confusion_picture: Path | None) -> str | None:
    """The first option that means nothing without labels."""
    given = {
        "--min-miou": limits.min_miou_pct is not None,
        "--min-top1": limits.min_top1_pct is not None,
        "--max-drop-pct": limits.max_drop_pct is not None,
        "--confusion": confusion,
        "--confusion-picture": confusion_picture is not None,
    }
    return next((option for option, is_given in given.items() if is_given), None)


def _document(
    evaluation: Evaluation | ClassEvaluation, gates: Sequence[Gate], refused: AnswerIsNo | None
) -> dict[str, object]:
    document = asdict(evaluation)
    if "ci95" in document:
        document["miou_ci95_pct"] = document.pop("ci95")
    document["gates"] = [asdict(gate) for gate in gates]
    document["passed"] = refused is None
    if refused is not None:
        parts = {"what": refused.what, "why": refused.why, "do": refused.do}
        document["error"] = {"code": refused.exit_code, **parts}
    return document


def _show(
    output: Output, evaluation: Evaluation | ClassEvaluation, gates: Sequence[Gate], *, whole_confusion: bool
) -> None:
    from espdeploy.accuracy.classify import ClassEvaluation
    from espdeploy.pipeline.evaluating.gates import option

    rows = [("images", str(evaluation.images))]
    if isinstance(evaluation, ClassEvaluation):
        rows += _class_rows(evaluation)
    else:
        _show_tables(output, evaluation)
        if whole_confusion:
            _show_confusion(output, evaluation)
        rows += _rows(evaluation)
    rows += [(option(gate.name), _verdict(gate)) for gate in gates]
    output.pairs(rows)
    for note in evaluation.notes:
        output.note(note)


def _show_tables(output: Output, evaluation: Evaluation) -> None:
    import numpy as np

    from espdeploy.accuracy.confusion_text import row_shares_pct, taken_for

    if evaluation.confusion is not None:
        counts = np.array(evaluation.confusion, dtype=np.int64)
        right_pct = np.diag(row_shares_pct(counts))
        columns = [
            Column(head="class"),
            Column(head="IoU %", numeric=True),
            Column(head="found %", numeric=True),
            Column(head="taken for"),
        ]
        rows = []
        for name, value in evaluation.class_iou_pct.items():
            index = evaluation.classes.index(name)
            found_pct = None if np.isnan(right_pct[index]) else float(right_pct[index])
            rows.append([name, _percent(value), _percent(found_pct), taken_for(counts, evaluation.classes, index)])
        output.table(columns, rows)
    if evaluation.category_iou_pct:
        columns = [Column(head="category"), Column(head="IoU %", numeric=True)]
        output.table(columns, [[name, _percent(value)] for name, value in evaluation.category_iou_pct.items()])


def _show_confusion(output: Output, evaluation: Evaluation) -> None:
    import numpy as np

    from espdeploy.accuracy.confusion_text import matrix_lines

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _PLAIN_WIDTH
    counts = np.array(evaluation.confusion, dtype=np.int64)
    output.line("row: true class, column: taken for; % of the row's pixels, a dot below 0.5")
    for line in matrix_lines(counts, evaluation.classes, width=width):
        output.line(line)
    output.line("")


def _rows(evaluation: Evaluation) -> list[tuple[str, str]]:
    rows = []
    if evaluation.miou_pct is not None:
        rows.append(("mIOU", f"{evaluation.miou_pct:.2f} %{_between(evaluation.ci95, 'over images ')}"))
        rows.append(("pixel accuracy", f"{_percent(evaluation.pixel_accuracy_pct)} %"))
    if evaluation.reference is not None:
        rows.append(("agreement with the reference", f"{evaluation.reference.agreement_pct:.3f} % of pixels"))
        if evaluation.reference.miou_drop_pct is not None:
            between = _between(evaluation.reference.miou_drop_ci95_pct)
            rows.append(("mIOU lost against it", f"{_points(evaluation.reference.miou_drop_pct)}{between}"))
    return rows


def _class_rows(evaluation: ClassEvaluation) -> list[tuple[str, str]]:
    rows = []
    if evaluation.top1_pct is not None:
        rows.append(("top-1", f"{evaluation.top1_pct:.2f} %{_between(evaluation.top1_ci95_pct, 'over images ')}"))
    if evaluation.top5_pct is not None:
        rows.append(("top-5", f"{evaluation.top5_pct:.2f} %"))
    if evaluation.reference is not None:
        rows.append(("agreement with the reference", f"{evaluation.reference.agreement_pct:.3f} % of images"))
        if evaluation.reference.top1_drop_pct is not None:
            between = _between(evaluation.reference.top1_drop_ci95_pct)
            rows.append(("top-1 lost against it", f"{_points(evaluation.reference.top1_drop_pct)}{between}"))
    return rows


def _points(drop_pct: float) -> str:
    return f"{round(drop_pct, 2) + 0.0:.2f} points"  # no "-0.00"


def _between(interval: tuple[float, float] | None, over: str = "") -> str:
    return "" if interval is None else f"  (95 % interval {over}{interval[0]:.2f} … {interval[1]:.2f})"


def _verdict(gate: Gate) -> str:
    found = "not known" if gate.value is None else f"{gate.value:.2f}"
    asked = "at most" if gate.name == "max_drop_pct" else "at least"
    return f"{'met' if gate.passed else 'FAIL'}: {found}, {asked} {gate.limit:g} asked for"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
