"""The builders of charts, against arithmetic done by hand and properties that always hold."""

from __future__ import annotations

import re
from itertools import pairwise
from statistics import quantiles

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from espdeploy.report.charts import histogram, scale, scatter, svg, thin, timeline
from espdeploy.report.charts.labels import Box, place

sane = st.floats(min_value=-1e9, max_value=1e9, allow_nan=False)


@pytest.mark.parametrize(
    ("values", "zero", "labels"),
    [
        ([0.0, 97.0], False, ["0", "20", "40", "60", "80", "100"]),
        ([23.6, 24.9], False, ["23.5", "24.0", "24.5", "25.0"]),
        ([0.0012, 0.0031], True, ["0.000", "0.001", "0.002", "0.003", "0.004"]),
        ([3100.0, 3140.0], False, ["3,100", "3,110", "3,120", "3,130", "3,140"]),
        ([5.0, 5.0], True, ["0", "1", "2", "3", "4", "5"]),
    ],
)
def test_ticks_are_round_numbers(values: list[float], zero: bool, labels: list[str]) -> None:
    assert [label for _, label in scale.fitted(values, zero=zero).ticks] == labels


@given(st.lists(sane, min_size=1, max_size=20))
def test_a_fitted_scale_holds_its_values_in_order(values: list[float]) -> None:
    made = scale.fitted(values)
    slack = 1e-6 * (made.high - made.low)
    assert made.low - slack <= min(values) <= max(values) <= made.high + slack
    shares = [made.share(value) for value in sorted(values)]
    assert shares == sorted(shares)
    assert 2 <= len(made.ticks) <= 12
    texts = [label for _, label in made.ticks]
    assert len(set(texts)) == len(texts)


@given(st.lists(st.floats(min_value=1e-9, max_value=1e12), min_size=1, max_size=20))
def test_equal_ratios_are_equally_far_apart_on_a_logarithmic_scale(values: list[float]) -> None:
    made = scale.logarithmic(values)
    assert made.low <= min(values) * (1 + 1e-6)
    assert made.high >= max(values) * (1 - 1e-6)
    middle = (made.low * made.high) ** 0.5
    assert made.share(middle) == pytest.approx(0.5)
    assert made.ticks


@given(st.lists(sane, min_size=2, max_size=50))
def test_quantiles_are_those_of_the_standard_library(values: list[float]) -> None:
    ordered = sorted(values)
    expected = quantiles(ordered, n=4, method="inclusive")
    assert [thin.quantile(ordered, share) for share in (0.25, 0.5, 0.75)] == pytest.approx(expected)


@given(st.lists(st.floats(min_value=0.001, max_value=1e6), min_size=1, max_size=300))
def test_a_histogram_counts_every_value_once(values: list[float]) -> None:
    drawn, above = thin.bars(sorted(values))
    assert sum(bar.count for bar in drawn) + above == len(values)
    assert above <= max(0.02 * len(values), 0) + 1
    assert len(drawn) <= 40


@given(st.lists(st.tuples(sane, st.one_of(st.none(), sane)), min_size=1, max_size=300), st.integers(1, 50))
def test_slices_lose_no_sample_and_no_spike(points: list[tuple[float, float | None]], count: int) -> None:
    ordered = thin.usable([t for t, _ in points], [value for _, value in points])
    parts = thin.slices(ordered, count)
    assert len(parts) <= count
    assert sum(part.samples for part in parts) == len(points)
    known = [value for _, value in points if value is not None]
    if known:
        assert max(part.high for part in parts if part.high is not None) == max(known)
        assert min(part.low for part in parts if part.low is not None) == min(known)


@given(st.lists(st.tuples(st.floats(0, 500), st.floats(0, 300)), min_size=1, max_size=40))
def test_labels_cover_neither_each_other_nor_a_point(points: list[tuple[float, float]]) -> None:
    area = Box(left=0, top=0, right=560, bottom=340)
    boxes = place(points, [(80.0, 14.0)] * len(points), area)
    placed = [box for box in boxes if box is not None]
    assert placed
    for index, box in enumerate(placed):
        assert box.within(area)
        assert not any(box.meets(other) for other in placed[index + 1 :])
        assert not any(box.left < x < box.right and box.top < y < box.bottom for x, y in points)


def test_attributes_and_texts_are_escaped() -> None:
    made = svg.element("text", "<b>", class_='"><script>', x=1.25)
    assert str(made) == '<text class="&#34;&gt;&lt;script&gt;" x="1.2">&lt;b&gt;</text>'
    assert isinstance(made, Markup)


def test_a_clipped_text_fits_and_says_so() -> None:
    clipped = svg.clip("a very long name of a network" * 5, 100, 12)
    assert clipped.endswith("…")
    assert svg.text_width(clipped, 12) <= 100
    assert svg.clip("short", 100, 12) == "short"


def test_the_height_of_a_bar_is_its_count() -> None:
    drawn = histogram.draw(
        histogram.Histogram(
            title="t",
            description="d",
            x_title="ms",
            y_title="trials",
            bars=(thin.Bar(low=0, high=1, count=10), thin.Bar(low=1, high=2, count=40)),
            above=0,
            marks=(),
        ),
        "a",
    )
    heights = [float(found) for found in re.findall(r'class="mark bar"[^>]*height="([\d.]+)"', drawn)]
    assert heights[1] == pytest.approx(4 * heights[0], abs=0.5)


def test_a_gap_breaks_the_line_and_a_spike_stands_at_the_edge() -> None:
    chart = timeline.Timeline(
        title="t",
        description="d",
        x_title="s",
        y_title="ms",
        unit="ms",
        points=((0.0, 1.0), (1.0, 1.2), (2.0, None), (3.0, 1.1), (4.0, 90.0)),
        joined=True,
        zero=True,
        edge=1.2,
    )
    drawn = timeline.draw(chart, "a")
    (line,) = re.findall(r'class="mark line" d="([^"]*)"', drawn)
    assert line.count("M") == 2
    assert re.findall(r'class="mark spike"[^>]*><title>([^<]*)', drawn) == ["4 s: 90 ms"]
    assert "100" not in re.findall(r'class="tick end"[^>]*>([^<]*)', drawn)


def test_each_series_has_its_own_colour_and_shape() -> None:
    dots = tuple(scatter.Dot(x=i, y=i, label=f"n{i}", text="t", kind=i) for i in range(6))
    chart = scatter.Scatter(title="t", description="d", x_title="x", y_title="y", dots=dots, series=tuple("abcdef"))
    drawn = scatter.draw(chart, "a")
    kinds = re.findall(r'class="mark marker (c\d \w+)"', drawn)
    assert len(set(kinds)) == 6
    assert len(kinds) == 12  # a mark per dot and one per row of the legend
    assert scatter.unlabelled(chart) == 0


def test_a_label_stands_on_no_line() -> None:
    line = [(0.0, 50.0), (100.0, 50.0), (200.0, 20.0)]
    area = Box(left=-50.0, top=0.0, right=250.0, bottom=100.0)
    boxes = place(line, [(40.0, 12.0)] * 3, area, [line])
    assert None not in boxes
    for (x0, y0), (x1, y1) in pairwise(line):
        for step in range(1001):
            x, y = x0 + (x1 - x0) * step / 1000, y0 + (y1 - y0) * step / 1000
            assert not any(box.left < x < box.right and box.top < y < box.bottom for box in boxes if box)
