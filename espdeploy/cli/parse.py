"""``espdeploy parse``: what a profiler or another tool wrote, as tables or as JSON."""

from __future__ import annotations

from typing import Annotated

import typer

from espdeploy.cli import options
from espdeploy.cli.output import Output


def _kinds(incomplete: str) -> list[str]:
    from espdeploy.profilers.kinds import KINDS

    return [kind for kind in KINDS if kind.startswith(incomplete)]


def parse(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="What a tool wrote; several files of one run; - for standard input."),
    ],
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind",
            metavar="K",
            help="nsys, ncu, nvprof, trtexec, tegrastats or nvidia-smi; told by the content where not given.",
            autocompletion=_kinds,
        ),
    ] = None,
    top: Annotated[int, typer.Option("--top", metavar="N", min=1, help="Kernels or layers in the table.")] = 10,
    json: options.Json = False,
) -> None:
    """Read what nvprof, nsys, ncu, trtexec, tegrastats or nvidia-smi wrote.

    Summaries, traces, metrics, logs and exports of all releases, as text, CSV, JSON or SQLite. Files of one run are
    joined on kernels' names, so that times of one weigh the counters of another.
    """
    from espdeploy.pipeline.profiling.parse import parse_files

    document = parse_files(files, kind)
    output = Output(as_json=json)
    if json:
        output.json(document)
        return
    from espdeploy.cli.parsed import show

    show(output, document, top)
