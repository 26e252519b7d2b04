"""``espdeploy doctor``: what works on this machine, and what to do about what does not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from espdeploy.cli import options
from espdeploy.cli.output import Column, Output

if TYPE_CHECKING:
    from espdeploy.pipeline.engine_files.engine_check import EngineCheck

_EFFECTS = {"rebuild": "must be built again", "timings": "timings do not compare", "harmless": "harmless"}


def doctor(
    context: typer.Context,
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="NAME", help="Check what this device needs; the one found here if not given."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Check packages, runtimes, power sources, permissions and disk; `doctor engine FILE` checks one engine.

    Ends with 1 if something required is missing.
    """
    from espdeploy.errors import UsageError
    from espdeploy.pipeline.doctor import check_all
    from espdeploy.recipes import device_profile

    if context.invoked_subcommand is not None:
        if device is not None:
            raise UsageError(
                f"--device {device} would have no effect: an engine is held against this machine",
                do="espdeploy doctor engine FILE",
            )
        context.obj = json
        return
    checks = check_all(device_profile(device) if device else None)
    output = Output(as_json=json)
    if json:
        output.json({"checks": [check.document() for check in checks]})
    else:
        columns = [Column(head=""), Column(head="check"), Column(head="found"), Column(head="what to do")]
        rows = [[_mark(check.ok, check.required), check.name, check.found, check.hint] for check in checks]
        output.table(columns, rows)
    if any(check.required and not check.ok for check in checks):
        raise typer.Exit(1)


def engine(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An engine of `espdeploy build`, or an ONNX file.")],
    json: options.Json = False,
) -> None:
    """Whether an engine runs here, and what of its passport differs: release, GPU, clocks, where it comes from.

    Ends with 1 if it does not run here, or nobody can say that it does.
    """
    from espdeploy.pipeline.engine_files.engine_doctor import diagnose

    diagnosis = diagnose(file)
    output = Output(as_json=json or bool(context.obj))
    if output.as_json:
        output.json(diagnosis.document())
    else:
        heads = ("", "field", "here", "at the build", "what follows")
        output.table([Column(head=head) for head in heads], [_row(check) for check in diagnosis.checks])
        output.line(diagnosis.verdict)
    if not diagnosis.runs:
        raise typer.Exit(1)


def _row(check: EngineCheck) -> list[str]:
    follows = "; ".join(part for part in (_EFFECTS.get(check.effect, ""), check.hint) if part)
    mark = "?" if check.status == "unknown" and not check.required else _mark(check.ok, check.required)
    return [mark, check.name, check.found, check.expected, follows]


def _mark(ok: bool, required: bool) -> str:
    if ok:
        return "ok"
    return "FAIL" if required else "–"
