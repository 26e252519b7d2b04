"""Quantities against a number that was set, such as a frequency: a line per quantity, with intervals and a knee."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from espdeploy.report.charts.frame import KEY_FROM, KEY_ROW, NARROW_FONT, Plot, axes, key, key_spot, stamp, tooltip
from espdeploy.report.charts.labels import Box, place
from espdeploy.report.charts.markers import COLOURS, marker
from espdeploy.report.charts.scale import fitted
from espdeploy.report.charts.svg import coordinate, element, path, picture, text_width

_WIDTH, _PLOT_HEIGHT = 560.0, 270.0
_TOP, _BOTTOM = 31.0, 44.0
_CAP, _RING = 4.0, 9.0


@dataclass(frozen=True, kw_only=True)
class Point:
    """A value with its tooltip and, where it has them, its label and interval; ``hollow`` was not measured."""

    x: float
    y: float
    text: str
    label: str = ""
    interval: tuple[float, float] | None = None
    hollow: bool = False


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One quantity: its points, and the line, which goes through the mean where there are several at one place."""

    name: str
    points: tuple[Point, ...]
    line: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Curves:
    """One or more curves on common axes; a key is drawn where there are several. ``ring`` is the place of the knee.

    The y axis begins at 0; so does the x axis where ``zero_x`` is set.
    """

    title: str
    description: str
    x_title: str
    y_title: str
    curves: tuple[Curve, ...]
    ring: tuple[float, float] | None = None
    ring_text: str = ""
    zero_x: bool = False
    simulated: bool = False


def draw(chart: Curves, anchor: str) -> Markup:
    """The chart as SVG; ``anchor`` is an id that nothing else on the page has."""
    plot = _plot(chart)
    return picture(
        anchor,
        (plot.width, plot.height),
        (chart.title, chart.description),
        axes(plot, "" if _keyed(chart) else chart.x_title, chart.y_title),
        stamp(plot, simulated=chart.simulated),
        *_lines(plot, chart.curves),
        *_ring(plot, chart),
        *(mark for index, curve in enumerate(chart.curves) for mark in _marks(plot, curve.points, index)),
        *_labels(plot, chart.curves),
        *_key(plot, chart),
    )


def _keyed(chart: Curves) -> bool:
    return len(chart.curves) > 1


def _plot(chart: Curves) -> Plot:
    points = [point for curve in chart.curves for point in curve.points]
    ends = [end for point in points for end in (point.y, *(point.interval or ()))]
    rows = KEY_FROM - _BOTTOM + KEY_ROW * len(chart.curves) if _keyed(chart) else 0.0
    return Plot(
        width=_WIDTH,
        height=_PLOT_HEIGHT + rows,
        x=fitted([point.x for point in points], zero=chart.zero_x, count=6),
        y=fitted(ends, zero=True),
        top=_TOP,
        bottom=_BOTTOM + rows,
    )


def _lines(plot: Plot, curves: Sequence[Curve]) -> Iterator[Markup]:
    for index, curve in enumerate(curves):
        through = [(plot.at_x(x), plot.at_y(y)) for x, y in curve.line]
        yield element("path", class_=f"curve {_colour(index)}", d=path(through))


def _marks(plot: Plot, points: Sequence[Point], kind: int) -> Iterator[Markup]:
    for point in points:
        at = (plot.at_x(point.x), plot.at_y(point.y))
        if point.interval is not None:
            yield _interval(plot, at[0], point.interval)
        yield marker(at, kind, tooltip(point.text), hollow=point.hollow)


def _interval(plot: Plot, x: float, ends: tuple[float, float]) -> Markup:
    low, high = (coordinate(plot.at_y(end)) for end in ends)
    left, middle, right = coordinate(x - _CAP), coordinate(x), coordinate(x + _CAP)
    d = f"M{middle} {low}V{high}M{left} {low}H{right}M{left} {high}H{right}"
    return element("path", class_="whisker", d=d)


def _ring(plot: Plot, chart: Curves) -> Iterator[Markup]:
    if chart.ring is not None:
        x, y = plot.at_x(chart.ring[0]), plot.at_y(chart.ring[1])
        yield element("circle", tooltip(chart.ring_text), class_="ring", cx=x, cy=y, r=_RING)


def _labels(plot: Plot, curves: Sequence[Curve]) -> Iterator[Markup]:
    """Beside the points that have one, as far as there is room; every point keeps its tooltip."""
    points = [point for curve in curves for point in curve.points if point.label]
    places = [(plot.at_x(point.x), plot.at_y(point.y)) for point in points]
    sizes = [(text_width(point.label, NARROW_FONT), NARROW_FONT) for point in points]
    area = Box(left=plot.left, top=plot.top - 6, right=_WIDTH, bottom=plot.floor)
    lines = [[(plot.at_x(x), plot.at_y(y)) for x, y in curve.line] for curve in curves]
    for point, (x, _), box in zip(points, places, place(places, sizes, area, lines), strict=True):
        if box is not None:
            kind, start = ("end", box.right) if box.right < x else ("", box.left)
            yield element("text", point.label, class_=f"note label {kind}".rstrip(), x=start, y=box.bottom - 3)


def _key(plot: Plot, chart: Curves) -> Iterator[Markup]:
    if not _keyed(chart):
        return
    # the title of the x axis stands above the key, not at the foot of the picture
    yield element("text", chart.x_title, class_="axis-title end", x=plot.edge, y=plot.floor + 36, aria_hidden="true")
    yield from key(
        plot, [(marker(key_spot(plot, index), index), curve.name) for index, curve in enumerate(chart.curves)]
    )


def _colour(index: int) -> str:
    return f"c{index % COLOURS + 1}"
