"""``espdeploy report``: records become one page to decide from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from espdeploy.cli import options
from espdeploy.cli.output import Output


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of records, or one record.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="F.html", help="Where the page goes; report.html in DIR if not given."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Draw all records of a folder, and the profiles (*.profile.json) beside them, as one self-contained HTML page.

    Files that cannot be read are left out and named, here and on the page.
    """
    from espdeploy.pipeline.report import write_report

    written = write_report(folder, output)
    shown = Output(as_json=json)
    if json:
        shown.json(
            {
                "output": str(written.path),
                "records": written.records,
                "profiles": written.profiles,
                "left_out": written.left_out,
            }
        )
        return
    for path, reason in written.left_out.items():
        shown.note(f"left out {path}: {reason}")
    beside = f", {_counted(written.profiles, 'profile')}" if written.profiles else ""
    shown.line(f"{written.path}: {_counted(written.records, 'record')}{beside}")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"
