"""Sensitivity to GPU frequency: by how much the execution time follows the clock.

Source: ESPNet (ECCV 2018), section 4.1: the ratio of the percentage change in execution time to the percentage change
in GPU frequency. Both changes are taken from the lower frequency, and the sign is turned so that a network that gains
from a faster clock has a positive value. Time inversely proportional to the clock gives f_low / f_high, never 1: the
shorter a step, the nearer to 1.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from espdeploy.records import FrequencySensitivity, SensitivityStep

_Z95 = 1.96


@dataclass(frozen=True, kw_only=True)
class Point:
    """Mean execution time at one frequency; ``ci95_ms`` is the 95 % interval of that mean, None where unknown."""

    frequency_mhz: float
    mean_ms: float
    ci95_ms: tuple[float, float] | None = None


def sensitivity(points: Sequence[Point]) -> FrequencySensitivity | None:
    """The sensitivity between neighbouring frequencies and over the whole span; None below two frequencies.

    Several points at one frequency count as their mean, weighted alike.
    """
    ordered = [_merged(at) for at in _by_frequency(points)]
    if len(ordered) < 2:
        return None
    pairs = [_between(low, high) for low, high in itertools.pairwise(ordered)]
    return FrequencySensitivity(pairs=pairs, span=_between(ordered[0], ordered[-1]))


def _between(low: Point, high: Point) -> SensitivityStep:
    ratio = high.mean_ms / low.mean_ms
    frequency_change = high.frequency_mhz / low.frequency_mhz - 1
    half = _relative_half(low), _relative_half(high)
    value = (1 - ratio) / frequency_change
    interval = None
    if half[0] is not None and half[1] is not None:
        # the two runs are independent: relative errors of a quotient add in squares
        spread = ratio * math.hypot(half[0], half[1]) / frequency_change
        interval = (value - spread, value + spread)
    return SensitivityStep(from_mhz=low.frequency_mhz, to_mhz=high.frequency_mhz, value=value, ci95=interval)


def _relative_half(point: Point) -> float | None:
    """Half the interval's width relative to the mean."""
    if point.ci95_ms is None:
        return None
    return (point.ci95_ms[1] - point.ci95_ms[0]) / 2 / point.mean_ms


def _by_frequency(points: Sequence[Point]) -> list[list[Point]]:
    found: dict[float, list[Point]] = {}
    for point in points:
        found.setdefault(point.frequency_mhz, []).append(point)
    return [found[frequency] for frequency in sorted(found)]


def _merged(points: list[Point]) -> Point:
    if len(points) == 1:
        return points[0]
    count = len(points)
    intervals = [point.ci95_ms for point in points if point.ci95_ms is not None]
    mean = sum(point.mean_ms for point in points) / count
    if len(intervals) < count:
        return Point(frequency_mhz=points[0].frequency_mhz, mean_ms=mean)
    # runs apart in time differ by more than each one's own noise (heat): the spread between them counts too
    own = math.sqrt(sum(((high - low) / 2) ** 2 for low, high in intervals)) / count
    between = _Z95 * math.sqrt(sum((point.mean_ms - mean) ** 2 for point in points) / (count - 1) / count)
    half = max(own, between)
    return Point(frequency_mhz=points[0].frequency_mhz, mean_ms=mean, ci95_ms=(mean - half, mean + half))
