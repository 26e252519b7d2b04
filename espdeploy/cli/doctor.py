"""``espdeploy doctor``: what works on this machine, and what to do about what does not."""

from __future__ import annotations

from typing import Annotated

import typer

from espdeploy.cli import options
from espdeploy.cli.output import Column, Output


def doctor(
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="NAME", help="Check what this device needs; the one found here if not given."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Check packages, runtimes, power sources, permissions and disk.

    Ends with 1 if something required is missing.
    """
    from espdeploy.pipeline.doctor import check_all
    from espdeploy.recipes import device_profile

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


def _mark(ok: bool, required: bool) -> str:
    if ok:
        return "ok"
    return "FAIL" if required else "–"
