"""How often each latency occurred, with the median and the 95th percentile marked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup

from espdeploy.report.charts.frame import NARROW_FONT, Plot, axes, tooltip, upright
from espdeploy.report.charts.scale import exact, fitted
from espdeploy.report.charts.svg import element, picture, text_width
from espdeploy.report.charts.thin import Bar

_SIZE = (560.0, 250.0)
_GAP = 1.0
_ABOVE_WIDTH = 22.0


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A value of the x axis that is pointed out; ``kind`` is a class of the style sheet."""

    value: float
    label: str
    kind: str


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Bars, the number of values beyond the last one, and marks; all on one axis of ``x_title``."""

    title: str
    description: str
    x_title: str
    y_title: str
    bars: tuple[Bar, ...]
    above: int
    marks: tuple[Mark, ...]


def draw(chart: Histogram, anchor: str) -> Markup:
    """The chart as SVG; ``anchor`` is an id that nothing else on the page has."""
    plot = _plot(chart)
    above = _above(plot, chart) if chart.above else Markup("")
    return picture(
        anchor,
        _SIZE,
        (chart.title, chart.description),
        axes(plot, chart.x_title, chart.y_title),
        *_bars(plot, chart.bars),
        above,
        *_marks(plot, chart.marks),
    )


def _plot(chart: Histogram) -> Plot:
    low, high = chart.bars[0].low, chart.bars[-1].high
    return Plot(
        width=_SIZE[0],
        height=_SIZE[1],
        x=exact(low, high),
        y=fitted([*(float(bar.count) for bar in chart.bars), float(chart.above)], zero=True, count=4),
        top=52.0,
        right=16.0 + (_ABOVE_WIDTH + 14 if chart.above else 0),
    )


def _bars(plot: Plot, bars: tuple[Bar, ...]) -> Iterator[Markup]:
    for bar in bars:
        if bar.count == 0:
            continue
        # a single value has no width of its own: its bar takes the middle of the axis
        left, right = (plot.at_x(bar.low), plot.at_x(bar.high)) if bar.high > bar.low else _middle(plot)
        yield _bar(plot, (left, right), bar.count, f"{bar.low:.4g} to {bar.high:.4g} ms: {bar.count:,} trials")


def _above(plot: Plot, chart: Histogram) -> Markup:
    left = plot.edge + 10
    text = f"more than {chart.bars[-1].high:.4g} ms: {chart.above:,} trials"
    label = element("text", "more", class_="tick middle", x=left + _ABOVE_WIDTH / 2, y=plot.floor + 17)
    return element("g", _bar(plot, (left, left + _ABOVE_WIDTH), chart.above, text, "bar-above"), label)


def _bar(plot: Plot, sides: tuple[float, float], count: int, text: str, kind: str = "bar") -> Markup:
    top = min(plot.at_y(count), plot.floor - 1)  # one trial of 100,000 stays visible
    return element(
        "rect",
        tooltip(text),
        class_=f"mark {kind}",
        x=sides[0] + _GAP / 2,
        y=top,
        width=max(sides[1] - sides[0] - _GAP, 1.0),
        height=plot.floor - top,
    )


def _middle(plot: Plot) -> tuple[float, float]:
    centre = (plot.left + plot.edge) / 2
    return centre - 12, centre + 12


def _marks(plot: Plot, marks: tuple[Mark, ...]) -> Iterator[Markup]:
    for row, mark in enumerate(marks):
        x = plot.at_x(mark.value)
        fits = x + 6 + text_width(mark.label, NARROW_FONT) < _SIZE[0]
        kind, start = ("note", x + 6) if fits else ("note end", x - 6)
        label = element("text", mark.label, class_=kind, x=start, y=14.0 + row * 16)
        stem = element("path", class_=mark.kind, d=f"M{x:.1f} {6 + row * 16}V{plot.top:.1f}")
        yield element("g", tooltip(mark.label), stem, upright(plot, mark.value, mark.kind), label)
