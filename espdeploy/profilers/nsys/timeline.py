"""How long a GPU had nothing to do between its first and its last kernel.

Idle is what lies between the end of everything that began before and the next begin: kernels, copies and sets on any
stream. Gaps before the first kernel and behind the last one are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Whole = NDArray[np.int64]


class OutOfOrderError(Exception):
    """Rows do not come in the order in which they began."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What ran on the GPUs, in order of ``start_ns``; arrays of one length."""

    start_ns: _Whole
    end_ns: _Whole
    device: _Whole
    kernel: NDArray[np.bool_]

    def at(self, which: _Whole | slice | NDArray[np.bool_]) -> Work:
        """Some of the rows."""
        return Work(
            start_ns=self.start_ns[which],
            end_ns=self.end_ns[which],
            device=self.device[which],
            kernel=self.kernel[which],
        )


@dataclass(frozen=True, kw_only=True)
class Span:
    """One GPU's time from its first kernel to the end of its last; ``launches`` are its kernels."""

    device: int
    span_ms: float
    busy_ms: float
    launches: int

    @property
    def idle_pct(self) -> float | None:
        """The share of the span in which nothing ran."""
        return 100 * (self.span_ms - self.busy_ms) / self.span_ms if self.span_ms else None


class Timeline:
    """Takes work in order, piece by piece; ``spans`` holds one for each GPU that ran kernels."""

    def __init__(self) -> None:
        self._of: dict[int, _Device] = {}

    def add(self, work: Work) -> None:
        """Add rows that began after all before them.

        Raises:
            OutOfOrderError: they did not.
        """
        for device in np.unique(work.device).tolist():
            held = self._of.setdefault(device, _Device(device=device))
            held.add(work.at(work.device == device))

    @property
    def spans(self) -> tuple[Span, ...]:
        """The GPUs, the busiest first."""
        spans = [held.span for held in self._of.values() if held.launches]
        return tuple(sorted(spans, key=lambda span: (-span.busy_ms, span.device)))


@dataclass(kw_only=True)
class _Device:
    device: int
    launches: int = 0
    first_ns: int = 0
    last_ns: int = 0
    seen_ns: int = 0
    ended_ns: int = 0
    gaps_ns: int = 0
    idle_ns: int = 0

    def add(self, work: Work) -> None:
        start, end = work.start_ns, work.end_ns
        if not start.size:
            return
        if start[0] < self.seen_ns or np.any(start[1:] < start[:-1]):
            raise OutOfOrderError
        self.seen_ns = int(start[-1])
        ended = np.maximum.accumulate(np.append(self.ended_ns, end))
        gaps = np.maximum(start - ended[:-1], 0)
        self.ended_ns = int(ended[-1])
        kernels = np.flatnonzero(work.kernel)
        if kernels.size and not self.launches:
            self.first_ns = int(start[kernels[0]])
            gaps[: kernels[0] + 1] = 0
        elif not self.launches:
            return
        passed = np.cumsum(gaps)
        if kernels.size:
            self.idle_ns = self.gaps_ns + int(passed[kernels[-1]])
            self.last_ns = max(self.last_ns, int(end[kernels].max()))
            self.launches += int(kernels.size)
        self.gaps_ns += int(passed[-1])

    @property
    def span(self) -> Span:
        whole_ns = self.last_ns - self.first_ns
        return Span(
            device=self.device,
            span_ms=whole_ns / 1e6,
            busy_ms=(whole_ns - self.idle_ns) / 1e6,
            launches=self.launches,
        )


def joined(pieces: Sequence[Work]) -> Work:
    """Pieces as one, in order of their begin."""
    whole = Work(
        start_ns=np.concatenate([piece.start_ns for piece in pieces]),
        end_ns=np.concatenate([piece.end_ns for piece in pieces]),
        device=np.concatenate([piece.device for piece in pieces]),
        kernel=np.concatenate([piece.kernel for piece in pieces]),
    )
    return whole.at(np.argsort(whole.start_ns, kind="stable"))


def nearly_ordered(pieces: Iterator[Work]) -> Iterator[Work]:
    """Pieces in order, where no row is displaced by more than the length of a piece."""
    held: Work | None = None
    for piece in pieces:
        if held is None:
            held = joined([piece])
            continue
        both, keep = joined([held, piece]), piece.start_ns.size
        yield both.at(slice(None, -keep) if keep else slice(None))
        held = both.at(slice(-keep, None) if keep else slice(0, 0))
    if held is not None:
        yield held


def merged(sources: Sequence[Iterator[Work]]) -> Iterator[Work]:
    """Several sources, each in order, as one in order; of each no more than a piece is held."""
    waiting: dict[int, Work] = {}
    running = dict(enumerate(sources))
    while True:
        for key in [key for key in running if key not in waiting]:
            piece = next((piece for piece in running[key] if piece.start_ns.size), None)
            if piece is None:
                del running[key]
            else:
                waiting[key] = piece
        if not waiting:
            return
        until = min(int(piece.start_ns[-1]) for piece in waiting.values())
        ready = []
        for key, piece in list(waiting.items()):
            cut = int(np.searchsorted(piece.start_ns, until, side="right"))
            ready.append(piece.at(slice(None, cut)))
            rest = piece.at(slice(cut, None))
            if rest.start_ns.size:
                waiting[key] = rest
            else:
                del waiting[key]
        yield joined(ready)
