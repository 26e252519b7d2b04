"""The summary holds what its definition promises, for any times."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from espdeploy.bench import statistics

times = st.lists(st.floats(0.001, 10_000.0), min_size=1, max_size=60)
many = st.lists(st.floats(0.001, 10_000.0), min_size=100, max_size=260)


@given(many)
def test_percentiles_are_numpys_and_rise(values: list[float]) -> None:
    done = statistics.summarise(values)
    assert done.p50 == np.percentile(values, 50)
    assert done.p90 == np.percentile(values, 90)
    known = [value for value in (done.min, done.p50, done.p90, done.p95, done.max) if value is not None]
    assert known == sorted(known)


@given(times)
def test_the_mean_and_its_interval_lie_among_the_values(values: list[float]) -> None:
    done = statistics.summarise(values)
    assert done.min <= done.mean <= done.max
    assert done.mean == pytest.approx(np.mean(values))
    assert (done.ci95 is None) == (len(values) < 5)
    if done.ci95 is not None:
        low, high = done.ci95
        slack = 1e-9 * done.max
        assert done.min - slack <= low <= high <= done.max + slack


@given(times, st.sampled_from([0.001, 0.5, 3.0, 1e6]))
def test_another_unit_scales_every_figure(values: list[float], factor: float) -> None:
    one, other = statistics.summarise(values), statistics.summarise([value * factor for value in values])
    tolerance = 1e-6 * one.max * factor  # equal values: rounding makes a spread where there is none
    for name in ("mean", "std", "min", "p50", "p90", "max"):
        expected = getattr(one, name)
        scaled = None if expected is None else pytest.approx(expected * factor, abs=tolerance)
        assert getattr(other, name) == scaled


@given(
    st.lists(st.integers(1, 4000).map(float), min_size=5, max_size=60),
    st.sampled_from([0.25, 2.0, 64.0]),
    st.sampled_from([1, 2, 4]),
)
def test_another_unit_scales_the_interval_exactly(values: list[float], factor: float, block: int) -> None:
    # powers of two are exact in floating point, so the same draws give the same interval to the last bit
    low, high = statistics.mean_interval(values, block_length=block)
    scaled = statistics.mean_interval([value * factor for value in values], block_length=block)
    assert scaled == (low * factor, high * factor)


@given(times)
def test_the_order_of_the_trials_moves_only_the_interval(values: list[float]) -> None:
    one, other = statistics.summarise(values), statistics.summarise(values[::-1])
    assert (one.min, one.p50, one.max) == (other.min, other.p50, other.max)
    assert one.mean == pytest.approx(other.mean)
