"""The report in a real browser: it loads nothing, says no error, and every chart is really drawn."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from espdeploy.report import profiles
from espdeploy.report.html import render

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = pytest.mark.browser

_DARK, _LIGHT = "dark", "light"
_CHARTS = """
return [...document.querySelectorAll('svg[role=img]')].map(svg => {
  const box = svg.getBoundingClientRect();
  const marks = [...svg.querySelectorAll('.mark')].map(mark => {
    const drawn = mark.getBBox(), style = getComputedStyle(mark);
    const painted = style.fill !== 'none' || style.stroke !== 'none';
    return painted && drawn.width + drawn.height > 0;
  });
  const frame = svg.viewBox.baseVal;
  const escaped = [...svg.querySelectorAll('.mark')].filter(mark => {
    const b = mark.getBBox();
    return b.x < -1 || b.y < -1 || b.x + b.width > frame.width + 1 || b.y + b.height > frame.height + 1;
  }).length;
  return {id: svg.getAttribute('aria-labelledby'), width: box.width, height: box.height, right: box.right, marks,
          escaped};
});
"""
_OVERLAPS = """
return [...document.querySelectorAll('svg[role=img]')].map(svg => {
  const boxes = [...svg.querySelectorAll('text')].filter(t => t.textContent).map(t => t.getBoundingClientRect());
  let pairs = 0;
  boxes.forEach((a, i) => boxes.slice(i + 1).forEach(b => {
    const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (across > 2 && down > 4) pairs++;
  }));
  return [svg.getAttribute('aria-labelledby'), pairs];
}).filter(found => found[1] > 0);
"""


class Skipped:
    path = Path("results/<b>old</b>.json")
    reason = "cut short"


def look(chromium: Chrome, *, width: int, scheme: str) -> None:
    scheme_feature = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme_feature)
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def show(
    chromium: Chrome,
    page_file: Path,
    records: list[Any],
    *,
    width: int = 1400,
    scheme: str = _LIGHT,
    documents: Sequence[dict[str, Any]] = (),
) -> None:
    read = [profiles.decode(json.dumps(document).encode(), file="a.profile.json") for document in documents]
    page = render(records, [Skipped()], generated="2026-02-03T11:00:00+00:00", espdeploy_version="0.1.0", profiles=read)
    page_file.write_text(page, encoding="utf-8")
    look(chromium, width=width, scheme=scheme)
    for kind in ("performance", "browser"):
        chromium.get_log(kind)
    chromium.get(page_file.as_uri())


def requests(chromium: Chrome) -> list[str]:
    messages = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]


@pytest.mark.parametrize(("width", "scheme"), [(1400, _LIGHT), (1400, _DARK), (390, _LIGHT)])
def test_every_chart_is_drawn_and_the_page_fits(
    chromium: Chrome, page_file: Path, example_records: ModuleType, width: int, scheme: str
) -> None:
    show(chromium, page_file, example_records.suite(), width=width, scheme=scheme)
    charts = chromium.execute_script(_CHARTS)
    assert len(charts) > 40
    for chart in charts:
        assert chart["width"] > 200, chart["id"]
        assert chart["height"] > 80, chart["id"]
        assert chart["right"] <= width, chart["id"]
        assert chart["marks"], chart["id"]
        assert all(chart["marks"]), chart["id"]
        assert chart["escaped"] == 0, chart["id"]
    assert chromium.execute_script("return document.documentElement.scrollWidth") <= width
    assert chromium.execute_script(_OVERLAPS) == []


def test_sweeps_and_profiles_are_drawn_whole_wide_narrow_and_dark(
    chromium: Chrome, page_file: Path, example_records: ModuleType
) -> None:
    records = [*example_records.sweep(), example_records.on_gpu()]
    show(chromium, page_file, records, documents=[example_records.profile_document()])
    for width, scheme in ((1400, _LIGHT), (390, _DARK)):
        look(chromium, width=width, scheme=scheme)
        charts = {chart["id"].partition("-title")[0]: chart for chart in chromium.execute_script(_CHARTS)}
        kinds = ("kernels", "categories", "metrics", "roofline", "layers", "modules")
        swept = ("latency", "speed", "sensitivity", "power", "energy")
        for name in (*(f"p1-{kind}" for kind in kinds), *(f"sweep1-{kind}" for kind in swept)):
            assert charts[name]["marks"], name
            assert all(charts[name]["marks"]), name
        assert [name for name, chart in charts.items() if chart["escaped"] or chart["right"] > width] == []
        assert chromium.execute_script("return document.documentElement.scrollWidth") <= width
        assert chromium.execute_script(_OVERLAPS) == []
    assert chromium.get_log("browser") == []


def test_nothing_leaves_the_page_and_the_console_is_silent(
    chromium: Chrome, page_file: Path, example_records: ModuleType
) -> None:
    hostile = "<script>alert(1)</script>\"'><img src=http://127.0.0.1:9/x onerror=alert(2)>"
    record = example_records.make(
        model=example_records.model(hostile, 1), notes=[hostile], command=hostile, started=hostile
    )
    show(chromium, page_file, [*example_records.suite(), record])
    assert [url for url in requests(chromium) if not url.startswith("data:,")] == [page_file.as_uri()]
    assert chromium.get_log("browser") == []
    assert chromium.execute_script("return document.scripts.length + document.images.length") == 0
    assert hostile in chromium.execute_script("return document.querySelector('#summary').textContent")


def test_the_theme_follows_the_reader(chromium: Chrome, page_file: Path, example_records: ModuleType) -> None:
    grounds = {}
    for scheme in (_LIGHT, _DARK):
        show(chromium, page_file, [example_records.make()], scheme=scheme)
        colours = chromium.execute_script(
            "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color];"
        )
        grounds[scheme] = [sum(map(int, colour[4:-1].split(","))) for colour in colours]
    bright, dark = 600, 150
    assert grounds[_LIGHT][0] > bright
    assert grounds[_LIGHT][1] < dark
    assert grounds[_DARK][0] < dark
    assert grounds[_DARK][1] > bright


def test_names_as_long_as_they_come_do_not_widen_the_page(
    chromium: Chrome, page_file: Path, example_records: ModuleType
) -> None:
    names = ["x" * 3000, "very long name " * 100, "שם ארוך מאוד " * 60, "漢字" * 300]
    records = [
        example_records.make(
            id=name,
            model=example_records.model(name, 10**index, weights=name),
            device=example_records.device(name=name, cpu=name),
            notes=[name],
            command=name,
        )
        for index, name in enumerate(names)
    ]
    for width in (1400, 390):
        show(chromium, page_file, records, width=width)
        assert chromium.execute_script("return document.documentElement.scrollWidth") <= width
        assert all(chart["right"] <= width for chart in chromium.execute_script(_CHARTS))


def test_folded_records_hold_their_charts(chromium: Chrome, page_file: Path, example_records: ModuleType) -> None:
    records = [example_records.timed([20.0 + i, 21.0 + i, 20.5 + i] * 5, id=str(i)) for i in range(50)]
    show(chromium, page_file, records)
    chromium.execute_script("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    charts = chromium.execute_script(_CHARTS)
    assert len(charts) > 250
    assert all(chart["height"] > 80 and all(chart["marks"]) for chart in charts)


def test_it_prints_with_tables_and_charts_whole(chromium: Chrome, page_file: Path, example_records: ModuleType) -> None:
    show(chromium, page_file, example_records.suite(), scheme=_DARK)
    printed = chromium.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True, "printBackground": True})
    content = base64.b64decode(printed["data"])
    assert content.startswith(b"%PDF")
    assert len(content) > 100_000
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    kept = chromium.execute_script(
        "return [...document.querySelectorAll('table, figure')].map(e => getComputedStyle(e).breakInside);"
    )
    assert set(kept) == {"avoid"}
    assert chromium.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
