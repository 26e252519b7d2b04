"""One quantity against another, a mark per record; kinds of record differ in colour and shape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from espdeploy.report.charts.frame import NARROW_FONT, Plot, axes, stamp, tooltip
from espdeploy.report.charts.labels import Box, place
from espdeploy.report.charts.markers import marker
from espdeploy.report.charts.scale import Scale, fitted, logarithmic
from espdeploy.report.charts.svg import clip, element, picture, text_width

_WIDTH, _PLOT_HEIGHT, _LEGEND_ROW = 560.0, 340.0, 20.0
_LABEL_WIDTH = 180.0
#: between the font sizes on a wide and on a narrow screen
_LABEL_FONT = 13.0
_LOG_RATIO = 15.0


@dataclass(frozen=True, kw_only=True)
class Dot:
    """One record: its place, its label on the chart, and the tooltip. ``hollow`` marks what was not measured."""

    x: float
    y: float
    label: str
    text: str
    kind: int  # index of the series
    hollow: bool = False


@dataclass(frozen=True, kw_only=True)
class Scatter:
    """Dots of one or more series; the legend is drawn when there is more than one."""

    title: str
    description: str
    x_title: str
    y_title: str
    dots: tuple[Dot, ...]
    series: tuple[str, ...]
    simulated: bool = False  # all of them


def draw(chart: Scatter, anchor: str) -> Markup:
    """The chart as SVG; ``anchor`` is an id that nothing else on the page has."""
    legend = _legend_of(chart)
    plot = _plot(chart)
    return picture(
        anchor,
        (_WIDTH, plot.height),
        (chart.title, chart.description),
        _frame(plot, chart, legend),
        stamp(plot, simulated=chart.simulated),
        *(_dot(plot, dot) for dot in chart.dots),
        *_labels(_placed(plot, chart.dots)),
        *_legend(plot, legend),
    )


def unlabelled(chart: Scatter) -> int:
    """How many dots have no label, for want of room."""
    return sum(box is None for _, _, box in _placed(_plot(chart), chart.dots))


def is_log(values: Sequence[float]) -> bool:
    """Whether the values lie so far apart that the axis is logarithmic."""
    return bool(values) and min(values) > 0 and max(values) / min(values) > _LOG_RATIO


def _legend_of(chart: Scatter) -> tuple[str, ...]:
    return chart.series if len(chart.series) > 1 else ()


def _plot(chart: Scatter) -> Plot:
    legend = _LEGEND_ROW * len(_legend_of(chart))
    return Plot(
        width=_WIDTH,
        height=_PLOT_HEIGHT + legend,
        x=_scale([dot.x for dot in chart.dots]),
        y=_scale([dot.y for dot in chart.dots]),
        bottom=44.0 + legend + (6 if legend else 0),
    )


def _frame(plot: Plot, chart: Scatter, legend: Sequence[str]) -> Markup:
    """The axes; their lower title stands above the legend."""
    x_title = element(
        "text", chart.x_title, class_="axis-title end", x=plot.edge, y=plot.floor + 36, aria_hidden="true"
    )
    return axes(plot, "", chart.y_title) + x_title if legend else axes(plot, chart.x_title, chart.y_title)


def _scale(values: Sequence[float]) -> Scale:
    return logarithmic(values) if is_log(values) else fitted(values, zero=True)


def _dot(plot: Plot, dot: Dot) -> Markup:
    return marker((plot.at_x(dot.x), plot.at_y(dot.y)), dot.kind, tooltip(dot.text), hollow=dot.hollow)


def _placed(plot: Plot, dots: Sequence[Dot]) -> list[tuple[str, float, Box | None]]:
    """For each dot its label, its horizontal position and the box of its label."""
    texts = [clip(dot.label, _LABEL_WIDTH, _LABEL_FONT) for dot in dots]
    points = [(plot.at_x(dot.x), plot.at_y(dot.y)) for dot in dots]
    sizes = [(text_width(text, NARROW_FONT), NARROW_FONT) for text in texts]
    area = Box(left=plot.left, top=plot.top - 6, right=_WIDTH, bottom=plot.floor)
    return list(zip(texts, (x for x, _ in points), place(points, sizes, area), strict=True))


def _labels(placed: Sequence[tuple[str, float, Box | None]]) -> Iterator[Markup]:
    for text, x, box in placed:
        if box is not None:
            # widths are estimates: a label is tied to its dot at the side that faces it
            kind, start = _tie(x, box)
            yield element("text", text, class_=f"note label{kind}", x=start, y=box.bottom - 3)


def _tie(x: float, box: Box) -> tuple[str, float]:
    if abs((box.left + box.right) / 2 - x) < 1:
        return " middle", x
    return (" end", box.right) if box.left < x - (box.right - box.left) / 2 else ("", box.left)


def _legend(plot: Plot, series: Sequence[str]) -> Iterator[Markup]:
    for row, name in enumerate(series):
        y = plot.floor + 54 + row * _LEGEND_ROW
        yield marker((plot.left + 6, y - 4), row)
        text = clip(name, _WIDTH - plot.left - 24, _LABEL_FONT)
        yield element("text", text, class_="note", x=plot.left + 20, y=y)
