"""``espdeploy cache prune``: make room, by whole entries, and never with anything that is not espdeploy's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from espdeploy.errors import MissingCapability, UsageError
from espdeploy.pipeline.engine_files.cache_files import LEFTOVER, Cached, CacheEntry, cached

_FAILURES_SHOWN = 2


@dataclass(frozen=True, kw_only=True)
class PruneRequest:
    """What is to go beside leftovers: entries older than so much, the oldest until so much is left, or everything."""

    older_than_s: float | None = None
    keep_mb: float | None = None
    everything: bool = False
    dry_run: bool = False


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What was removed (of a dry run: would be), what could not be for being in use, and what is left."""

    removed: tuple[CacheEntry, ...]
    busy: tuple[CacheEntry, ...]
    left_mb: float
    dry_run: bool

    @property
    def freed_mb(self) -> float:
        """What the removed entries took."""
        return sum(entry.size_mb for entry in self.removed)

    def document(self) -> dict[str, object]:
        """As ``cache prune --json`` prints it."""
        return {
            "removed": [entry.document() for entry in self.removed],
            "busy": [entry.document() for entry in self.busy],
            "freed_mb": self.freed_mb,
            "left_mb": self.left_mb,
            "dry_run": self.dry_run,
        }


def prune(request: PruneRequest) -> Pruned:
    """Remove whole entries, and what killed processes left.

    Raises:
        UsageError: everything is to go, and some of it to stay.
        MissingCapability: a file could not be removed; everything else that was to go is gone.
    """
    if request.everything and (request.older_than_s is not None or request.keep_mb is not None):
        raise UsageError("--all leaves nothing to choose by age or size", do="give --all alone, or leave it away")
    before = cached()
    chosen = _chosen(before, request)
    going = tuple(entry for entry in chosen if not entry.busy)
    if not request.dry_run:
        _remove(going)
    return Pruned(
        removed=going,
        busy=tuple(entry for entry in chosen if entry.busy),
        left_mb=before.total_mb - sum(entry.size_mb for entry in going),
        dry_run=request.dry_run,
    )


def _chosen(before: Cached, request: PruneRequest) -> list[CacheEntry]:
    chosen: list[CacheEntry] = []
    staying: list[CacheEntry] = []
    for entry in before.entries:
        old = request.older_than_s is not None and entry.age_s > request.older_than_s
        goes = entry.kind == LEFTOVER or request.everything or old
        (chosen if goes else staying).append(entry)
    if request.keep_mb is not None:
        left_mb = sum(entry.size_mb for entry in staying)
        while staying and left_mb > request.keep_mb:
            chosen.append(staying.pop())  # the oldest is the last
            left_mb -= chosen[-1].size_mb
    return chosen


def _remove(entries: Iterable[CacheEntry]) -> None:
    failures: list[str] = []
    for entry in entries:
        for path in entry.files:  # the engine before its passport, which alone is known for a leftover the next time
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                failures.append(f"{path}: {error.strerror or error}")
    if failures:
        raise MissingCapability(
            f"{len(failures)} {'file' if len(failures) == 1 else 'files'} of the cache could not be removed",
            why="; ".join(failures[:_FAILURES_SHOWN]),
            do="check the permissions of the folder, or run this as the user who made them",
        )
