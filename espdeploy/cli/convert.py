"""``espdeploy convert``: the graph in FP16 or with Q/DQ pairs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from espdeploy.cli import options, progress
from espdeploy.cli.output import Column, Output

if TYPE_CHECKING:
    from espdeploy.pipeline.building.convert import Converted


def convert(
    onnx: Annotated[Path, typer.Argument(metavar="F.onnx", help="An FP32 graph.")],
    precision: Annotated[str, typer.Option("--precision", metavar="P", help="fp16 or int8.")],
    calibration: Annotated[
        Path | None,
        typer.Option("--calibration", metavar="T.json", help="Ranges from `espdeploy calibrate`; int8 needs them."),
    ] = None,
    keep_io: Annotated[
        bool, typer.Option("--keep-io/--no-keep-io", help="Whether inputs and outputs of an FP16 graph stay FP32.")
    ] = True,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="F.onnx", help="Where it goes; F.fp16.onnx if not given.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Write the low-precision graph itself, for TensorRT 11, TensorRT-RTX and other strongly typed runtimes.

    What would overflow or lose accuracy in FP16 stays in FP32, and is named.
    """
    from espdeploy.pipeline.building.convert import ConvertRequest, convert_graph

    request = ConvertRequest(onnx=onnx, precision=precision, calibration=calibration, keep_io=keep_io)
    with progress.shown() as shown:
        converted = convert_graph(request, output, shown)
    _show(Output(as_json=json), converted)


def _show(output: Output, converted: Converted) -> None:
    if output.as_json:
        output.json(converted.document())
        return
    error, agreement = converted.rms_error_pct, converted.argmax_agreement_pct
    output.pairs(
        [
            ("written", str(converted.artifact.path)),
            ("precision", f"{converted.precision}; {len(converted.kept)} nodes stayed in FP32"),
            ("error", "not known" if error is None else f"{error:.2g} % of the FP32 answers (root mean square)"),
            ("equal argmax", "–" if agreement is None else f"{agreement:.3f} %"),
        ]
    )
    if converted.kept:
        output.table(
            [Column(head="stayed in FP32"), Column(head="why")], [list(item) for item in converted.kept.items()]
        )
    for note in converted.notes:
        output.note(note)
