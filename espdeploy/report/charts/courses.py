"""Several quantities of one unit over time, a line each: the power rails of a board, its temperatures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from espdeploy.report.charts.frame import KEY_FROM, KEY_ROW, Plot, axes, key, key_spot, tooltip
from espdeploy.report.charts.markers import COLOURS, marker
from espdeploy.report.charts.scale import exact, fitted
from espdeploy.report.charts.svg import element, path, picture
from espdeploy.report.charts.thin import Point, slices

_WIDTH, _PLOT_HEIGHT = 360.0, 176.0
_TOP, _BOTTOM = 28.0, 44.0
#: a longer line is drawn through the medians of as many slices of time
MOST_POINTS = 200


@dataclass(frozen=True, kw_only=True)
class Course:
    """One quantity in order of time, None where there is no reading; ``text`` stands in the key."""

    text: str
    points: tuple[Point, ...]


@dataclass(frozen=True, kw_only=True)
class Courses:
    """At least one course with at least one reading each, on common axes. ``zero``: the y axis begins at 0."""

    title: str
    description: str
    x_title: str
    y_title: str
    courses: tuple[Course, ...]
    zero: bool


def draw(chart: Courses, anchor: str) -> Markup:
    """The chart as SVG; ``anchor`` is an id that nothing else on the page has."""
    plot = _plot(chart)
    rows = [(marker(key_spot(plot, index), index), course.text) for index, course in enumerate(chart.courses)]
    # the title of the x axis stands above the key, not at the foot of the picture
    x_title = element(
        "text", chart.x_title, class_="axis-title end", x=plot.edge, y=plot.floor + 36, aria_hidden="true"
    )
    return picture(
        anchor,
        (plot.width, plot.height),
        (chart.title, chart.description),
        axes(plot, "", chart.y_title),
        *(part for index, course in enumerate(chart.courses) for part in _line(plot, course, index)),
        x_title,
        *key(plot, rows),
    )


def _plot(chart: Courses) -> Plot:
    times = [t for course in chart.courses for t, _ in course.points]
    values = [value for course in chart.courses for _, value in course.points if value is not None]
    below = KEY_FROM + KEY_ROW * len(chart.courses) - 8.0
    return Plot(
        width=_WIDTH,
        height=_PLOT_HEIGHT - _BOTTOM + below,
        x=exact(min(0.0, *times), max(0.0, *times), count=4),
        y=fitted(values, zero=chart.zero and min(values) >= 0, count=4),
        top=_TOP,
        bottom=below,
    )


def _line(plot: Plot, course: Course, index: int) -> Iterator[Markup]:
    """The line, split where a reading is missing, with the mark of the key at its last point."""
    runs = _runs(plot, _thinned(course.points))
    colour = f"c{index % COLOURS + 1}"
    d = "".join(path(run) for run in runs)
    yield element("path", tooltip(course.text), class_=f"curve {colour}", d=d)
    yield marker(runs[-1][-1], index, tooltip(course.text))


def _thinned(points: Sequence[Point]) -> list[Point]:
    if len(points) <= MOST_POINTS:
        return list(points)
    return [((part.start + part.end) / 2, part.median) for part in slices(points, MOST_POINTS)]


def _runs(plot: Plot, points: Sequence[Point]) -> list[list[tuple[float, float]]]:
    runs: list[list[tuple[float, float]]] = [[]]
    for t, value in points:
        if value is None:
            runs.append([])
        else:
            runs[-1].append((plot.at_x(t), plot.at_y(value)))
    return [run for run in runs if run]
