"""``espdeploy bench``: latency, utilisation and energy, measured on the device."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from espdeploy import units
from espdeploy.cli import options, progress
from espdeploy.cli.output import Column, Output

if TYPE_CHECKING:
    from espdeploy.pipeline.measuring.bench import Benched, BenchRequest
    from espdeploy.specs import ModelSpec


Trials = Annotated[int, typer.Option("--trials", min=1, help="Timed inferences, at least.")]
Duration = Annotated[
    float,
    typer.Option(
        "--duration-s",
        min=0,
        max=options.DAY_S,
        help="Timed phase in seconds, at least; fast networks get more trials.",
    ),
]
WarmUp = Annotated[
    float,
    typer.Option("--warmup-s", min=0, max=options.DAY_S, help="Warm-up in seconds, at least; it goes on until steady."),
]
WarmUpMost = Annotated[
    float, typer.Option("--warmup-max-s", min=0, max=options.DAY_S, help="Warm-up in seconds, at most.")
]
Frequencies = Annotated[
    str | None, typer.Option("--freq", metavar="MHZ[,MHZ…]", help="GPU clocks to measure at, or all.")
]
PowerMode = Annotated[str | None, typer.Option("--power-mode", metavar="P", help="The board's power mode.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print each step and command; touch nothing.")]


def bench(
    engine: options.Engine = None,
    model: options.OptionalModel = None,
    weights: options.Weights = None,
    settings: options.Settings = None,
    device: options.Device = "cpu",
    runtime: options.Runtime = None,
    precision: options.OptionalPrecision = None,
    size: options.Size = None,
    batch: options.Batch = "1",
    threads: options.Threads = None,
    trials: Trials = 200,
    duration_s: Duration = 1.0,
    warmup_s: WarmUp = 1.0,
    warmup_max_s: WarmUpMost = 20.0,
    results: options.Results = Path("results"),
    data: options.DataFolder = None,
    labels: options.LabelFolder = None,
    freq: Frequencies = None,
    power_mode: PowerMode = None,
    dry_run: DryRun = False,
    json: options.Json = False,
) -> None:
    """Measure a network or an engine: warm up until steady, time every run, sample the machine beside it.

    The record is kept in --results; `espdeploy report` draws it.
    """
    from espdeploy.pipeline.measuring.bench import BenchRequest, benchmark
    from espdeploy.pipeline.measuring.targets import TargetRequest
    from espdeploy.recipes import device_profile
    from espdeploy.specs import BenchSpec, ImageSize

    target = TargetRequest(
        engine=engine,
        model=_model(model, settings, weights),
        profile=device_profile(device),
        runtime=runtime,
        precision=precision,
        size=ImageSize.parse(size) if size else None,
        batch=options.batch_from(batch),
        threads=threads,
    )
    spec = BenchSpec(
        trials=trials,
        duration_min_s=duration_s,
        warmup_min_s=warmup_s,
        warmup_max_s=max(warmup_s, warmup_max_s),
    )
    request = BenchRequest(
        target=target,
        frequencies=freq,
        power_mode=power_mode,
        data=data,
        labels=labels,
        spec=spec,
        command=shlex.join(["espdeploy", *(item for item in sys.argv[1:] if item != "--json")]),
    )
    output = Output(as_json=json)
    if dry_run:
        _show_plan(output, request, results)
        return
    with progress.shown() as shown:
        benched = benchmark(request, results, shown)
    _show(output, benched)
    if benched.record.interrupted:
        raise typer.Exit(130)


def _model(name: str | None, settings: list[str] | None, weights: Path | None) -> ModelSpec | None:
    from espdeploy.errors import UsageError
    from espdeploy.specs import ModelSpec

    if name is not None:
        chosen = options.settings_from(settings)
        return ModelSpec(name=name, settings=chosen, weights=options.weights_from(weights))
    if settings or weights:
        raise UsageError(
            "--set and --weights need the network that they belong to",
            why="an engine or ONNX file has its weights fixed",
            do="add --model NAME, or leave them away",
        )
    return None


def _show_plan(output: Output, request: BenchRequest, results: Path) -> None:
    from espdeploy.pipeline.measuring.bench import plan

    steps = plan(request, results)
    if output.as_json:
        output.json({"steps": [{"what": step.what, "command": step.command} for step in steps]})
        return
    for number, step in enumerate(steps, start=1):
        output.line(f"{number}. {step.what}" + (f"\n   {step.command}" if step.command else ""))


def _show(output: Output, benched: Benched) -> None:
    record = benched.record
    if output.as_json:
        output.json(record)
        return
    latency = record.latency_ms
    columns = [
        Column(head="model"),
        Column(head="runtime"),
        Column(head="precision"),
        Column(head="FPS", numeric=True),
        Column(head="latency median ms", numeric=True),
        Column(head="mean ms (95 % interval)", numeric=True),
        Column(head="p95 ms", numeric=True),
        Column(head="power W", numeric=True),
        Column(head="accuracy"),
    ]
    interval = f" ({latency.ci95[0]:.2f} … {latency.ci95[1]:.2f})" if latency.ci95 else ""
    accuracy = record.accuracy
    row = [
        f"{record.model.name} {'x'.join(str(extent) for extent in record.model.input_shape)}",
        f"{record.engine.runtime} {record.engine.runtime_version}",
        record.engine.precision,
        f"{record.fps:.2f}",
        f"{latency.p50:.2f}",
        f"{latency.mean:.2f}{interval}",
        units.significant(latency.p95, 4),
        "not measured" if record.power is None else f"{record.power.mean_w:.2f}",
        "not evaluated" if accuracy is None else f"{accuracy.metric} {accuracy.value:.2f}",
    ]
    output.table(columns, [row])
    output.findings(record.findings)
    for note in record.notes:
        output.note(note)
    output.note(f"record: {benched.path}")
