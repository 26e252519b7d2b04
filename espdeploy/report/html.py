"""The page as HTML: one file, no script, no request to anywhere."""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from espdeploy.errors import UsageError
from espdeploy.records import Record
from espdeploy.report import view
from espdeploy.report.charts import histogram, ranges, scatter, timeline
from espdeploy.report.charts.histogram import Histogram
from espdeploy.report.charts.ranges import Ranges
from espdeploy.report.charts.scatter import Scatter
from espdeploy.report.parts import Figure

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
#: control characters have no place in HTML; tab and line feed do
_CONTROLS = {code: _REPLACEMENT for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"}


def render(
    records: Sequence[Record],
    left_out: Sequence[view.LeftOutFile] = (),
    *,
    generated: str,
    espdeploy_version: str,
    title: str = "Benchmark report",
) -> str:
    """One self-contained page that shows ``records`` and names the files that were left out.

    Args:
        records: at least one, in the order in which they are to be numbered.
        left_out: files that could not be read, with the reason.
        generated: when, as an ISO 8601 time.
        espdeploy_version: which espdeploy draws the page.
        title: the page's title.

    Raises:
        UsageError: there is no record.
    """
    if not records:
        raise UsageError(
            "there is no record to report on", do="espdeploy bench --model espnet --results DIR writes one"
        )
    made = view.Made(title=title, generated=generated, espdeploy_version=espdeploy_version)
    page = view.build(records, left_out, made)
    text = environment().get_template("page.html.j2").render(page=page)
    return printable(text)


def draw(figure: Figure) -> Markup:
    """The chart of a figure as SVG."""
    chart = figure.chart
    if isinstance(chart, Histogram):
        return histogram.draw(chart, figure.anchor)
    if isinstance(chart, Ranges):
        return ranges.draw(chart, figure.anchor)
    if isinstance(chart, Scatter):
        return scatter.draw(chart, figure.anchor)
    return timeline.draw(chart, figure.anchor)


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
    return made


def printable(text: str) -> str:
    """Without control characters and lone surrogates, which no HTML file can hold."""
    return text.translate(_CONTROLS).encode("utf-8", "replace").decode()
