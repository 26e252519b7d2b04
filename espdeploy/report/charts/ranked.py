"""Many named values, one row each, worst first: a bar from zero, with a line over its interval."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from espdeploy.report.charts.frame import FONT, Plot, axes, tooltip, upright
from espdeploy.report.charts.scale import Scale, drawable, fitted
from espdeploy.report.charts.svg import clip, coordinate, element, picture, text_width

WIDTH = 900.0
_LABEL_MOST, _ASIDE_WIDTH, _VALUE_WIDTH = 400.0, 84.0, 66.0
_PITCH, _BAR_SHARE = 19.0, 0.6
_TOP, _BOTTOM, _GAP = 34.0, 46.0, 10.0


@dataclass(frozen=True, kw_only=True)
class Row:
    """A value with its text, its interval where there is one, and another figure that stands aside.

    A ``hollow`` bar is one that chance explains.
    """

    label: str
    value: float
    text: str
    interval: tuple[float, float] | None = None
    aside: str = ""
    hollow: bool = False


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """Rows in the order in which they are drawn, on one axis; ``aside`` is the head of the figures beside it."""

    title: str
    description: str
    x_title: str
    aside: str
    rows: tuple[Row, ...]


def height(chart: Ranked) -> float:
    """The height of the drawn chart in user units; its width is :data:`WIDTH`."""
    return _TOP + _PITCH * max(len(chart.rows), 1) + _BOTTOM


def draw(chart: Ranked, anchor: str) -> Markup:
    """The chart as SVG; ``anchor`` is an id that nothing else on the page has."""
    return picture(anchor, (WIDTH, height(chart)), (chart.title, chart.description), *parts(chart))


def parts(chart: Ranked) -> Iterator[Markup]:
    """What the picture is made of, from back to front."""
    labels = max((text_width(row.label, FONT) for row in chart.rows), default=0.0)
    plot = Plot(
        width=WIDTH,
        height=height(chart),
        x=_scale(chart.rows),
        y=Scale(low=0.0, high=1.0, ticks=()),
        left=min(labels, _LABEL_MOST) + _VALUE_WIDTH + 2 * _GAP,
        right=_ASIDE_WIDTH + 2 * _GAP,
        top=_TOP,
        bottom=_BOTTOM,
    )
    for value, label in plot.x.ticks:
        yield upright(plot, value, "grid")
        yield element("text", label, class_="tick middle", x=plot.at_x(value), y=_TOP - 8)
    yield axes(plot, chart.x_title, "")
    yield upright(plot, 0.0, "axis")
    yield element("text", chart.aside, class_="axis-title end", x=WIDTH - 4, y=_TOP - 8)
    for index, row in enumerate(chart.rows):
        yield _row(plot, row, _TOP + _PITCH * (index + 0.5))


def _scale(rows: Sequence[Row]) -> Scale:
    values = [value for row in rows for value in (row.value, *(row.interval or ())) if drawable(value)]
    return fitted(values or [0.0], zero=True, count=6)


def _row(plot: Plot, row: Row, y: float) -> Markup:
    room = plot.left - _VALUE_WIDTH - 2 * _GAP + 4
    level = y + FONT / 3
    drawn = [
        tooltip(f"{row.label}: {row.text}"),
        element("text", clip(row.label, room, FONT), class_="note end", x=plot.left - _VALUE_WIDTH - _GAP, y=level),
        element("text", row.text, class_="note end", x=plot.left - _GAP, y=level),
        *_bar(plot, row, y),
    ]
    if row.aside:
        drawn.append(element("text", row.aside, class_="note end", x=WIDTH - 4, y=level))
    return element("g", *drawn)


def _bar(plot: Plot, row: Row, y: float) -> Iterator[Markup]:
    """From zero to the value; a value that cannot be drawn fills the axis to its end."""
    zero = plot.at_x(0.0)
    end = plot.at_x(row.value) if drawable(row.value) else plot.edge
    thick = _PITCH * _BAR_SHARE
    kind = "mark length hollow" if row.hollow else "mark length"
    left, width = min(zero, end), max(abs(end - zero), 1.0)
    yield element("rect", class_=kind, x=left, y=y - thick / 2, width=width, height=thick)
    if row.interval is not None and all(map(drawable, row.interval)):
        low, high = (coordinate(plot.at_x(value)) for value in row.interval)
        tick = f"V{coordinate(y + 3)}"
        path = f"M{low} {coordinate(y)}H{high}M{low} {coordinate(y - 3)}{tick}M{high} {coordinate(y - 3)}{tick}"
        yield element("path", class_="mark whisker", d=path)
