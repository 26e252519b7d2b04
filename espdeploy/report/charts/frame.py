"""The plot area: margins, grid lines, tick labels and axis titles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from espdeploy.report.charts.scale import Scale
from espdeploy.report.charts.svg import clip, coordinate, element, join

#: the first row of a key below the floor of a plot, and from row to row
KEY_FROM, KEY_ROW = 50.0, 20.0
#: font size of the charts' text in user units, as the style sheet sets it
FONT = 12.0
#: the same on a narrow screen, where wide pictures shrink: labels must have room at this size
NARROW_FONT = 15.0


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Where the data stands in a picture of ``width`` x ``height`` user units, with its two scales."""

    width: float
    height: float
    x: Scale
    y: Scale
    left: float = 58.0
    right: float = 16.0
    top: float = 26.0
    bottom: float = 44.0

    def at_x(self, value: float) -> float:
        """The horizontal position of a value."""
        return self.left + self.x.share(value) * (self.width - self.left - self.right)

    def at_y(self, value: float) -> float:
        """The vertical position of a value."""
        return self.height - self.bottom - self.y.share(value) * (self.height - self.top - self.bottom)

    @property
    def floor(self) -> float:
        """The lower edge of the plot area."""
        return self.height - self.bottom

    @property
    def edge(self) -> float:
        """The right edge of the plot area."""
        return self.width - self.right


def axes(plot: Plot, x_title: str, y_title: str) -> Markup:
    """Grid lines across, ticks below, and both titles; the y title stands above its axis, where it reads level."""
    across = [_across(plot, plot.at_y(value), label) for value, label in plot.y.ticks]
    below = [_below(plot, plot.at_x(value), label) for value, label in plot.x.ticks]
    base = _line("axis", (plot.left, plot.floor), (plot.edge, plot.floor))
    titles = (
        element("text", y_title, class_="axis-title", x=4, y=13),
        element("text", x_title, class_="axis-title end", x=plot.edge, y=plot.height - 6),
    )
    return element("g", *across, *below, base, *titles, class_="axes", aria_hidden="true")


def upright(plot: Plot, value: float, kind: str) -> Markup:
    """A line from the top to the floor of the plot at ``value`` of the x axis."""
    x = plot.at_x(value)
    return _line(kind, (x, plot.top), (x, plot.floor))


def level(plot: Plot, value: float, kind: str) -> Markup:
    """A line across the plot at ``value`` of the y axis."""
    y = plot.at_y(value)
    return _line(kind, (plot.left, y), (plot.edge, y))


def stamp(plot: Plot, *, simulated: bool) -> Markup:
    """The warning in a chart of figures that were not measured on the device that it names."""
    return element("text", "SIMULATED", class_="stamp end", x=plot.width - 16, y=13) if simulated else Markup("")


def key(plot: Plot, rows: Sequence[tuple[Markup, str]]) -> Iterator[Markup]:
    """What each kind of line or mark is, in rows below the plot; a sample is drawn for the spot of :func:`key_spot`."""
    for index, (sample, text) in enumerate(rows):
        x, y = key_spot(plot, index)
        yield sample
        yield element("text", clip(text, plot.width - x - 20, NARROW_FONT), class_="note", x=x + 20, y=y + 4)


def key_spot(plot: Plot, index: int) -> tuple[float, float]:
    """The middle of a row's sample in the key."""
    return plot.left + 6, plot.floor + KEY_FROM + index * KEY_ROW


def tooltip(text: str) -> Markup:
    """What the browser shows when the pointer rests on a mark."""
    return element("title", text)


def _across(plot: Plot, y: float, label: str) -> Markup:
    grid = _line("grid", (plot.left, y), (plot.edge, y))
    return join((grid, element("text", label, class_="tick end", x=plot.left - 8, y=y + FONT / 3)))


def _below(plot: Plot, x: float, label: str) -> Markup:
    mark = _line("axis", (x, plot.floor), (x, plot.floor + 4))
    return join((mark, element("text", label, class_="tick middle", x=x, y=plot.floor + 17)))


def _line(kind: str, start: tuple[float, float], end: tuple[float, float]) -> Markup:
    d = f"M{coordinate(start[0])} {coordinate(start[1])}L{coordinate(end[0])} {coordinate(end[1])}"
    return element("path", class_=kind, d=d)
