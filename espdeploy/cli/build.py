"""``espdeploy build``: an ONNX file becomes an engine with a passport."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from espdeploy.cli import options, progress
from espdeploy.cli.output import Column, Output

if TYPE_CHECKING:
    from espdeploy.pipeline.building.build import Built
    from espdeploy.pipeline.engine_files.passport import AccuracyDrop, Passport, Tried

_MOST_KEPT = 12

Shapes = Annotated[
    list[str] | None,
    typer.Option(
        "--shapes",
        metavar="INPUT=MIN..OPT..MAX",
        help="What an input with open extents ranges over, such as input=1x3x512x1024..8x3x512x1024. Repeatable.",
    ),
]
Dla = Annotated[
    int | None,
    typer.Option("--dla", metavar="CORE", help="The accelerator to build for; what it lacks runs on the GPU."),
]
WorkspaceMb = Annotated[
    float | None,
    typer.Option(
        "--workspace-mb",
        metavar="MB",
        min=1,
        help="Memory that kernels may use while they run; a share of what is free if not given.",
    ),
]
OptimizationLevel = Annotated[
    int | None,
    typer.Option(
        "--optimization-level", metavar="0..5", help="How long TensorRT looks for fast kernels (8.6 and newer)."
    ),
]


def build(
    onnx: Annotated[Path, typer.Argument(metavar="F.onnx", help="What `espdeploy export` wrote, or any ONNX file.")],
    device: options.Device = "cpu",
    precision: options.Precision = "fp32",
    runtime: options.OptionalRuntime = None,
    calibration: Annotated[
        Path | None,
        typer.Option("--calibration", metavar="T.json", help="Activation ranges from `espdeploy calibrate`."),
    ] = None,
    compute_capability: Annotated[
        str | None,
        typer.Option("--compute-capability", metavar="X.Y", help="The GPU to build for, such as 8.9 (TensorRT-RTX)."),
    ] = None,
    shapes: Shapes = None,
    batch: Annotated[
        str | None,
        typer.Option("--batch", metavar="MIN,OPT,MAX", help="The same where only the batch is open, such as 1,4,8."),
    ] = None,
    dla: Dla = None,
    workspace_mb: WorkspaceMb = None,
    optimization_level: OptimizationLevel = None,
    timing_cache: Annotated[
        Path | None,
        typer.Option(
            "--timing-cache", metavar="FILE", help="Timings that builds share; the engine cache's if not given."
        ),
    ] = None,
    max_drop_pct: Annotated[
        float | None,
        typer.Option("--max-drop-pct", metavar="POINTS", min=0, max=100, help="mIOU points that mixed may lose."),
    ] = None,
    data: options.DataFolder = None,
    labels: options.LabelFolder = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="ENGINE", help="Where the engine goes; the cache if not given."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Make an engine for a device, from the cache where nothing that matters has changed.

    Every runtime that is installed is tried, with and without the graph passes meant for it; each must
    answer as the graph does, and the fastest is taken. The precision that convolutions really compute in is
    read back from the runtime; another one than asked for is an error.

    Engines for NVIDIA GPUs are built by TensorRT, TensorRT-RTX or trtexec, whichever the device has.
    """
    from espdeploy.pipeline.building.build import BuildRequest, build_engine
    from espdeploy.pipeline.building.builder_options import BuilderOptions, batches_from
    from espdeploy.recipes import device_profile
    from espdeploy.specs import ShapeRange

    told = BuilderOptions(
        shapes=tuple(ShapeRange.parse(text) for text in shapes or ()),
        batch=batches_from(batch) if batch is not None else (),
        dla_core=dla,
        timing_cache=timing_cache,
        workspace_mb=workspace_mb,
        optimization_level=optimization_level,
    )

    request = BuildRequest(
        onnx=onnx,
        profile=device_profile(device),
        precision=precision,
        runtime=runtime,
        calibration=calibration,
        max_drop_pct=max_drop_pct,
        data=data,
        labels=labels,
        compute_capability=compute_capability,
        options=told,
        command=shlex.join(["espdeploy", *sys.argv[1:]]),
    )
    with progress.shown() as shown:
        built = build_engine(request, output, shown)
    _show(Output(as_json=json), built)


def _show(output: Output, built: Built) -> None:
    if output.as_json:
        output.json(built.document())
        return
    engine, passport = built.engine, built.passport
    output.pairs(_rows(built))
    if len(passport.tried) > 1:
        columns = [Column(head="tried"), Column(head="median ms", numeric=True), Column(head="")]
        output.table(columns, [_tried(item, chosen=index == 0) for index, item in enumerate(passport.tried)])
    if passport.kept:
        shown = list(passport.kept.items())[:_MOST_KEPT]
        output.table([Column(head="kept in higher precision"), Column(head="why")], [list(item) for item in shown])
        if len(passport.kept) > _MOST_KEPT:
            output.note(f"and {len(passport.kept) - _MOST_KEPT} more; all are in {engine.path}.json")
    if passport.performance_only:
        output.note("performance only: calibrated on made-up data, so its answers mean nothing")
    for note in passport.notes:
        output.note(note)


def _rows(built: Built) -> list[tuple[str, str]]:
    engine, passport = built.engine, built.passport
    rows = [
        ("engine", str(engine.path)),
        ("runtime", f"{engine.runtime} {engine.runtime_version}"),
        ("precision", f"{engine.precision}; convolutions: {_shares(passport.precision_share_pct)}"),
    ]
    if passport.time_share_pct:
        rows.append(("time", _shares(passport.time_share_pct)))
    if passport.dla_core is not None:
        rows.append((f"DLA core {passport.dla_core}", _on_dla(passport.dla_share_pct)))
    if passport.shapes:
        rows.append(("shapes", "; ".join(str(item) for item in passport.shapes)))
    if passport.passes:
        rows.append(("graph passes", ", ".join(passport.passes)))
    rows += [
        ("answers", _agreement(passport)),
        ("size", f"{engine.size_mb:.2f} MB"),
        ("cache", built.cache),
        ("build time", f"{built.build_s:.2f} s"),
    ]
    if passport.drop is not None:
        rows.append(("mIOU lost", _drop(passport.drop)))
    return rows


def _on_dla(share_pct: float | None) -> str:
    if share_pct is None:
        return "what it lacks runs on the GPU; how much that is, is not known"
    return f"{share_pct:.0f} % of the layers; the others on the GPU"


def _tried(item: Tried, *, chosen: bool) -> list[str]:
    way = item.runtime + (f" + {len(item.passes)} graph passes" if item.passes else "")
    time = "–" if item.median_ms is None else f"{item.median_ms:.2f}"
    return [way, time, item.refused or ("chosen" if chosen else "")]


def _agreement(passport: Passport) -> str:
    if passport.tensorrt_version is not None and passport.rms_error_pct is None:
        return "not proven: nothing was run on a GPU"
    if passport.rms_error_pct is None:
        return "not proven against a second runtime"
    return f"{passport.rms_error_pct:.2g} % off the graph's own (root mean square)"


def _drop(drop: AccuracyDrop) -> str:
    interval = drop.heldout_ci95_pct
    between = f" (95 % interval {interval[0]:.2f} … {interval[1]:.2f})" if interval else ""
    return (
        f"{drop.heldout_pct:.2f} points{between} on {drop.images_heldout} images that the search did not see; "
        f"{drop.search_pct:.2f} on its own {drop.images_search}"
    )


def _shares(shares: dict[str, float] | None) -> str:
    if shares is None:
        return "unknown"
    return ", ".join(f"{pct:.0f} % {name}" for name, pct in shares.items())
