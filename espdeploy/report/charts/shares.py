"""Named percentages, one below the other: the name, the figure, and a bar in the colour of its kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup

from espdeploy.report.charts.frame import FONT, NARROW_FONT, Plot, axes, stamp, tooltip
from espdeploy.report.charts.scale import Scale, drawable, exact, fitted
from espdeploy.report.charts.svg import clip, coordinate, element, picture, text_width

_WIDTH, _ROW, _BAR = 560.0, 35.0, 11.0
_TOP, _BARE_TOP, _BOTTOM, _SIDE, _GAP = 22.0, 4.0, 44.0, 6.0, 14.0


@dataclass(frozen=True, kw_only=True)
class Share:
    """A name, its percentage, what stands beside it, and the colour (``c1`` … ``c8``)."""

    name: str
    pct: float
    text: str
    told: str  # tooltip: the whole name and figure
    colour: str = "c1"


@dataclass(frozen=True, kw_only=True)
class Shares:
    """Rows on one axis of percent, which goes to 100 where ``whole`` is set."""

    title: str
    description: str
    x_title: str
    rows: tuple[Share, ...]
    whole: bool = False
    simulated: bool = False


def draw(chart: Shares, anchor: str) -> Markup:
    """The chart as SVG; ``anchor`` is an id that nothing else on the page has."""
    top = _TOP if chart.simulated else _BARE_TOP
    plot = Plot(
        width=_WIDTH,
        height=top + _ROW * len(chart.rows) + _BOTTOM,
        x=_scale(chart),
        y=Scale(low=0.0, high=1.0, ticks=()),
        left=_SIDE,
        right=max((text_width(_figure(row), NARROW_FONT) for row in chart.rows), default=0.0) + _GAP,
        top=top,
        bottom=_BOTTOM,
    )
    return picture(
        anchor,
        (plot.width, plot.height),
        (chart.title, chart.description),
        *_grid(plot, len(chart.rows)),
        axes(plot, chart.x_title, ""),
        stamp(plot, simulated=chart.simulated),
        *(_row(plot, row, plot.top + _ROW * index) for index, row in enumerate(chart.rows)),
    )


def _scale(chart: Shares) -> Scale:
    if chart.whole:
        return exact(0.0, 100.0, count=5)
    return fitted([row.pct for row in chart.rows if drawable(row.pct)] or [0.0], zero=True, count=5)


def _grid(plot: Plot, rows: int) -> Iterator[Markup]:
    """Lines behind the bars alone: they would run through the names."""
    for value, _ in plot.x.ticks:
        x = coordinate(plot.at_x(value))
        parts = (f"M{x} {coordinate(plot.top + _ROW * index + FONT + 5)}v{_BAR}" for index in range(rows))
        yield element("path", class_="grid", d="".join(parts))


def _row(plot: Plot, row: Share, top: float) -> Markup:
    level = top + FONT + 5 + _BAR - 1
    end = plot.at_x(row.pct) if drawable(row.pct) else plot.edge
    return element(
        "g",
        tooltip(row.told),
        element("text", clip(row.name, _WIDTH - _SIDE, NARROW_FONT), class_="note", x=plot.left, y=top + FONT),
        element("text", _figure(row), class_="note end", x=_WIDTH, y=level),
        element(
            "rect",
            class_=f"mark part {row.colour}",
            x=plot.left,
            y=top + FONT + 5,
            width=max(end - plot.left, 1.0),
            height=_BAR,
        ),
    )


def _figure(row: Share) -> str:
    return clip(row.text, _WIDTH * 0.45, NARROW_FONT)
