"""``espdeploy bench``: latency, utilisation and energy, measured on the device."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from espdeploy import units
from espdeploy.cli import benched, options, progress
from espdeploy.cli.output import Output

if TYPE_CHECKING:
    from espdeploy.pipeline.measuring.request import BenchRequest
    from espdeploy.specs import ModelSpec
    from espdeploy.store import ResultsUnwritable


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
FreqStrict = Annotated[
    bool, typer.Option("--freq-strict", help="Refuse a frequency that is no step of the board, instead of its nearest.")
]
CrossCheck = Annotated[
    bool,
    typer.Option("--cross-check", help="Time the engine with NVIDIA's own tool too; fail past 2 % in GPU compute."),
]
CudaGraph = Annotated[
    bool, typer.Option("--cuda-graph/--no-cuda-graph", help="On a GPU: launch the network as one CUDA graph.")
]
SpinWait = Annotated[
    bool, typer.Option("--spin-wait/--no-spin-wait", help="On a GPU: spin instead of sleeping until it is done.")
]
Transfers = Annotated[
    bool, typer.Option("--transfers/--no-transfers", help="On a GPU: time the copies from and to the host too.")
]
IdleS = Annotated[
    float,
    typer.Option("--idle-s", min=0, max=options.DAY_S, help="Idle power is measured for so long before and after."),
]
SamplePeriod = Annotated[
    float, typer.Option("--sample-ms", min=1, max=60_000, help="Period of the readings beside the run, in ms.")
]
PowerSource = Annotated[
    str | None,
    typer.Option("--power-source", metavar="S", help="Where power is read; the best that answers if not given."),
]
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
    freq_strict: FreqStrict = False,
    power_mode: PowerMode = None,
    power_source: PowerSource = None,
    cross_check: CrossCheck = False,
    cuda_graph: CudaGraph = True,
    spin_wait: SpinWait = False,
    transfers: Transfers = False,
    idle_s: IdleS = 2.0,
    sample_ms: SamplePeriod = 100.0,
    dry_run: DryRun = False,
    json: options.Json = False,
) -> None:
    """Measure a network or an engine: warm up until steady, time every run, sample the machine beside it.

    The record is kept in --results; `espdeploy report` draws it.
    """
    from espdeploy.pipeline.capability import resolved_profile
    from espdeploy.pipeline.measuring.bench import benchmark
    from espdeploy.pipeline.measuring.request import BenchRequest
    from espdeploy.pipeline.measuring.targets import TargetRequest
    from espdeploy.recipes import device_profile
    from espdeploy.specs import BenchSpec, ImageSize
    from espdeploy.store import ResultsUnwritable

    target = TargetRequest(
        engine=engine,
        model=_model(model, settings, weights),
        profile=resolved_profile(device_profile(device)),
        runtime=runtime,
        precision=precision,
        size=ImageSize.parse(size) if size else None,
        batch=options.batch_from(batch),
        threads=threads,
        cuda_graph=cuda_graph,
    )
    spec = BenchSpec(
        trials=trials,
        duration_min_s=duration_s,
        warmup_min_s=warmup_s,
        warmup_max_s=max(warmup_s, warmup_max_s),
        sample_period_s=sample_ms / units.MS_PER_S,
        idle_s=idle_s,
        cuda_graph=cuda_graph,
        spin_wait=spin_wait,
        transfers=transfers,
    )
    request = BenchRequest(
        target=target,
        frequencies=freq,
        freq_strict=freq_strict,
        power_source=power_source,
        cross_check=cross_check,
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
    try:
        with progress.shown() as shown:
            measured = benchmark(request, results, shown)
    except ResultsUnwritable as error:
        _show_lost(output, error)
    benched.show(output, measured)
    if any(item.record.interrupted for item in measured):
        raise typer.Exit(130)


def _show_lost(output: Output, error: ResultsUnwritable) -> NoReturn:
    """A record that no folder took stands on standard output at least, for a script to keep; the error beside it."""
    if not output.as_json or error.rescued is not None or not error.records:
        raise error
    output.json(error.records[0] if len(error.records) == 1 else error.records)
    Output(as_json=False).error(error)
    raise typer.Exit(error.exit_code) from error


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
