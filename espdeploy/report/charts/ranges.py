"""Latency of each record on one axis: from the least to the greatest time, with median and 95th percentile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup

from espdeploy.report.charts.frame import FONT, Plot, axes, tooltip
from espdeploy.report.charts.scale import LARGEST, Scale, fitted, logarithmic
from espdeploy.report.charts.svg import clip, coordinate, element, picture

_WIDTH, _LABEL_WIDTH, _ROW = 760.0, 216.0, 30.0
_LOG_RATIO = 20.0


@dataclass(frozen=True, kw_only=True)
class Range:
    """One record's times in ms. ``p95`` is None where the number of trials cannot bear it."""

    label: str
    low: float
    median: float
    p95: float | None
    high: float
    hollow: bool = False


@dataclass(frozen=True, kw_only=True)
class Ranges:
    """One row per record on a common axis."""

    title: str
    description: str
    x_title: str
    rows: tuple[Range, ...]


def draw(chart: Ranges, anchor: str) -> Markup:
    """The chart as SVG; ``anchor`` is an id that nothing else on the page has."""
    height = 70.0 + _ROW * len(chart.rows)
    blank = Scale(low=0.0, high=1.0, ticks=())
    plot = Plot(width=_WIDTH, height=height, x=_scale(chart.rows), y=blank, left=_LABEL_WIDTH, top=14.0, bottom=50.0)
    return picture(
        anchor,
        (_WIDTH, height),
        (chart.title, chart.description),
        *_grid(plot),
        axes(plot, chart.x_title, ""),
        *(_row(plot, row, plot.top + _ROW * (index + 0.5)) for index, row in enumerate(chart.rows)),
    )


def _scale(rows: tuple[Range, ...]) -> Scale:
    values = [value for row in rows for value in (row.low, row.high)]
    spread = min(values) > 0 and max(values) / min(values) > _LOG_RATIO
    return logarithmic(values) if spread else fitted(values, zero=True, count=7)


def _grid(plot: Plot) -> Iterator[Markup]:
    for value, _ in plot.x.ticks:
        x = coordinate(plot.at_x(value))
        yield element("path", class_="grid", d=f"M{x} {coordinate(plot.top)}V{coordinate(plot.floor)}")


def _row(plot: Plot, row: Range, y: float) -> Markup:
    low, median, high = (plot.at_x(value) for value in (row.low, row.median, row.high))
    p95 = plot.at_x(row.p95) if row.p95 is not None and abs(row.p95) < LARGEST else None
    parts = [
        element("text", clip(row.label, _LABEL_WIDTH - 14, FONT), class_="note end", x=_LABEL_WIDTH - 12, y=y + 4),
        element("path", class_="mark whisker", d=f"M{low:.1f} {y:.1f}H{max(high, low + 1):.1f}"),
    ]
    if p95 is not None:
        parts.append(_span(low, p95, y))
    kind = "mark marker c1 circle" + (" hollow" if row.hollow else "")
    parts.append(element("circle", class_=kind, cx=median, cy=y, r=5))
    return element("g", tooltip(_text(row)), *parts)


def _span(low: float, p95: float, y: float) -> Markup:
    """From the least time to the 95th percentile, closed by a stroke."""
    body = element("path", class_="mark span", d=f"M{low:.1f} {y:.1f}H{max(p95, low + 1):.1f}")
    return body + element("path", class_="p95", d=f"M{p95:.1f} {y - 7:.1f}V{y + 7:.1f}")


def _text(row: Range) -> str:
    p95 = f", p95 {row.p95:.4g}" if row.p95 is not None else ""
    return f"{row.label}: least {row.low:.4g}, median {row.median:.4g}{p95}, greatest {row.high:.4g} ms"
