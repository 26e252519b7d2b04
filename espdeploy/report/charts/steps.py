"""A value for each step between neighbouring settings, drawn over that step, and the same over the whole span."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup

from espdeploy.report.charts.frame import (
    FONT,
    KEY_FROM,
    KEY_ROW,
    NARROW_FONT,
    Plot,
    axes,
    key,
    key_spot,
    stamp,
    tooltip,
)
from espdeploy.report.charts.scale import fitted
from espdeploy.report.charts.svg import coordinate, element, picture, text_width

_WIDTH, _PLOT_HEIGHT, _TOP, _BOTTOM = 560.0, 270.0, 31.0, 44.0
_GAP, _SAMPLE = 2.0, 10.0


@dataclass(frozen=True, kw_only=True)
class Step:
    """The value between two settings, its interval where known, and what it would be at best."""

    start: float
    end: float
    value: float
    text: str
    label: str
    best: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Steps:
    """The steps, and ``span`` from the first to the last setting; ``best_name`` says what the best is."""

    title: str
    description: str
    x_title: str
    y_title: str
    steps: tuple[Step, ...]
    span: Step
    best_name: str
    simulated: bool = False


def draw(chart: Steps, anchor: str) -> Markup:
    """The chart as SVG; ``anchor`` is an id that nothing else on the page has."""
    plot = _plot(chart)
    x_title = element(
        "text", chart.x_title, class_="axis-title end", x=plot.edge, y=plot.floor + 36, aria_hidden="true"
    )
    spanned = (_line(plot, chart.span, "mean-line", chart.span.value),) if len(chart.steps) > 1 else ()
    return picture(
        anchor,
        (plot.width, plot.height),
        (chart.title, chart.description),
        axes(plot, "", chart.y_title),
        stamp(plot, simulated=chart.simulated),
        *(_band(plot, step) for step in chart.steps if step.interval is not None),
        *(_line(plot, step, "best", step.best) for step in chart.steps),
        *spanned,
        *(_line(plot, step, "mark step", step.value, tooltip(step.text)) for step in chart.steps),
        *_labels(plot, chart),
        x_title,
        *key(plot, _rows(plot, chart)),
    )


def _plot(chart: Steps) -> Plot:
    steps = (*chart.steps, chart.span)
    values = [value for step in steps for value in (step.value, step.best, *(step.interval or ()))]
    rows = KEY_FROM - _BOTTOM + KEY_ROW * (2 + (len(chart.steps) > 1))
    return Plot(
        width=_WIDTH,
        height=_PLOT_HEIGHT + rows,
        x=fitted([end for step in steps for end in (step.start, step.end)], count=6),
        y=fitted(values, zero=True),
        top=_TOP,
        bottom=_BOTTOM + rows,
    )


def _band(plot: Plot, step: Step) -> Markup:
    low, high = step.interval or (step.value, step.value)
    left, right = _sides(plot, step)
    top, bottom = plot.at_y(high), plot.at_y(low)
    return element("rect", class_="range", x=left, y=top, width=right - left, height=max(bottom - top, 0.5))


def _line(plot: Plot, step: Step, kind: str, value: float, *children: Markup) -> Markup:
    left, right = _sides(plot, step)
    return element("path", *children, class_=kind, d=f"M{coordinate(left)} {coordinate(plot.at_y(value))}H{right:.1f}")


def _sides(plot: Plot, step: Step) -> tuple[float, float]:
    left, right = plot.at_x(step.start) + _GAP, plot.at_x(step.end) - _GAP
    return left, max(right, left + 1.0)


def _labels(plot: Plot, chart: Steps) -> Iterator[Markup]:
    """The value below its line and its interval, where the step is wide enough; the best is drawn above."""
    for step in chart.steps:
        left, right = _sides(plot, step)
        if text_width(step.label, NARROW_FONT) < right - left:
            below = plot.at_y(step.interval[0] if step.interval else step.value)
            yield element("text", step.label, class_="note label middle", x=(left + right) / 2, y=below + FONT + 4)


def _rows(plot: Plot, chart: Steps) -> list[tuple[Markup, str]]:
    told = [("step", "each step, with its 95 % interval")]
    if len(chart.steps) > 1:
        told.append(("mean-line", f"over the whole span: {chart.span.label}"))
    told.append(("best", chart.best_name))
    return [(_sample(plot, index, kind), text) for index, (kind, text) in enumerate(told)]


def _sample(plot: Plot, index: int, kind: str) -> Markup:
    x, y = key_spot(plot, index)
    return element("path", class_=kind, d=f"M{coordinate(x - _SAMPLE)} {coordinate(y)}H{coordinate(x + _SAMPLE)}")
