"""The roofline: what arithmetic and memory allow at each arithmetic intensity, and where a run stands below it.

Source: Williams, Waterman, Patterson, "Roofline: an insightful visual performance model" (CACM 2009).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup

from espdeploy.report.charts.frame import FONT, NARROW_FONT, Plot, axes, stamp, tooltip
from espdeploy.report.charts.labels import Box, place
from espdeploy.report.charts.markers import marker
from espdeploy.report.charts.scale import logarithmic
from espdeploy.report.charts.svg import coordinate, element, path, picture, text_width
from espdeploy.report.text import number

_SIZE = (560.0, 300.0)
#: how far the axis goes beyond the ridge and the run
_AROUND = 8.0


@dataclass(frozen=True, kw_only=True)
class Roofline:
    """Limits in GFLOP/s and GB/s, and the run: its intensity in FLOP/byte and what it reached, None where unknown."""

    title: str
    description: str
    peak_gflops: float
    bandwidth_gb_s: float
    intensity: float
    achieved_gflops: float | None
    text: str
    simulated: bool = False

    @property
    def attainable_gflops(self) -> float:
        """What the roof allows at the run's intensity."""
        return min(self.peak_gflops, self.bandwidth_gb_s * self.intensity)

    @property
    def ridge(self) -> float:
        """The intensity at which arithmetic, and not memory, begins to limit."""
        return self.peak_gflops / self.bandwidth_gb_s


def draw(chart: Roofline, anchor: str) -> Markup:
    """The chart as SVG; ``anchor`` is an id that nothing else on the page has."""
    plot = _plot(chart)
    low, high = plot.x.low, plot.x.high
    corners = [(low, low * chart.bandwidth_gb_s), (chart.ridge, chart.peak_gflops), (high, chart.peak_gflops)]
    roof = [(plot.at_x(x), plot.at_y(y)) for x, y in corners]
    return picture(
        anchor,
        _SIZE,
        (chart.title, chart.description),
        axes(plot, "arithmetic intensity (FLOP/byte)", "GFLOP/s"),
        stamp(plot, simulated=chart.simulated),
        element("path", tooltip(chart.description), class_="mark roof", d=path(roof)),
        *_limits(plot, chart),
        *_run(plot, chart),
    )


def _plot(chart: Roofline) -> Plot:
    least, most = min(chart.intensity, chart.ridge) / _AROUND, max(chart.intensity, chart.ridge) * _AROUND
    reached = [chart.achieved_gflops / 2] if chart.achieved_gflops else []
    levels = [chart.peak_gflops * 1.6, chart.attainable_gflops / 2, least * chart.bandwidth_gb_s, *reached]
    return Plot(width=_SIZE[0], height=_SIZE[1], x=logarithmic([least, most]), y=logarithmic(levels), top=31.0)


def _limits(plot: Plot, chart: Roofline) -> Iterator[Markup]:
    """What the two parts of the roof are: above the flat one, and left of the slope, where nothing else is drawn."""
    told = f"arithmetic {number(chart.peak_gflops)} GFLOP/s"
    yield element("text", told, class_="note label end", x=plot.edge, y=plot.at_y(chart.peak_gflops) - 12)
    # two thirds up the part of the slope that is seen
    low = max(plot.x.low, plot.y.low / chart.bandwidth_gb_s)
    at = low * (chart.ridge / low) ** 0.62
    told = f"memory {number(chart.bandwidth_gb_s)} GB/s"
    x, y = plot.at_x(at), plot.at_y(at * chart.bandwidth_gb_s)
    if x - text_width(told, NARROW_FONT) - 10 > plot.left:
        yield element("text", told, class_="note label end", x=x - 10, y=y - 8)
    elif chart.intensity > chart.ridge:  # the slope begins at the left edge, and the run is far to the right
        yield element("text", told, class_="note label", x=x + 12, y=y + FONT)


def _run(plot: Plot, chart: Roofline) -> Iterator[Markup]:
    """The run, and the way up to what it could reach."""
    x, top = plot.at_x(chart.intensity), plot.at_y(chart.attainable_gflops)
    floor = plot.floor if chart.achieved_gflops is None else plot.at_y(chart.achieved_gflops)
    yield element("path", class_="best", d=f"M{coordinate(x)} {coordinate(floor)}V{coordinate(top)}")
    yield marker((x, top), 0, tooltip(f"attainable {number(chart.attainable_gflops)} GFLOP/s"), hollow=True)
    if chart.achieved_gflops is None:
        return
    yield marker((x, floor), 1, tooltip(chart.text))
    label = f"this run {number(chart.achieved_gflops)} GFLOP/s"
    size = (text_width(label, NARROW_FONT), NARROW_FONT)
    area = Box(left=plot.left, top=plot.top, right=_SIZE[0], bottom=plot.floor)
    (box,) = place([(x, floor)], [size], area)
    if box is not None:
        kind, start = ("end", box.right) if box.right < x else ("", box.left)
        yield element("text", label, class_=f"note label {kind}".rstrip(), x=start, y=box.bottom - 3)
