"""Latency of each record on one axis: a bar to the median, a stroke at the 95th percentile, a line to the greatest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup

from espdeploy.report.charts.frame import Plot, axes, stamp, tooltip
from espdeploy.report.charts.scale import Scale, drawable, fitted, logarithmic
from espdeploy.report.charts.svg import clip, coordinate, element, path, picture, text_width
from espdeploy.report.text import number

_WIDTH, _LABEL_WIDTH = 560.0, 204.0
_TOP, _STAMPED_TOP, _BOTTOM, _AIR = 10.0, 26.0, 46.0, 10.0
_BAR_SHARE = 0.45
#: many rows stand closer, or the chart outgrows the page
_FEW, _ROW, _CLOSE_ROW = 16, 28.0, 19.0
#: between the font sizes on a wide and on a narrow screen: a clipped label is a lost one
_LABEL_FONT = 13.0
_LOG_RATIO = 40.0
_ARROW = 4.5


@dataclass(frozen=True, kw_only=True)
class Range:
    """One record's times in ms. ``p95`` is None where the number of trials cannot bear it.

    ``kind`` follows the label and tells records of one model apart; the label is cut before it.
    """

    label: str
    kind: str
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
    simulated: bool = False  # all of them


def draw(chart: Ranges, anchor: str) -> Markup:
    """The chart as SVG; ``anchor`` is an id that nothing else on the page has."""
    pitch = _ROW if len(chart.rows) <= _FEW else _CLOSE_ROW
    top = _STAMPED_TOP if chart.simulated else _TOP
    height = top + _BOTTOM + _AIR + pitch * len(chart.rows)
    blank = Scale(low=0.0, high=1.0, ticks=())
    plot = Plot(
        width=_WIDTH,
        height=height,
        x=_scale(chart.rows),
        y=blank,
        left=_LABEL_WIDTH,
        right=64.0,
        top=top,
        bottom=_BOTTOM,
    )
    return picture(
        anchor,
        (_WIDTH, height),
        (chart.title, chart.description),
        *_grid(plot),
        axes(plot, chart.x_title, ""),
        stamp(plot, simulated=chart.simulated),
        *(_row(plot, row, plot.top + pitch * (index + 0.5), pitch) for index, row in enumerate(chart.rows)),
    )


def legend(chart: Ranges) -> str:
    """How the chart is read."""
    where = " The axis is logarithmic: the lengths of bars say nothing." if _scale(chart.rows).log else ""
    return f"Bar: median. Stroke: p95. Line: to the greatest time, with an arrow where it ends beyond the axis.{where}"


def _scale(rows: tuple[Range, ...]) -> Scale:
    """Up to a little beyond the slowest p95: single slow trials would leave no room for the rest."""
    medians = [row.median for row in rows]
    values = [_typical_high(row) for row in rows]
    if min(medians) > 0 and max(medians) / min(medians) > _LOG_RATIO:
        return logarithmic([*medians, *values])
    return fitted([value * 1.05 for value in values], zero=True, count=5)


def _typical_high(row: Range) -> float:
    return row.p95 if row.p95 is not None and drawable(row.p95) else row.median


def _grid(plot: Plot) -> Iterator[Markup]:
    for value, _ in plot.x.ticks:
        x = coordinate(plot.at_x(value))
        yield element("path", class_="grid", d=f"M{x} {coordinate(plot.top)}V{coordinate(plot.floor)}")


def _row(plot: Plot, row: Range, y: float, pitch: float) -> Markup:
    median = plot.at_x(row.median)
    thick = pitch * _BAR_SHARE
    kind = "mark length hollow" if row.hollow else "mark length"
    width = max(median - plot.left, 1.0)
    parts = [
        element("text", _label(row), class_="note end", x=_LABEL_WIDTH - 10, y=y + 4),
        element("rect", class_=kind, x=plot.left, y=y - thick / 2, width=width, height=thick),
        *_whisker(plot, row, y),
        element("text", number(row.median), class_="note", x=plot.edge + 14, y=y + 4),
    ]
    if row.p95 is not None and drawable(row.p95):
        x, tick = coordinate(plot.at_x(row.p95)), thick * 0.72
        parts.append(element("path", class_="p95-tick", d=f"M{x} {y - tick:.1f}V{y + tick:.1f}"))
    return element("g", tooltip(_text(row)), *parts)


def _label(row: Range) -> str:
    room = _LABEL_WIDTH - 14
    least = max(room * 0.6, room - text_width(row.label, _LABEL_FONT))
    kind = clip(f" · {row.kind}", least, _LABEL_FONT) if row.kind else ""
    return clip(row.label, room - text_width(kind, _LABEL_FONT), _LABEL_FONT) + kind


def _whisker(plot: Plot, row: Range, y: float) -> Iterator[Markup]:
    start, end = plot.at_x(row.median), plot.at_x(row.high)
    yield element("path", class_="mark whisker", d=f"M{start:.1f} {y:.1f}H{max(end, start + 1):.1f}")
    if row.high > plot.x.high:
        tip = [(end + _ARROW * 2, y), (end, y - _ARROW), (end, y + _ARROW)]
        yield element("path", class_="spike", d=path(tip, close=True))


def _text(row: Range) -> str:
    p95 = f", p95 {row.p95:.4g}" if row.p95 is not None else ""
    return f"{row.label} {row.kind}: median {row.median:.4g}{p95}, greatest {row.high:.4g} ms"
