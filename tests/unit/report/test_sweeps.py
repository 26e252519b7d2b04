"""Sweeps over GPU frequencies: which records make one, and what is drawn of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from espdeploy.pipeline.report import with_sensitivity
from espdeploy.records import FrequencySensitivity, GpuFrequency, Record, SensitivityStep
from espdeploy.report import html, swept, view
from espdeploy.report.entries import grouped
from espdeploy.report.parts import Figure
from espdeploy.report.sweeps import Sweep, found_in

Drawn = Callable[..., Any]
MADE = view.Made(title="t", generated="2026-02-03T11:00:00+00:00", espdeploy_version="0")


def sweeps_of(records: list[Record]) -> tuple[Sweep, ...]:
    return found_in([entry for group in grouped(records) for entry in group.entries])


def figures_of(records: list[Record]) -> dict[str, Figure]:
    (part,) = swept.build([entry for group in grouped(records) for entry in group.entries]).parts
    return {figure.anchor.partition("-")[2]: figure for figure in part.figures}


def at_clock(record: Record, **clock: float | None) -> Record:
    return replace(record, device=replace(record.device, gpu_freq_mhz=GpuFrequency(**clock)))


def test_the_records_of_one_request_are_one_sweep_in_order_of_frequency(example_records: ModuleType) -> None:
    (sweep,) = sweeps_of([*example_records.suite(), *example_records.sweep(), example_records.on_gpu()])
    assert [stop.mhz for stop in sweep.stops] == [318.75, 522.75, 726.75, 930.75, 1300.5]
    assert [len(stop.entries) for stop in sweep.stops] == [1, 1, 1, 1, 2]
    assert sweep.title.startswith("SIMULATED ")


def test_records_of_several_requests_make_a_sweep_where_they_differ_in_the_clock_alone(
    example_records: ModuleType,
) -> None:
    records = [replace(record, sweep=None) for record in example_records.sweep()]
    assert len(sweeps_of(records)[0].stops) == 5
    other = replace(records[1], engine=replace(records[1].engine, sha256="0" * 64))
    assert sweeps_of([records[0], other]) == ()
    real = replace(records[1], device=replace(records[1].device, simulated=False))
    assert sweeps_of([records[0], real]) == ()
    assert sweeps_of([records[0], replace(records[1], interrupted=True)]) == ()


def test_a_clock_that_did_not_hold_stands_where_it_was_read_and_a_floating_one_is_hollow(
    example_records: ModuleType,
) -> None:
    first, second, third, *_ = example_records.sweep()
    moved = at_clock(second, requested=318.75, set=318.75, mean=400.0)
    floating = at_clock(third, mean=1111.0)
    (sweep,) = sweeps_of([first, moved, floating])
    assert [(stop.mhz, stop.floating) for stop in sweep.stops] == [(400.0, False), (1111.0, True), (1300.5, False)]
    points = figures_of([first, moved, floating])["latency"].chart.curves[0].points  # type: ignore[union-attr]
    assert [point.hollow for point in points] == [False, True, False]
    (part,) = swept.build([entry for group in grouped([first, moved, floating]) for entry in group.entries]).parts
    assert [row[1].text for row in part.table.rows] == ["318.75", "floating", "1,300.5"]


def test_figures_hold_the_records_own_numbers(example_records: ModuleType) -> None:
    records = example_records.sweep()
    figures = figures_of(records)
    assert list(figures) == ["latency", "speed", "sensitivity", "power", "energy"]
    by_mhz = {record.device.gpu_freq_mhz.set: record for record in records[:5]}
    slowest = by_mhz[318.75]
    curves = figures["latency"].chart.curves  # type: ignore[union-attr]
    assert [curve.name for curve in curves] == ["mean latency", "mean GPU time"]
    assert (curves[0].points[0].x, curves[0].points[0].y) == (318.75, slowest.latency_ms.mean)
    assert curves[0].points[0].interval == slowest.latency_ms.ci95
    energy = figures["energy"].chart.curves[0].points[0]  # type: ignore[union-attr]
    assert energy.x == slowest.fps
    assert energy.y == pytest.approx(slowest.power.mean_w / slowest.fps * 1000)
    # the line goes through the mean of a frequency that was measured twice
    assert curves[0].line[-1][1] == pytest.approx((records[0].latency_ms.mean + records[5].latency_ms.mean) / 2)


def test_the_knee_is_ringed_named_and_explained(example_records: ModuleType) -> None:
    figure = figures_of(example_records.sweep())["energy"]
    # worked out by hand from mJ per frame over FPS: 726.75 MHz lies farthest below the line from 318.75 to 1300.5
    assert figure.captions[0].startswith("Knee (ringed): 726.75 MHz. The knee is the point farthest below")
    drawn = html.draw(figure)
    assert drawn.count('class="ring"') == 1
    assert "726.75 MHz, knee" in drawn
    assert [row[-1].text for row in figure.numbers.rows] == ["", "", "knee", "", ""]


def test_two_frequencies_have_no_knee(example_records: ModuleType) -> None:
    figure = figures_of(example_records.sweep()[:2])["energy"]
    assert figure.captions == ("Two frequencies have no knee between them.",)
    assert "ring" not in html.draw(figure)


def test_each_step_is_drawn_over_its_own_frequencies_to_scale(example_records: ModuleType) -> None:
    steps = [
        SensitivityStep(from_mhz=low, to_mhz=low + 500, value=value, ci95=None)
        for low, value in ((500.0, 0.8), (1000.0, 0.4))
    ]
    shared = FrequencySensitivity(pairs=steps, span=replace(steps[0], to_mhz=1500.0, value=0.5))
    records = [replace(record, frequency_sensitivity=shared) for record in example_records.sweep()]
    figure = figures_of(records)["sensitivity"]
    drawn = str(html.draw(figure))
    lines = [
        tuple(map(float, found)) for found in re.findall(r'class="mark step" d="M([\d.]+) ([\d.]+)H([\d.]+)"', drawn)
    ]
    (left, high, middle), (after, low, right) = lines
    assert middle - left == pytest.approx(right - after, abs=0.2)
    floor = float(re.findall(r'class="axis" d="M[\d.]+ ([\d.]+)L', drawn)[-1])
    assert (floor - high) == pytest.approx(2 * (floor - low), abs=0.3)
    assert [row[3].text for row in figure.numbers.rows] == ["0.800", "0.400", "0.500"]
    assert [row[5].text for row in figure.numbers.rows] == ["0.500", "0.667", "0.333"]


def test_sensitivity_of_several_requests_is_worked_out_for_the_page(example_records: ModuleType) -> None:
    records = [replace(r, sweep=None, frequency_sensitivity=None) for r in example_records.sweep()[:5]]
    first, second = records[1], records[0]
    change = (1 - second.latency_ms.mean / first.latency_ms.mean) / (1300.5 / 318.75 - 1)
    for record in with_sensitivity(records):
        assert record.frequency_sensitivity is not None
        assert record.frequency_sensitivity.span.value == pytest.approx(change)
    untouched = example_records.suite()
    assert with_sensitivity(untouched) == untouched


def test_networks_stand_side_by_side(example_records: ModuleType, drawn: Drawn) -> None:
    first = example_records.sweep()
    second = [replace(r, id=f"x{r.id}", sweep="other", model=replace(r.model, name="enet"), power=None) for r in first]
    _, page = drawn([*first, *second])
    section = page.all("section", id="sweeps")[0]
    assert [link.text for link in section.all("table")[0].all("a")] == [
        "SIMULATED espnet · fp16 · trtexec 8.2.1 · tx2 · MAXN · 1024×512",
        "SIMULATED enet · fp16 · trtexec 8.2.1 · tx2 · MAXN · 1024×512",
    ]
    assert "No power and no energy: no power sensor could be read." in section.text
    for chart in section.all("svg"):
        assert chart.all("text", class_="stamp")[0].text == "SIMULATED"


def test_a_record_says_all_of_its_gpu(example_records: ModuleType) -> None:
    page = view.build([example_records.on_gpu(), *example_records.sweep(), example_records.make()], [], MADE)
    by_ref = {detail.entry.ref: {fact.name: fact.value for fact in detail.gpu} for detail in page.details}
    desktop, board = by_ref["R1"], by_ref["R2"]
    assert desktop["GPU clock"] == "floating, 2,475.3 MHz under load"
    assert desktop["Copies to and from the GPU"] == "0.160 ms to it, 0.0500 ms back"
    assert desktop["Cross-check"].startswith("passed: trtexec 2.110 ms, here 2.100 ms, 0.480 % apart")
    assert board["GPU clock"] == "requested 1,300, set 1,300.5 MHz, 1,299.9 MHz under load"
    assert board["Launch"].endswith("the processor does not limit")
    assert by_ref["R8"] == {}  # the processor's own
