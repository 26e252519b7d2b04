"""``espdeploy quickstart``: the main job once, on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from espdeploy.cli import benched, options, progress
from espdeploy.cli.output import Output


def quickstart(
    folder: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder for everything made.")] = Path(
        "quickstart"
    ),
    trials: Annotated[int, typer.Option("--trials", min=1, help="Timed inferences per runtime.")] = 200,
    json: options.Json = False,
) -> None:
    """Export, build, benchmark and report ESPNet on this machine's processor."""
    from espdeploy.pipeline.quickstart import run_quickstart

    output = Output(as_json=json)
    with progress.shown() as shown:
        done = run_quickstart(folder, trials, shown)
    records = [item.path for item in done.benched]
    if json:
        output.json({"report": str(done.report), "records": [str(path) for path in records]})
        return
    benched.show(output, done.benched)
    output.line(f"Done. Open {done.report} in a browser.")
