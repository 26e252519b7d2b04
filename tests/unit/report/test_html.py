"""The page as a whole: what stands on it, and that no record can break it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from espdeploy.errors import UsageError
from espdeploy.records import Series, Utilization
from espdeploy.report import profiles, view
from espdeploy.report.html import flags, render

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7*7 }}{% raw %}\x00\x1b\ud800\u202e שלום &amp; `"
DATA_ATTRIBUTES = {"id", "class", "href", "title", "role", "tabindex", "aria-label", "aria-labelledby", "aria-hidden"}

Drawn = Callable[..., Any]


@dataclass(frozen=True)
class Skipped:
    path: Path
    reason: str


def hostile(value: Any) -> Any:
    """The same record with every string, and every name in a mapping, replaced by the hostile one."""
    if isinstance(value, str):
        return HOSTILE
    if isinstance(value, Mapping):
        return {f"{HOSTILE}{key}": hostile(item) for key, item in value.items()}
    if isinstance(value, list):
        return [hostile(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        changed = {item.name: hostile(getattr(value, item.name)) for item in fields(value)}
        if "latency_ms" in getattr(value, "traces", {}):
            changed["traces"]["latency_ms"] = value.traces["latency_ms"]
        return replace(value, **changed)
    return value


def test_there_must_be_a_record() -> None:
    with pytest.raises(UsageError, match="no record"):
        render([], generated="2026-02-03T11:00:00+00:00", espdeploy_version="0")


def test_the_page_is_whole_and_asks_for_nothing(example_records: ModuleType, drawn: Drawn) -> None:
    text, page = drawn(example_records.suite())
    assert text.startswith("<!doctype html>")
    policy = page.all("meta", **{"http-equiv": "Content-Security-Policy"})[0].attributes["content"]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")
    assert "script-src" not in policy
    for tag in ("script", "img", "iframe", "object", "embed", "form", "base", "video", "audio"):
        assert page.all(tag) == []
    assert [link.attributes["href"] for link in page.all("link")] == ["data:,"]
    assert all(anchor.attributes["href"].startswith("#") for anchor in page.all("a"))
    assert "url(" not in text
    assert "@import" not in text


def test_every_link_leads_somewhere_and_ids_are_unique(example_records: ModuleType, drawn: Drawn) -> None:
    profile = profiles.decode(json.dumps(example_records.profile_document()).encode(), file="a.profile.json")
    _, page = drawn([*example_records.suite(), *example_records.sweep()], [], [profile, profile])
    ids = [element.attributes["id"] for element in walk(page) if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    assert {anchor.attributes["href"][1:] for anchor in page.all("a")} <= set(ids)


def test_each_chart_has_a_title_a_description_and_its_numbers(example_records: ModuleType, drawn: Drawn) -> None:
    _, page = drawn(example_records.suite())
    figures = page.all("figure")
    assert len(figures) > 40
    for figure in figures:
        (chart,) = figure.all("svg", role="img")
        named = chart.attributes["aria-labelledby"].split()
        texts = {child.attributes.get("id"): child.text for child in chart.children if child.tag in ("title", "desc")}
        assert all(texts[name] for name in named)
        assert figure.all("tbody")[0].all("tr")
        marks = [mark for mark in walk(chart) if "mark" in mark.attributes.get("class", "").split()]
        assert marks


def test_hostile_text_is_only_ever_text(example_records: ModuleType, drawn: Drawn) -> None:
    all_kinds = [*example_records.suite(), *example_records.sweep()[:3], example_records.on_gpu()]
    records = [hostile(record) for record in all_kinds]
    left_out = [Skipped(path=Path("x<script>y"), reason=HOSTILE)]
    text, page = drawn(records, left_out)
    assert page.all("script") == page.all("img") == []
    for element in walk(page):
        if element.tag not in ("svg", "meta", "link", "html"):
            drawing = {name for name in element.attributes if name not in DATA_ATTRIBUTES}
            geometry = {"d", "x", "y", "cx", "cy", "r", "width", "height", "scope", "lang", "vectoreffect"}
            assert drawing <= geometry, (element.tag, drawing)
    assert "alert(1)" in page.text
    assert "{{ 7*7 }}" in page.text
    assert not any(character in text for character in "\x00\x1b\ud800")
    text.encode()


def test_the_simulated_are_marked_on_the_row_in_the_banner_and_in_charts(
    example_records: ModuleType, drawn: Drawn
) -> None:
    board = example_records.device(simulated=True)
    _, page = drawn([example_records.make(device=board, id="a"), example_records.make(device=board, id="b", fps=9.0)])
    assert "SIMULATED" in page.all("p", class_="banner")[0].text
    rows = page.all("section", id="summary")[0].all("tbody")[0].all("tr")
    assert all("SIMULATED" in row.text for row in rows)
    for chart in page.all("section", id="versus")[0].all("svg"):
        assert "SIMULATED" in chart.text
    assert all("SIMULATED" in head.text for head in page.all("article"))
    assert "Fastest" not in page.all("header")[0].text


def test_without_simulated_records_there_is_no_banner(example_records: ModuleType, drawn: Drawn) -> None:
    _, page = drawn([example_records.make()])
    assert page.all("p", class_="banner") == []


def test_records_of_two_protocols_stand_in_two_tables_and_are_not_ranked(
    example_records: ModuleType, drawn: Drawn
) -> None:
    other = example_records.protocol(id="v1-other")
    _, page = drawn([example_records.make(), example_records.make(protocol=other, fps=999.0)])
    summary = page.all("section", id="summary")[0]
    assert [len(table.all("tbody")[0].all("tr")) for table in summary.all("table")] == [1, 1]
    assert "never compared" in summary.text
    assert "Fastest" not in page.text
    assert "No two records here are compared" in page.all("header")[0].text


def test_left_out_files_are_named_with_their_reason(example_records: ModuleType, drawn: Drawn) -> None:
    _, page = drawn([example_records.make()], [Skipped(path=Path("results/old.json"), reason="cut short")])
    section = page.all("section", id="left-out")[0]
    assert "results/old.json" in section.text
    assert "cut short" in section.text


def test_a_run_of_one_trial_with_nothing_known_is_drawn(example_records: ModuleType, drawn: Drawn) -> None:
    nothing = Utilization(cpu_pct=None, gpu_pct=None, memory_pct=None, memory_used_mb=None)
    record = replace(
        example_records.timed([24.0], interrupted=True, steady=False, utilization=nothing, overhead=None, command=None),
        traces={
            "latency_ms": Series(t_s=[0.0], values=[24.0]),
            "cpu_pct": Series(t_s=[], values=[]),
            "gpu_pct": Series(t_s=[0.0, 0.1], values=[None, None]),
        },
    )
    _, page = drawn([record])
    assert "No utilisation to draw" in page.text
    assert len(page.all("figure")) == 2
    assert "interrupted" in page.all("article")[0].text


def test_a_record_without_raw_times_says_so(example_records: ModuleType, drawn: Drawn) -> None:
    _, page = drawn([example_records.make(traces={})])
    assert page.all("figure") == []
    assert "no raw times" in page.text


def test_numbers_beyond_all_reason_do_not_break_a_chart(example_records: ModuleType, drawn: Drawn) -> None:
    odd = [5e-324, 1e308, -1e308, 0.0, -1.0, 1e-13, 3.0, 3.0, 1e14, float(2**53)]
    traces = {
        "latency_ms": Series(t_s=[0.0, 0.0, -5.0, 1e300, 2.0, 2.0, 3.0, 1.0, 4.0, 5.0], values=list(odd)),
        "cpu_pct": Series(t_s=[1.0, 2.0], values=[1.0]),
        "strange thing": Series(t_s=[0.0, 1.0], values=[1e-300, 2e-300]),
    }
    values = (1e300, 5e-324, 0.0, -3.0)
    records = [
        example_records.make(
            id=str(index), traces=traces, fps=value, model=example_records.model("m", 10**index, macs=None)
        )
        for index, value in enumerate(values)
    ]
    text, page = drawn(records)
    assert page.all("figure")
    for path in page.all("path"):
        assert not any(word in path.attributes.get("d", "") for word in ("nan", "inf", "e+", "e-"))
    assert "nan" not in text.split("</style>")[1].replace("tenant", "").lower().split()


def test_a_hundred_thousand_raw_times_stay_under_five_megabytes_with_every_spike(
    example_records: ModuleType, drawn: Drawn
) -> None:
    times = [3.0 + index % 7 / 100 for index in range(100_000)]
    times[61_234] = 77.7
    text, page = drawn([example_records.timed(times)])
    assert len(text.encode()) < 5_000_000
    course = page.all("svg", **{"aria-labelledby": "r1-course-title r1-course-desc"})[0]
    assert "77.7" in course.all("path", class_="spike")[0].text
    numbers = next(figure for figure in page.all("figure") if course in figure.all("svg")).all("details")[0]
    assert "77.7" in numbers.text
    assert "100,000" in numbers.text


def test_fifty_records_are_all_there_and_most_of_them_folded(example_records: ModuleType, drawn: Drawn) -> None:
    records = [example_records.timed([20.0 + index, 21.0 + index, 20.5 + index], id=str(index)) for index in range(50)]
    _, page = drawn(records)
    assert len(page.all("section", id="summary")[0].all("tbody")[0].all("tr")) == 50
    assert len(page.all("article")) + len(page.all("details", class_="record")) == 50
    assert len(page.all("details", class_="record")) > 30


def test_a_page_of_many_records_is_drawn_with_fewer_tooltips_and_all_its_charts(
    example_records: ModuleType, drawn: Drawn
) -> None:
    records = [example_records.timed(example_records.raw_times(60, 20.0, seed=i), id=str(i)) for i in range(41)]
    few, _ = drawn(records[:10])
    many, page = drawn(records)
    assert "have a tooltip for each slice of time" in many
    assert "have a tooltip for each slice of time" not in few
    whole, brief = page.all("article")[0], page.all("details", class_="record")[0]
    assert [len(record.all("svg", role="img")[1].all("circle")) for record in (whole, brief)] == [60, 0]
    assert len(brief.all("svg", role="img")) == len(whole.all("svg", role="img"))
    greatest = max(records[view.UNFOLDED].traces["latency_ms"].values)
    assert f"{greatest:.4g}" in brief.all("details", class_="numbers")[1].text


def test_the_report_needs_no_heavy_package() -> None:
    blocked = ("torch", "onnx", "onnxruntime", "openvino", "typer", "numpy", "pynvml")
    code = f"import sys; sys.modules.update(dict.fromkeys({blocked!r})); import espdeploy.report.html, espdeploy.store"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def walk(element: Any) -> Any:
    for child in element.children:
        yield child
        yield from walk(child)


def test_no_line_ends_inside_an_option_and_its_text_stays_text() -> None:
    told = flags("repeat with --trials 1000 & a well-known <b>")
    assert told == 'repeat with <span class="flag">--trials</span> 1000 &amp; a well-known &lt;b&gt;'
