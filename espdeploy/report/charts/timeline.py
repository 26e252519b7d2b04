"""A quantity over time: each sample where there is room, else the range of each slice of time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from espdeploy.report.charts.frame import NARROW_FONT, Plot, axes, level, tooltip
from espdeploy.report.charts.scale import Scale, exact, fitted
from espdeploy.report.charts.svg import dots, element, path, picture, text_width
from espdeploy.report.charts.thin import Point, Slice, slices

_LARGE, _SMALL = (560.0, 250.0), (360.0, 176.0)
#: as many samples are marks of their own, with a tooltip each
MOST_MARKS = 240
#: as many samples are drawn one by one; longer series as the range of each slice
MOST_DOTS = 2000
#: the same for the small charts, of which a page holds many
MOST_JOINED, _MOST_JOINED_MARKS = 400, 60
_SLICES = 260
_HOVER_SLICES, _BRIEF_HOVER_SLICES = 40, 10
_SPIKE = 4.5
_FEW = 24


@dataclass(frozen=True, kw_only=True)
class Section:
    """A stretch of the time axis with the level that it keeps, such as a third of the trials."""

    start: float
    end: float
    level: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Points in order of time. ``joined`` draws a line through the samples, else they stand alone.

    ``top`` is the fixed upper end of the y axis (100 for a share), ``mean`` a level across the whole axis.
    Values above ``edge`` would press all others flat: they stand at the upper edge as triangles. ``brief`` gives a
    tooltip to each slice of time alone: those of each sample would fill a page of many charts.
    """

    title: str
    description: str
    x_title: str
    y_title: str
    unit: str
    points: tuple[Point, ...]
    joined: bool
    zero: bool
    top: float | None = None
    edge: float | None = None
    mean: float | None = None
    sections: tuple[Section, ...] = ()
    large: bool = False
    brief: bool = False


def draw(chart: Timeline, anchor: str) -> Markup:
    """The chart as SVG; ``anchor`` is an id that nothing else on the page has."""
    plot = _plot(chart)
    mean = level(plot, chart.mean, "mean-line") if chart.mean is not None else Markup("")
    return picture(
        anchor,
        (plot.width, plot.height),
        (chart.title, chart.description),
        *_shades(plot, chart.sections),
        axes(plot, chart.x_title, chart.y_title),
        *_data(plot, chart),
        mean,
        *_levels(plot, chart.sections),
        *_spikes(plot, chart),
    )


def _plot(chart: Timeline) -> Plot:
    width, height = _LARGE if chart.large else _SMALL
    times = [t for t, _ in chart.points]
    return Plot(
        width=width,
        height=height,
        x=exact(min(0.0, times[0]), max(times[-1], 0.0), count=6 if chart.large else 4),
        y=_y_scale(chart),
        top=52.0 if chart.sections else 28.0,
    )


def _y_scale(chart: Timeline) -> Scale:
    values = [value for _, value in chart.points if value is not None and not _beyond(chart, value)]
    ends = [end for end in (chart.top, chart.mean) if end is not None]
    return fitted([*values, *ends], zero=chart.zero, count=5 if chart.large else 4)


def _data(plot: Plot, chart: Timeline) -> Iterator[Markup]:
    if len(chart.points) > (MOST_JOINED if chart.joined else MOST_DOTS):
        yield from _ranges(plot, chart)
        return
    runs = _runs(plot, chart)
    if chart.joined:
        yield element("path", class_="mark line", d="".join(path(run) for run in runs))
    most = _MOST_JOINED_MARKS if chart.joined else MOST_MARKS
    if len(chart.points) <= (_FEW if chart.brief else most):
        # beside a line the circles only carry the tooltips, unless there are so few that the line alone says little
        kind = "dot" if not chart.joined or len(chart.points) <= _FEW else "hover-dot"
        yield element("g", *_circles(plot, chart), class_=kind)
        return
    if not chart.joined:
        yield element("path", class_="mark dots", d="".join(dots(run) for run in runs))
    yield from _hovers(plot, chart)


def _runs(plot: Plot, chart: Timeline) -> list[list[tuple[float, float]]]:
    """Positions, split where a sample is missing or a spike."""
    runs: list[list[tuple[float, float]]] = [[]]
    for t, value in chart.points:
        if value is None or _beyond(chart, value):
            runs.append([])
        else:
            runs[-1].append((plot.at_x(t), plot.at_y(value)))
    return [run for run in runs if run]


