"""``espdeploy profile``: run the profiler that the device's GPU takes, and read what it wrote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from espdeploy.cli import options, progress
from espdeploy.cli.output import Output

if TYPE_CHECKING:
    from espdeploy.pipeline.profiling.profile import ProfileRequest


def profile(
    engine: Annotated[Path, typer.Argument(metavar="ENGINE_OR_ONNX", help="An engine or an .onnx file.")],
    device: options.Device = "desktop",
    tool: Annotated[
        str | None,
        typer.Option(
            "--tool",
            metavar="T",
            help="nvprof, ncu, nsys (timeline) or trtexec (layers); by the GPU's compute capability if not given.",
        ),
    ] = None,
    kernels: Annotated[
        str,
        typer.Option("--kernels", metavar="K", help="Counters are of: top:N, the N that take longest; all; none."),
    ] = "top:10",
    inferences: Annotated[
        int, typer.Option("--inferences", metavar="N", min=1, max=100_000, help="Inferences below the profiler.")
    ] = 20,
    folder: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Folder for what the tool writes, as it writes it.")
    ] = Path("profile"),
    results: options.Results = Path("results"),
    runtime: options.Runtime = None,
    precision: options.OptionalPrecision = None,
    size: options.Size = None,
    top: Annotated[int, typer.Option("--top", metavar="N", min=1, help="Kernels or layers in the table.")] = 10,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print each step and command; run nothing.")] = False,
    as_application: Annotated[int | None, typer.Option("--as-application", hidden=True, min=1)] = None,
    json: options.Json = False,
) -> None:
    """Profile an engine: times of its kernels first, then, in a run apart, counters of those that take longest.

    No figure of speed comes from here: profilers slow down what they look at. `espdeploy explain` says what they mean.
    """
    from espdeploy.pipeline.capability import resolved_profile
    from espdeploy.pipeline.measuring.targets import TargetRequest
    from espdeploy.pipeline.profiling.profile import ProfileRequest, run_application
    from espdeploy.pipeline.profiling.profile import profile as profiled
    from espdeploy.recipes import device_profile
    from espdeploy.specs import ImageSize

    target = TargetRequest(
        engine=engine,
        profile=resolved_profile(device_profile(device)),
        runtime=runtime,
        precision=precision,
        size=ImageSize.parse(size) if size else None,
    )
    output = Output(as_json=json)
    if as_application is not None:
        with progress.shown() as shown:
            run_application(target, as_application, shown)
        return
    request = ProfileRequest(target=target, folder=folder, tool=tool, kernels=kernels, inferences=inferences)
    if dry_run:
        _show_plan(output, request)
        return
    from espdeploy.pipeline.profiling.keeping import keep

    with progress.shown() as shown:
        done = profiled(request, shown)
        kept = keep(done, request, results)
    if json:
        output.json(done.document)
        return
    from espdeploy.cli.parsed import show

    if done.document.get("simulated"):
        output.line("SIMULATED: a stand-in's figures")
    show(output, done.document, top)
    for command in done.commands:
        output.note(f"ran: {command}")
    for path in done.files:
        output.note(f"kept: {path}")
    output.note(f"for the report: {kept}")


def _show_plan(output: Output, request: ProfileRequest) -> None:
    from espdeploy.pipeline.profiling.profile import steps

    planned = steps(request)
    if output.as_json:
        output.json({"steps": [{"what": step.what, "command": step.command} for step in planned]})
        return
    for number, step in enumerate(planned, start=1):
        output.line(f"{number}. {step.what}" + (f"\n   {step.command}" if step.command else ""))
