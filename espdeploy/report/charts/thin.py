"""From long series to what can be drawn: equal slices of time that keep their least and greatest value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from espdeploy.report.charts.scale import drawable

Point = tuple[float, float | None]


@dataclass(frozen=True, kw_only=True)
class Slice:
    """The samples between two moments; ``low``, ``median`` and ``high`` are None where all of them are gaps."""

    start: float
    end: float
    low: float | None
    median: float | None
    high: float | None
    samples: int


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar of a histogram: how many values lie in ``low <= value < high`` (the last: ``<=``)."""

    low: float
    high: float
    count: int


def usable(times: Sequence[float], values: Sequence[float | None]) -> list[Point]:
    """Points in order of time, with gaps kept as None and times that cannot be drawn dropped."""
    pairs = zip(times, values, strict=False)  # a damaged series is drawn as far as it goes
    kept = [(t, value if drawable(value) else None) for t, value in pairs if drawable(t)]
    return sorted(kept, key=lambda point: point[0])


def slices(points: Sequence[Point], count: int) -> list[Slice]:
    """Up to ``count`` equal slices of time; those without a sample are left out, so that sparse series stay whole."""
    if not points:
        return []
    start, span = points[0][0], points[-1][0] - points[0][0]
    held: list[list[Point]] = [[] for _ in range(count)]
    for point in points:
        held[min(int((point[0] - start) / span * count), count - 1) if span > 0 else 0].append(point)
    return [_slice(group) for group in held if group]


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which ``share`` of the sorted values lie, with linear interpolation between neighbours."""
    position = share * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def bars(ordered: Sequence[float]) -> tuple[list[Bar], int]:
    """Histogram bars of sorted values, and how many values lie above the last bar.

    The width follows Freedman and Diaconis (1981), held between 6 and 40 bars. Rare values far above the
    rest (at most 1 in 50) are counted instead of drawn, or they would press all others into one bar.
    """
    low, high = ordered[0], bulk_edge(ordered)
    inside = [value for value in ordered if value <= high]
    number = _bar_count(inside)
    width = (high - low) / number
    if width <= abs(high) * 1e-12:
        return [Bar(low=low, high=high, count=len(inside))], len(ordered) - len(inside)
    counts = [0] * number
    for value in inside:
        counts[min(int((value - low) / width), number - 1)] += 1
    drawn = [Bar(low=low + i * width, high=low + (i + 1) * width, count=n) for i, n in enumerate(counts)]
    return drawn, len(ordered) - len(inside)


def _slice(group: list[Point]) -> Slice:
    known = [value for _, value in group if value is not None]
    return Slice(
        start=group[0][0],
        end=group[-1][0],
        low=min(known, default=None),
        median=median(known) if known else None,
        high=max(known, default=None),
        samples=len(group),
    )


def bulk_edge(ordered: Sequence[float]) -> float:
    """The greatest of the sorted values that is no rare spike: at most 1 in 50 lies above it, and far above."""
    middle, ninety_eight = quantile(ordered, 0.5), quantile(ordered, 0.98)
    fence = ninety_eight + 3 * (ninety_eight - middle)
    if ordered[-1] <= fence or ninety_eight <= middle:
        return ordered[-1]
    return max(value for value in ordered if value <= fence)


def _bar_count(ordered: Sequence[float]) -> int:
    spread = quantile(ordered, 0.75) - quantile(ordered, 0.25)
    width = 2 * spread / math.pow(len(ordered), 1 / 3)
    if width <= 0:
        return 6
    return min(max(math.ceil((ordered[-1] - ordered[0]) / width), 6), 40)
