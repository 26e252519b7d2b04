"""The page as HTML: one file, no script, no request to anywhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from espdeploy.errors import UsageError
from espdeploy.records import Record
from espdeploy.report import view
from espdeploy.report.charts import courses, curves, histogram, ranges, roofline, scatter, shares, steps, timeline
from espdeploy.report.charts.svg import element, join
from espdeploy.report.parts import Figure
from espdeploy.report.profiles import ProfileDocument

#: how each kind of chart is drawn
_DRAW: dict[type, Callable[[Any, str], Markup]] = {
    courses.Courses: courses.draw,
    curves.Curves: curves.draw,
    histogram.Histogram: histogram.draw,
    ranges.Ranges: ranges.draw,
    roofline.Roofline: roofline.draw,
    scatter.Scatter: scatter.draw,
    shares.Shares: shares.draw,
    steps.Steps: steps.draw,
    timeline.Timeline: timeline.draw,
}
_FLAG = re.compile(r"((?<!\S)--[\w-]+)")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
#: control characters have no place in HTML; tab and line feed do
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def render(
    records: Sequence[Record],
    left_out: Sequence[view.LeftOutFile] = (),
    *,
    generated: str,
    espdeploy_version: str,
    title: str = "Benchmark report",
    profiles: Sequence[ProfileDocument] = (),
) -> str:
    """One self-contained page that shows ``records`` and names the files that were left out.

    Args:
        records: at least one, in the order in which they are to be numbered.
        left_out: files that could not be read, with the reason.
        generated: when, as an ISO 8601 time.
        espdeploy_version: which espdeploy draws the page.
        title: the page's title.
        profiles: what profilers told of such runs, in the order in which they are to be numbered.

    Raises:
        UsageError: there is no record.
    """
    if not records:
        raise UsageError(
            "there is no record to report on", do="espdeploy bench --model espnet --results DIR writes one"
        )
    made = view.Made(title=title, generated=generated, espdeploy_version=espdeploy_version)
    page = view.build(records, left_out, made, profiles)
    text = environment().get_template("page.html.j2").render(page=page)
    return printable(text)


def draw(figure: Figure) -> Markup:
    """The chart of a figure as SVG."""
    return _DRAW[type(figure.chart)](figure.chart, figure.anchor)


def environment() -> Environment:
    """Where templates come from: values are escaped, and one that is missing is an error."""
    made = Environment(
        loader=PackageLoader("espdeploy.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["draw"] = draw
    made.filters["flags"] = flags
    return made


def flags(text: str) -> Markup:
    """``text``, escaped, in which no line ends inside an option such as ``--trials``."""
    parts = _FLAG.split(text)  # what lies between, then an option, and so on
    return join(element("span", part, class_="flag") if place % 2 else part for place, part in enumerate(parts))


def printable(text: str) -> str:
    """Without control characters and lone surrogates, which no HTML file can hold."""
    return _CONTROLS.sub(_REPLACEMENT, text).encode("utf-8", "replace").decode()
