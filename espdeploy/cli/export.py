"""``espdeploy export``: a network becomes a verified ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from espdeploy import units
from espdeploy.cli import options, progress
from espdeploy.cli.output import Output

if TYPE_CHECKING:
    from espdeploy.pipeline.export import Exported


def export(
    model: options.Model,
    weights: options.Weights = None,
    settings: options.Settings = None,
    size: options.Size = None,
    batch: options.Batch = "1",
    opset: options.Opset = None,
    device: options.Device = "cpu",
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="F.onnx", help="Where the file goes; MODEL_WxH.onnx here if not given."),
    ] = None,
    simplify: Annotated[bool, typer.Option("--simplify/--no-simplify", help="Simplify the graph.")] = True,
    verify_passes: Annotated[
        bool, typer.Option("--verify-passes", help="Check the outputs after each graph pass, not only at the end.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Trace a network to ONNX, simplify it, prove it equal to PyTorch, and write one file.

    Pre-processing, class names and palette travel as metadata. The opset follows --device (13 for tx2).
    """
    from espdeploy.pipeline.export import ExportRequest, export_model
    from espdeploy.recipes import device_profile
    from espdeploy.specs import ImageSize, ModelSpec

    request = ExportRequest(
        model=ModelSpec(name=model, settings=options.settings_from(settings), weights=options.weights_from(weights)),
        profile=device_profile(device),
        size=ImageSize.parse(size) if size else None,
        batch=options.batch_from(batch),
        opset=opset,
        simplify=simplify,
        verify_passes=verify_passes,
    )
    with progress.shown() as shown:
        exported = export_model(request, output, shown)
    _show(Output(as_json=json), exported)


def _show(output: Output, exported: Exported) -> None:
    if output.as_json:
        output.json(exported.document())
        return
    parity = exported.parity
    output.pairs(
        [
            ("written", str(exported.artifact.path)),
            ("model", f"{exported.model}, {exported.weights}"),
            ("parameters", units.count(exported.params)),
            ("MACs", "unknown" if exported.macs is None else f"{units.count(exported.macs)} for one input"),
            ("opset", str(exported.artifact.opset)),
            ("nodes", f"{exported.nodes_before} traced, {exported.nodes_after} written"),
            ("passes", ", ".join(exported.passes) or "none"),
            ("largest error", f"{parity.max_abs_err:.2g} absolute, {parity.max_rel_err:.2g} relative"),
            ("equal argmax", "–" if parity.argmax_agreement_pct is None else f"{parity.argmax_agreement_pct:.3f} %"),
        ]
    )
