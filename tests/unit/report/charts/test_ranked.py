"""The ranking's chart, against positions worked out by hand."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espdeploy.report.charts import ranked
from espdeploy.report.charts.ranked import Ranked, Row

values = st.floats(-1e9, 1e9, allow_nan=False)


def chart(*rows: Row) -> Ranked:
    return Ranked(title="t", description="d", x_title="points", aside="error", rows=rows)


def row(value: float, label: str = "layer", **options: object) -> Row:
    return Row(label=label, value=value, text=f"{value:.2f}", **options)  # type: ignore[arg-type]  # of several types


def bars(drawn: str) -> list[tuple[float, float]]:
    found = re.findall(r'class="mark length[^"]*" x="([-\d.]+)" y="[-\d.]+" width="([\d.]+)"', drawn)
    return [(float(x), float(width)) for x, width in found]


def test_bars_start_at_zero_and_losses_and_gains_go_opposite_ways() -> None:
    (loss, gain) = bars(ranked.draw(chart(row(2.0), row(-1.0)), "a"))
    assert loss[0] == pytest.approx(gain[0] + gain[1], abs=0.1)
    assert loss[1] == pytest.approx(2 * gain[1], abs=0.2)


def test_the_interval_is_drawn_to_scale() -> None:
    drawn = ranked.draw(chart(row(1.0, interval=(0.5, 2.0))), "a")
    ((zero, width),) = bars(drawn)
    low, high = re.findall(r'class="mark whisker" d="M([\d.]+) [\d.]+H([\d.]+)', drawn)[0]
    assert (float(low) - zero, float(high) - zero) == (
        pytest.approx(0.5 * width, abs=0.2),
        pytest.approx(2 * width, abs=0.2),
    )


@given(st.lists(st.tuples(values, values, values), max_size=30))
def test_every_row_is_drawn_inside_the_picture(given_rows: list[tuple[float, float, float]]) -> None:
    made = chart(*(row(value, interval=(min(low, high), max(low, high))) for value, low, high in given_rows))
    drawn = str(ranked.draw(made, "a"))
    assert len(bars(drawn)) == len(given_rows)
    assert all(x >= 0 and x + width <= ranked.WIDTH + 1 for x, width in bars(drawn))
    assert "nan" not in drawn


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e300])
def test_a_value_beyond_drawing_fills_its_row(value: float) -> None:
    drawn = ranked.draw(chart(row(value), row(1.0)), "a")
    endless, one = bars(drawn)
    assert endless[1] >= one[1] - 0.1


def test_names_are_only_ever_text() -> None:
    drawn = ranked.draw(chart(row(1.0, "</text><script>")), "a")
    assert "<script" not in drawn
    assert "&lt;script&gt;" in drawn
