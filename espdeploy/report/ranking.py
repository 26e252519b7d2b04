"""A ranking of layers as a picture alone (SVG) or as a page with its table (HTML); neither loads anything."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from espdeploy.report.charts import ranked
from espdeploy.report.charts.ranked import Ranked
from espdeploy.report.charts.svg import coordinate, element, join
from espdeploy.report.html import environment, printable
from espdeploy.report.parts import Table

_MARGIN, _TITLE, _LINE = 18.0, 22.0, 18.0
#: the page's colours and lines (style.css.j2), for a picture that stands alone on white
_STYLE = """
svg { font-family: system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; }
text { font-size: 12px; fill: #56606b; }
.note { fill: #16191d; }
.heading { font-size: 16px; font-weight: 600; fill: #16191d; }
.end { text-anchor: end; }
.middle { text-anchor: middle; }
.grid { stroke: #e9ecef; fill: none; }
.axis { stroke: #56606b; fill: none; }
.whisker { stroke: #16191d; fill: none; }
.length { fill: #5a9bd0; }
.length.hollow { fill: #ffffff; stroke: #5a9bd0; stroke-dasharray: 3 2; }
"""


@dataclass(frozen=True, kw_only=True)
class RankingPage:
    """A ranking with what it was measured by, in sentences, its numbers, and remarks."""

    chart: Ranked
    sentences: tuple[str, ...]
    table: Table
    notes: tuple[str, ...]
    generated: str
    espdeploy_version: str


def picture(page: RankingPage) -> str:
    """The chart with its title and sentences as a stand-alone SVG file."""
    lines = [page.chart.title, *page.sentences]
    head = _MARGIN + _TITLE + _LINE * len(lines)
    width, height = ranked.WIDTH + 2 * _MARGIN, head + ranked.height(page.chart) + _MARGIN
    texts = [
        element("text", line, class_="heading" if index == 0 else "line", x=_MARGIN, y=_MARGIN + _TITLE + _LINE * index)
        for index, line in enumerate(lines)
    ]
    chart = element("g", *ranked.parts(page.chart), transform=f"translate({coordinate(_MARGIN)} {coordinate(head)})")
    drawn = element(
        "svg",
        element("title", page.chart.title),
        element("desc", page.chart.description),
        element("style", Markup(_STYLE)),  # noqa: S704 - a constant of ours
        element("rect", width="100%", height="100%", fill="#ffffff"),
        *texts,
        chart,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {coordinate(width)} {coordinate(height)}",
        width=width,
        height=height,
        role="img",
    )
    return printable(str(join([drawn, "\n"])))


def render(page: RankingPage) -> str:
    """The chart with its table as one HTML page."""
    drawn = ranked.draw(page.chart, "ranking")
    return printable(environment().get_template("ranking.html.j2").render(page=page, drawn=drawn))
