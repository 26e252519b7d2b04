"""Axes: from values to positions, with ticks at round numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: values beyond this are not drawn: the distance between neighbouring doubles would show
LARGEST = 1e15
_SMALLEST_SPAN = 1e-9  # relative: below it rounding errors would be drawn as differences
_SMALLEST = 1e-12
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_LOG_STEPS = (1, 2, 5)
_MOST_TICKS = 12


@dataclass(frozen=True, kw_only=True)
class Scale:
    """An axis from ``low`` to ``high`` with labelled ticks; ``log`` means equal ratios are equally far apart."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def share(self, value: float) -> float:
        """Where ``value`` lies: 0 at ``low``, 1 at ``high``; values outside are held at the edge."""
        if self.log:
            value = max(value, self.low)
            part = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            part = (value - self.low) / (self.high - self.low)
        return min(max(part, 0.0), 1.0)


def drawable(value: float | None) -> bool:
    """Whether the value is known, finite and of a size that a chart can show."""
    return value is not None and math.isfinite(value) and abs(value) < LARGEST


def fitted(values: Sequence[float], *, zero: bool = False, count: int = 5) -> Scale:
    """A linear scale that ends on round numbers and holds ``values`` (and 0 where ``zero`` is set)."""
    low, high = _span(values, zero=zero)
    step = _step(high - low, count)
    low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    return Scale(low=low, high=high, ticks=_ticks(low, high, step))


def exact(low: float, high: float, *, count: int = 6) -> Scale:
    """A linear scale from ``low`` to ``high`` as they are, with the round numbers between them as ticks."""
    low, high = _span((low, high), zero=False)
    step = _step(high - low, count)
    return Scale(low=low, high=high, ticks=_ticks(math.ceil(low / step - 1e-9) * step, high, step))


def logarithmic(values: Sequence[float]) -> Scale:
    """A logarithmic scale that holds the positive ``values`` and ends on 1, 2 or 5 times a power of ten."""
    positive = [value for value in values if value > _SMALLEST] or [1.0]
    low, high = _log_edge(min(positive), up=False), _log_edge(max(positive), up=True)
    if high <= low * (1 + _SMALLEST_SPAN):
        low, high = low / 2, high * 2
    ticks = _log_ticks(low, high)
    return Scale(low=low, high=high, ticks=tuple((tick, tick_label(tick, tick)) for tick in ticks), log=True)


def tick_label(value: float, step: float) -> str:
    """``value`` with the decimals that ``step`` needs."""
    if value != 0 and (abs(value) >= 1e9 or abs(step) < 1e-6):
        return f"{value:g}"
    return f"{value:,.{_decimals(step)}f}"


def _span(values: Sequence[float], *, zero: bool) -> tuple[float, float]:
    held = [*values, 0.0] if zero else list(values) or [0.0]
    low, high = min(held), max(held)
    if high - low > max(_SMALLEST_SPAN * max(abs(low), abs(high)), _SMALLEST):
        return low, high
    if abs(high) <= _SMALLEST:
        return 0.0, 1.0
    margin = abs(high) * 0.05
    return (low if zero else low - margin), high + margin


def _step(span: float, count: int) -> float:
    power = 10.0 ** math.floor(math.log10(span / count))
    return next(power * step for step in _STEPS if span / count <= power * step * (1 + 1e-9))


def _ticks(first: float, high: float, step: float) -> tuple[tuple[float, str], ...]:
    number = min(math.floor((high - first) / step + 1e-6) + 1, _MOST_TICKS)
    values = [first + index * step for index in range(number)]
    return tuple((value, tick_label(0.0 if abs(value) < step * 1e-6 else value, step)) for value in values)


def _decimals(step: float) -> int:
    power = math.floor(math.log10(abs(step))) if step else 0
    quarter = round(abs(step) / 10.0**power, 6) % 1 != 0
    return max(0, -power + (1 if quarter else 0))


def _log_edge(value: float, *, up: bool) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    edges = [power * step for step in (*_LOG_STEPS, 10)]
    if up:
        return next((edge for edge in edges if edge >= value * (1 - 1e-9)), edges[-1])
    return next((edge for edge in reversed(edges) if edge <= value * (1 + 1e-9)), edges[0])


def _log_ticks(low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    fine = [step * 10.0**power for power in range(first, last + 1) for step in _LOG_STEPS]
    inside = [tick for tick in fine if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
    if len(inside) <= 7:
        return inside
    every = max(1, math.ceil((last - first) / 6))
    decades = [10.0**power for power in range(first, last + 1, every)]
    return [tick for tick in decades if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
