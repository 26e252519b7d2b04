"""``espdeploy build``: an ONNX file becomes an engine with a passport."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from espdeploy.cli import options, progress
from espdeploy.cli.output import Output

if TYPE_CHECKING:
    from espdeploy.pipeline.build import Built


def build(
    onnx: Annotated[Path, typer.Argument(metavar="F.onnx", help="What `espdeploy export` wrote, or any ONNX file.")],
    device: options.Device = "cpu",
    precision: options.Precision = "fp32",
    runtime: options.Runtime = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="ENGINE", help="Where the engine goes; the cache if not given."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Make an engine for a device, from the cache where nothing that matters has changed.

    The precision that convolutions really compute in is read back from the runtime; another one than
    asked for is an error.
    """
    from espdeploy.pipeline.build import BuildRequest, build_engine
    from espdeploy.recipes import device_profile

    request = BuildRequest(onnx=onnx, profile=device_profile(device), precision=precision, runtime=runtime)
    with progress.shown() as shown:
        built = build_engine(request, output, shown)
    _show(Output(as_json=json), built)


def _show(output: Output, built: Built) -> None:
    if output.as_json:
        output.json(built.document())
        return
    engine = built.engine
    shares = built.precision_share_pct
    output.pairs(
        [
            ("engine", str(engine.path)),
            ("runtime", f"{engine.runtime} {engine.runtime_version}"),
            ("precision", f"{engine.precision}; convolutions: {_shares(shares)}"),
            ("size", f"{engine.size_mb:.2f} MB"),
            ("cache", built.cache),
            ("build time", f"{built.build_s:.2f} s"),
        ]
    )


def _shares(shares: dict[str, float] | None) -> str:
    if shares is None:
        return "unknown"
    return ", ".join(f"{pct:.0f} % {name}" for name, pct in shares.items())