def _circles(plot: Plot, chart: Timeline) -> Iterator[Markup]:
    for t, value in chart.points:
        if value is not None and not _beyond(chart, value):
            text = tooltip(f"{t:.4g} s: {value:.4g} {chart.unit}")
            yield element("circle", text, class_="mark", cx=plot.at_x(t), cy=plot.at_y(value), r=2.4)


def _ranges(plot: Plot, chart: Timeline) -> Iterator[Markup]:
    drawn = [point for point in chart.points if point[1] is None or not _beyond(chart, point[1])]
    for run in _known_runs(slices(drawn, _SLICES)):
        upper = [(plot.at_x((s.start + s.end) / 2), plot.at_y(high)) for s, _, _, high in run]
        lower = [(plot.at_x((s.start + s.end) / 2), plot.at_y(low)) for s, low, _, _ in run]
        middle = [(plot.at_x((s.start + s.end) / 2), plot.at_y(median)) for s, _, median, _ in run]
        yield element("path", class_="mark range", d=path([*upper, *reversed(lower)], close=True))
        yield element("path", class_="mark line", d=path(middle))
    yield from _hovers(plot, chart)


def _spikes(plot: Plot, chart: Timeline) -> Iterator[Markup]:
    """A triangle at the upper edge for each value beyond it; for long series, one for each slice that holds some."""
    if len(chart.points) <= MOST_DOTS:
        for t, value in chart.points:
            if value is not None and _beyond(chart, value):
                yield _spike(plot, t, f"{t:.4g} s: {value:.4g} {chart.unit}")
        return
    for part in slices(chart.points, _HOVER_SLICES):
        if part.high is not None and _beyond(chart, part.high):
            text = f"{part.start:.4g} to {part.end:.4g} s: up to {part.high:.4g} {chart.unit}"
            yield _spike(plot, (part.start + part.end) / 2, text)


def _spike(plot: Plot, t: float, text: str) -> Markup:
    x, y = plot.at_x(t), plot.top
    corners = [(x, y - _SPIKE), (x + _SPIKE, y + _SPIKE), (x - _SPIKE, y + _SPIKE)]
    return element("path", tooltip(text), class_="mark spike", d=path(corners, close=True))


def _beyond(chart: Timeline, value: float) -> bool:
    return chart.edge is not None and value > chart.edge


def _known_runs(parts: Sequence[Slice]) -> list[list[tuple[Slice, float, float, float]]]:
    runs: list[list[tuple[Slice, float, float, float]]] = [[]]
    for part in parts:
        if part.low is None or part.median is None or part.high is None:
            runs.append([])
        else:
            runs[-1].append((part, part.low, part.median, part.high))
    return [run for run in runs if run]


def _hovers(plot: Plot, chart: Timeline) -> Iterator[Markup]:
    """Invisible areas that carry the tooltips where samples have no mark of their own."""
    parts = slices(chart.points, _BRIEF_HOVER_SLICES if chart.brief else _HOVER_SLICES)
    yield element("g", *(_hover(plot, part, chart.unit) for part in parts if part.low is not None), class_="hover")


def _hover(plot: Plot, part: Slice, unit: str) -> Markup:
    left, right = plot.at_x(part.start), plot.at_x(part.end)
    text = f"{part.start:.4g} to {part.end:.4g} s: {part.low:.4g} to {part.high:.4g} {unit}, {part.samples:,} samples"
    width = max(right - left, 1.0)
    return element("rect", tooltip(text), x=left, y=plot.top, width=width, height=plot.floor - plot.top)


def _shades(plot: Plot, sections: Sequence[Section]) -> Iterator[Markup]:
    for section in sections[1::2]:
        left, right = plot.at_x(section.start), plot.at_x(section.end)
        yield element("rect", class_="shade", x=left, y=plot.top, width=right - left, height=plot.floor - plot.top)


def _levels(plot: Plot, sections: Sequence[Section]) -> Iterator[Markup]:
    for section in sections:
        left, right, y = plot.at_x(section.start), plot.at_x(section.end), plot.at_y(section.level)
        line = element("path", class_="section-level", d=f"M{left:.1f} {y:.1f}H{right:.1f}")
        yield element("g", tooltip(section.label), line)
        if text_width(section.label, NARROW_FONT) < right - left:
            yield element("text", section.label, class_="note middle", x=(left + right) / 2, y=plot.top - 8)
