"""``espdeploy bundle``, ``run-bundle`` and ``import``: measuring on a board that stays offline."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from espdeploy import units
from espdeploy.cli import bench, build, options, progress
from espdeploy.cli.output import Column, Output

if TYPE_CHECKING:
    from espdeploy.pipeline.bundling.bundle import Bundled
    from espdeploy.pipeline.bundling.bundle_manifest import Manifest

_SHA_CHARS = 16


def bundle(
    onnx: Annotated[Path, typer.Argument(metavar="F.onnx", help="What `espdeploy export` wrote for this device.")],
    device: options.Device,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="F.tar", help="Where the bundle goes.")],
    precision: options.Precision = "fp32",
    runtime: Annotated[
        str | None,
        typer.Option("--runtime", metavar="R", help="What builds it there; the device's first if not given."),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option("--calibration", metavar="T.json", help="Activation ranges from `espdeploy calibrate`."),
    ] = None,
    shapes: build.Shapes = None,
    dla: build.Dla = None,
    workspace_mb: build.WorkspaceMb = None,
    optimization_level: build.OptimizationLevel = None,
    size: options.Size = None,
    batch: options.Batch = "1",
    threads: options.Threads = None,
    trials: bench.Trials = 200,
    duration_s: bench.Duration = 1.0,
    warmup_s: bench.WarmUp = 1.0,
    warmup_max_s: bench.WarmUpMost = 20.0,
    freq: bench.Frequencies = None,
    power_mode: bench.PowerMode = None,
    json: options.Json = False,
) -> None:
    """Pack a graph, its calibration and what to do with them, for a board that stays offline.

    There, `espdeploy run-bundle` builds and measures; `espdeploy import` takes home what it writes.
    """
    from espdeploy.pipeline.bundling.bundle import BundleRequest
    from espdeploy.pipeline.bundling.bundle import bundle as make
    from espdeploy.pipeline.bundling.bundle_manifest import BenchStep, BuildStep, Recipe
    from espdeploy.recipes import device_profile
    from espdeploy.specs import ImageSize, ShapeRange

    step = BenchStep(
        trials=trials,
        duration_s=duration_s,
        warmup_s=warmup_s,
        warmup_max_s=warmup_max_s,
        threads=threads,
        batch=options.batch_from(batch),
        size=str(ImageSize.parse(size)) if size else None,
        freq=freq,
        power_mode=power_mode,
    )
    made = BuildStep(
        precision=precision,
        runtime=runtime,
        shapes=tuple(str(ShapeRange.parse(text)) for text in shapes or ()),
        dla=dla,
        workspace_mb=workspace_mb,
        optimization_level=optimization_level,
    )
    request = BundleRequest(
        onnx=onnx,
        profile=device_profile(device),
        recipe=Recipe(build=made, bench=step),
        calibration=calibration,
    )
    with progress.shown() as shown:
        bundled = make(request, output, shown)
    _show_bundle(Output(as_json=json), bundled)


def run_bundle(
    file: Annotated[Path, typer.Argument(metavar="F.tar", help="What `espdeploy bundle` wrote.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="R.tar", help="Where the results go; F.results.tar here if not given."),
    ] = None,
    dry_run: bench.DryRun = False,
    json: options.Json = False,
) -> None:
    """On the device: check every hash of a bundle, build its engine, measure it, and pack the records.

    The engine stays in this machine's cache: running the bundle again measures again.
    """
    from espdeploy.pipeline.bundling import bundle_run

    shown_on = Output(as_json=json)
    if dry_run:
        _show_plan(shown_on, *bundle_run.plan(file))
        return
    with progress.shown() as shown:
        ran = bundle_run.run_bundle(file, output or Path(f"{file.stem}.results.tar"), shown)
    if json:
        shown_on.json(ran.document())
    else:
        shown_on.pairs(
            [
                ("engine", f"{ran.built.engine.path} ({ran.built.cache}, {ran.built.build_s:.2f} s)"),
                ("runtime", f"{ran.built.engine.runtime} {ran.built.engine.runtime_version}"),
                ("precision", ran.built.engine.precision),
                ("median", ", ".join(f"{item.record.latency_ms.p50:.2f} ms" for item in ran.benched)),
                ("results", str(ran.output)),
            ]
        )
        shown_on.shared_findings([(item.path.name, item.record.findings) for item in ran.benched])
        _notes(shown_on, ran.manifest)
        shown_on.note(f"Next, at home: espdeploy import {ran.output.name}")
    if any(item.record.interrupted for item in ran.benched):
        raise typer.Exit(130)


def import_results(
    file: Annotated[Path, typer.Argument(metavar="R.tar", help="What `espdeploy run-bundle` wrote.")],
    results: options.Results = Path("results"),
    json: options.Json = False,
) -> None:
    """Take the records of a bundle home, into a folder that `espdeploy report` and `compare` read.

    Passports of the engines, which stayed on the board, go into its folder passports.
    """
    from espdeploy.pipeline.bundling import bundle_import

    imported = bundle_import.import_results(file, results)
    shown_on = Output(as_json=json)
    if json:
        shown_on.json(imported.document())
        return
    heads = ("model", "device", "precision", "record")
    columns = [
        Column(head=heads[0]),
        Column(head="median ms", numeric=True),
        *(Column(head=head) for head in heads[1:]),
    ]
    rows = [
        [
            record.model.name,
            f"{record.latency_ms.p50:.2f}",
            record.device.name,
            record.engine.precision,
            str(item.path) if item.new else f"{item.path} (here already)",
        ]
        for item, record in imported.records
    ]
    shown_on.table(columns, rows)
    _notes(shown_on, imported.manifest)
    shown_on.note(f"Next: espdeploy report {results}")


def _show_bundle(output: Output, bundled: Bundled) -> None:
    if output.as_json:
        output.json(bundled.document())
        return
    columns = [Column(head="file"), Column(head="what for"), Column(head="MB", numeric=True), Column(head="SHA-256")]
    rows = [
        [item.name, item.role, f"{units.mb_from_bytes(item.size_bytes):.3f}", f"{item.sha256[:_SHA_CHARS]}…"]
        for item in bundled.manifest.files
    ]
    output.table(columns, rows)
    output.line(f"{bundled.output}: SHA-256 of its manifest {bundled.manifest_sha256}")
    _notes(output, bundled.manifest)
    output.note(f"Next, on the {bundled.manifest.device}: espdeploy run-bundle {bundled.output.name}")


def _show_plan(output: Output, manifest: Manifest, sha256: str) -> None:
    from espdeploy.pipeline.bundling.bundle import commands

    build, measure = map(shlex.join, commands(manifest))
    steps = [
        (f"check that this machine is the {manifest.device}", ""),
        ("build the engine, unless the cache has it", build),
        ("measure it", measure),
        ("pack the records and the engine's passport", ""),
    ]
    if output.as_json:
        output.json({"sha256": sha256, "steps": [{"what": what, "command": command} for what, command in steps]})
        return
    output.line(f"every file is as the manifest says, whose SHA-256 is {sha256}")
    for number, (what, command) in enumerate(steps, start=1):
        output.line(f"{number}. {what}" + (f"\n   {command}" if command else ""))


def _notes(output: Output, manifest: Manifest) -> None:
    for note in manifest.notes:
        output.note(note)
