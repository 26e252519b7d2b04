"""``espdeploy cache``: the engines, exported graphs and weights that are kept, and how to make room."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Annotated

import typer

from espdeploy.cli import options
from espdeploy.cli.output import Column, Output
from espdeploy.errors import UsageError

if TYPE_CHECKING:
    from espdeploy.pipeline.engine_files.cache_files import CacheEntry

_UNITS_S = {"m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_AGE = re.compile(r"(?P<number>\d{1,6}(?:\.\d{1,6})?)(?P<unit>[mhdw])")
_SHOWN_AGES = (("d", 86_400.0), ("h", 3600.0), ("min", 60.0))


def list_cache(json: options.Json = False) -> None:
    """Engines, exported graphs and fetched weights that are kept: what each is, its size and its age."""
    from espdeploy.pipeline.engine_files.cache import engine_cache
    from espdeploy.pipeline.engine_files.cache_files import cached

    found = cached()
    output = Output(as_json=json)
    if json:
        output.json(found.document())
        return
    if found.entries:
        _table(output, found.entries)
    output.line(f"{_entries(len(found.entries))}, {found.total_mb:,.2f} MB in {engine_cache()}")
    if found.foreign:
        output.note(f"{found.foreign} other files there are not espdeploy's, and never removed")


def prune_cache(
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", metavar="30d", help="Remove what was made longer ago: minutes m, h, d, weeks w."),
    ] = None,
    keep_mb: Annotated[
        float | None, typer.Option("--keep-mb", metavar="N", min=0, help="Remove the oldest until N MB are left.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove everything.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go; remove nothing.")] = False,
    json: options.Json = False,
) -> None:
    """Remove what killed builds left, and more where an option says so. Nothing is asked.

    An engine goes with its passport; one that is being built, and files that are not espdeploy's, stay.
    """
    from espdeploy.pipeline.engine_files.cache_prune import PruneRequest, prune

    if keep_mb is not None and not math.isfinite(keep_mb):
        raise UsageError(f"--keep-mb {keep_mb:g} is no size", do="give a number of MB, such as --keep-mb 500")
    request = PruneRequest(
        older_than_s=None if older_than is None else _seconds(older_than),
        keep_mb=keep_mb,
        everything=everything,
        dry_run=dry_run,
    )
    pruned = prune(request)
    output = Output(as_json=json)
    if json:
        output.json(pruned.document())
        return
    if pruned.removed:
        _table(output, pruned.removed)
    would = "would free" if dry_run else "freed"
    output.line(f"{would} {pruned.freed_mb:,.2f} MB ({_entries(len(pruned.removed))}); {pruned.left_mb:,.2f} MB left")
    for entry in pruned.busy:
        output.note(f"{entry.name} stays: {entry.busy}")


def _table(output: Output, entries: tuple[CacheEntry, ...]) -> None:
    columns = [
        Column(head="kind"),
        Column(head="name"),
        Column(head="what it is"),
        Column(head="MB", numeric=True),
        Column(head="age", numeric=True),
    ]
    rows = [
        [entry.kind, entry.name, entry.busy or entry.what, f"{entry.size_mb:,.2f}", _age(entry)] for entry in entries
    ]
    output.table(columns, rows)


def _seconds(text: str) -> float:
    match = _AGE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f'--older-than "{text}" is no age', do="give minutes, hours, days or weeks: 90m, 12h, 30d, 2w")
    return float(match["number"]) * _UNITS_S[match["unit"]]


def _age(entry: CacheEntry) -> str:
    for unit, length_s in _SHOWN_AGES:
        if entry.age_s >= length_s:
            return f"{entry.age_s / length_s:.0f} {unit}"
    return f"{entry.age_s:.0f} s"


def _entries(count: int) -> str:
    return f"{count} {'entry' if count == 1 else 'entries'}"
