"""``espdeploy weights``: the files that the networks' authors released."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from espdeploy import units
from espdeploy.cli import options, progress
from espdeploy.cli.output import Column, Output
from espdeploy.errors import Interrupted

if TYPE_CHECKING:
    from espdeploy.pipeline.weights import Released

_SHOWN_DIGITS = 12
_SHORT_STATES = {
    "can be fetched": "to fetch",
    "by hand: no checksum known": "by hand",
    "not published at a known address": "no known address",
}


def _weight_names(incomplete: str) -> list[str]:
    from espdeploy.networks.registry import REGISTRY

    names = [known.name for network in REGISTRY.values() for known in network.checkpoints if known.read]
    return [name for name in names if name.startswith(incomplete)]


Name = Annotated[
    str, typer.Argument(metavar="NAME", help="A file of `espdeploy weights list`.", autocompletion=_weight_names)
]


def list_weights(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Show this file alone, with its address.", autocompletion=_weight_names),
    ] = None,
    json: options.Json = False,
) -> None:
    """Released files: address, SHA-256, licence, and which of them are here.

    Files that nobody could check here have no SHA-256: they are listed, and fetched by hand.
    """
    from espdeploy.pipeline.weights import find, released

    output = Output(as_json=json)
    if name is not None:
        _show_one(output, find(name))
        return
    files = released()
    if json:
        output.json([file.document() for file in files])
        return
    columns = [
        Column(head="name"),
        Column(head="network"),
        Column(head="at"),
        Column(head="MB", numeric=True),
        Column(head="licence"),
        Column(head="SHA-256"),
        Column(head="state"),
    ]
    output.table(columns, [_row(file) for file in files])
    output.note("Addresses and whole checksums: espdeploy weights list NAME, or --json")


def _row(file: Released) -> list[str]:
    known = file.checkpoint
    return [
        file.name.removesuffix(".pth"),
        file.network,
        str(known.size),
        "–" if known.size_bytes is None else f"{units.mb_from_bytes(known.size_bytes):.2f}",
        known.licence or "–",
        known.sha256[:_SHOWN_DIGITS] if known.sha256 else "–",
        _SHORT_STATES.get(file.state, file.state),
    ]


def _show_one(output: Output, file: Released) -> None:
    if output.as_json:
        output.json(file.document())
        return
    known = file.checkpoint
    score = "" if known.value is None else f"{known.metric} {known.value:g}, "
    settings = ", ".join(f"{key}={value}" for key, value in known.settings.items())
    output.pairs(
        [
            ("name", file.name),
            ("network", f"{file.network}, {settings}"),
            ("trained on", f"{known.data}, for images of {known.size}"),
            ("score", f"{score}{known.source}"),
            ("address", known.url or "not published at a known address"),
            ("SHA-256", known.sha256 or "not known: the file was not at hand"),
            ("size", "not known" if known.size_bytes is None else f"{known.size_bytes:,} bytes"),
            ("licence", known.licence or "none stated"),
            ("state", str(file.cached) if file.cached else file.state),
        ]
    )


def fetch_weights(
    name: Name,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Where the file goes too; the cache alone if not given."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Fetch a released file into the cache, check its SHA-256, and say how it is used.

    A download that was broken off goes on where it ended; a file that is here is not fetched again.
    """
    from espdeploy.pipeline import weights

    try:
        with progress.shown() as shown:
            done = weights.fetch_weights(weights.find(name), output, shown)
    except KeyboardInterrupt as error:
        raise Interrupted("interrupted; what came so far is kept", do=f"espdeploy weights fetch {name}") from error
    shown_on = Output(as_json=json)
    if json:
        shown_on.json(done.document())
        return
    shown_on.line(str(done.output))
    if done.fetched.cached:
        shown_on.note("It was here already, with the right SHA-256: nothing was fetched.")
    elif done.fetched.resumed_from_bytes:
        shown_on.note(f"The download went on after {done.fetched.resumed_from_bytes:,} bytes; SHA-256 is right.")
    shown_on.note(f"Next: {done.next_command}")
