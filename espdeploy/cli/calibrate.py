"""``espdeploy calibrate``: ranges of activations for INT8, from images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from espdeploy.cli import options, progress
from espdeploy.cli.output import Output

if TYPE_CHECKING:
    from espdeploy.pipeline.calibrating.calibrate import Calibrated


def _recipe_names(incomplete: str) -> list[str]:
    from espdeploy.recipes import calibration_recipe_names

    return [name for name in calibration_recipe_names() if name.startswith(incomplete)]


def calibrate(
    onnx: Annotated[Path, typer.Argument(metavar="F.onnx", help="What `espdeploy export` wrote, or any ONNX file.")],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="DIR", help="Images as the network will see, or a data set: its train part is used."
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            metavar="M",
            help="entropy, percentile, mse or minmax; the recipe's, or espdeploy's choice, where not given.",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            metavar="N",
            min=1,
            help="At most so many images: evenly spread over their names, or drawn where the recipe has a seed.",
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="NAME|FILE",
            help="Which images, as a TOML in calibration/ says: camvid, cityscapes, folder, or a file of your own.",
            autocompletion=_recipe_names,
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", min=0, help="Draw the images of --limit with this seed.")
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Go on without images that cannot be read; they are named.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="T.json", help="Where the table goes; F.calibration.json if not given."),
    ] = None,
    trt_cache: Annotated[
        Path | None,
        typer.Option("--trt-cache", metavar="FILE", help="Write a calibration cache for `trtexec --calib` too."),
    ] = None,
    trt_version: Annotated[
        str | None,
        typer.Option(
            "--trt-version", metavar="V", help="The TensorRT that reads the cache, such as 10.3.0; 8.2.1 if not given."
        ),
    ] = None,
    threads: options.Threads = None,
    allow_random: Annotated[
        bool,
        typer.Option(
            "--allow-random-calibration", help="Without --data: made-up inputs. The engine is then for timing only."
        ),
    ] = False,
    json: options.Json = False,
) -> None:
    """Measure the range of each activation over images, in one pass, for INT8.

    The table says what it was made from; `espdeploy build` refuses it for another network.
    """
    from espdeploy.pipeline.calibrating.calibrate import CalibrateRequest
    from espdeploy.pipeline.calibrating.calibrate import calibrate as run

    request = CalibrateRequest(
        onnx=onnx,
        data=data,
        recipe=recipe,
        method=method,
        limit=limit,
        seed=seed,
        skip_bad=skip_bad,
        allow_random=allow_random,
        output=output,
        trt_cache=trt_cache,
        trt_version=trt_version,
        threads=threads,
    )
    with progress.shown() as shown:
        calibrated = run(request, shown)
    _show(Output(as_json=json), calibrated)


def _show(output: Output, calibrated: Calibrated) -> None:
    if output.as_json:
        output.json(calibrated.document())
        return
    table = calibrated.table
    seed = "" if table.seed is None else f", seed {table.seed}"
    peak = calibrated.peak_rss_mb
    rows = [
        ("table", str(calibrated.output)),
        ("method", table.method),
        ("images", f"{_images(calibrated)} ({calibrated.images_per_s:.1f} images/s)"),
        ("recipe", "none: made-up inputs" if table.recipe is None else f"{table.recipe}{seed}"),
        ("pre-processing", f"from {calibrated.preprocessing_from}"),
        ("tensors", str(len(table.ranges))),
        ("peak memory", "unknown" if peak is None else f"{peak:.0f} MB"),
    ]
    if calibrated.trt_cache is not None:
        rows.append(("TensorRT cache", str(calibrated.trt_cache)))
    output.pairs(rows)
    for note in calibrated.notes:
        output.note(note)


def _images(calibrated: Calibrated) -> str:
    chosen = calibrated.chosen
    images = calibrated.table.images
    return str(images) if chosen is None else f"{images} of {chosen.available} in {chosen.folder}"
