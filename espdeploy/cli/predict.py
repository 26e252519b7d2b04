"""``espdeploy predict``: class maps and overlays of photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from espdeploy.cli import options, progress
from espdeploy.cli.output import Output


def predict(
    engine: Annotated[Path, typer.Argument(metavar="ENGINE_OR_ONNX", help="An engine or an .onnx file.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Photographs.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder for the pictures.")],
    runtime: options.Runtime = None,
    device: options.Device = "cpu",
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Write a class map (one value a pixel) and an overlay with a legend for each image."""
    from espdeploy.pipeline.evaluating.evaluate import PredictRequest, predict_images
    from espdeploy.recipes import device_profile

    request = PredictRequest(
        engine=engine, images=tuple(images), profile=device_profile(device), runtime=runtime, threads=threads
    )
    with progress.shown() as shown:
        pictures = predict_images(request, output, shown)
    shown_output = Output(as_json=json)
    if json:
        shown_output.json({"images": [picture.document() for picture in pictures]})
        return
    for picture in pictures:
        shown_output.line(f"{picture.paths.overlay}  {', '.join(picture.classes)}")
