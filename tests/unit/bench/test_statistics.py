from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest

from espdeploy.bench import statistics
from espdeploy.errors import InternalError


def normal(n: int, seed: int = 0) -> list[float]:
    return list(np.random.default_rng(seed).normal(100.0, 10.0, n))


def walk(n: int, seed: int, *, correlation: float = 0.6) -> list[float]:
    """An autoregressive series around 100: the standard deviation of its mean is known in closed form."""
    generator = np.random.default_rng(seed)
    value, values = 0.0, []
    for _ in range(n):
        value = correlation * value + generator.normal()
        values.append(100 + value)
    return values


@pytest.mark.parametrize(("percent", "least"), [(90, 100), (95, 200), (99, 1000)])
def test_a_percentile_needs_ten_trials_beyond_it(percent: int, least: int) -> None:
    name = f"p{percent}"
    assert getattr(statistics.summarise(normal(least - 1)), name) is None
    times = normal(least)
    assert getattr(statistics.summarise(times), name) == np.percentile(times, percent)


def test_the_summary_by_hand() -> None:
    done = statistics.summarise([1.0, 2.0, 3.0, 10.0])
    assert (done.mean, done.min, done.p50, done.max) == (4.0, 1.0, 2.5, 10.0)
    assert done.std == pytest.approx(math.sqrt((9 + 4 + 1 + 36) / 3))
    assert done.ci95 is None  # below five


def test_one_trial_has_no_spread() -> None:
    done = statistics.summarise([7.5])
    assert (done.mean, done.std, done.p50, done.ci95) == (7.5, None, 7.5, None)


def test_equal_times_have_an_interval_without_width() -> None:
    done = statistics.summarise([0.1] * 30)
    assert (done.mean, done.std, done.ci95) == (0.1, 0.0, (0.1, 0.1))


def test_coverage_of_independent_times_is_about_95_percent() -> None:
    hits = [
        low <= 100.0 <= high
        for seed in range(600)
        for low, high in [statistics.mean_interval(normal(60, seed), block_length=1)]
    ]
    assert 0.92 <= np.mean(hits) <= 0.975  # 95 % less about 1 % for n = 60; three standard errors around that


def test_blocks_repair_the_coverage_of_correlated_times() -> None:
    def coverage(block_length: int | None) -> float:
        intervals = [statistics.mean_interval(walk(400, seed), block_length=block_length) for seed in range(200)]
        return float(np.mean([low <= 100 <= high for low, high in intervals]))

    # drawing single values promises twice the certainty that there is: 1/sqrt((1+0.6)/(1-0.6)) = half the width
    assert coverage(1) < 0.75
    assert coverage(None) > 0.85


def test_the_width_is_the_textbooks_for_many_independent_times() -> None:
    times = normal(5000)
    low, high = statistics.mean_interval(times, block_length=1)
    half = 1.96 * np.std(times, ddof=1) / math.sqrt(5000)
    assert (high - low) / 2 == pytest.approx(half, rel=0.06)
    assert (high + low) / 2 == pytest.approx(np.mean(times), abs=half / 10)


def test_blocks_are_used_only_where_neighbours_resemble_each_other() -> None:
    assert statistics.block_length_for(walk(1000, 1)) == 10
    assert statistics.block_length_for(normal(1000, 1)) == 1
    assert statistics.neighbour_correlation(walk(20_000, 2)) == pytest.approx(0.6, abs=0.03)
    assert statistics.neighbour_correlation([5.0] * 10) == 0.0


def test_the_same_seed_gives_the_same_interval() -> None:
    times = normal(50)
    assert statistics.mean_interval(times, seed=1) == statistics.mean_interval(times, seed=1)
    assert statistics.mean_interval(times, seed=1) != statistics.mean_interval(times, seed=2)


def test_a_rest_of_a_block_is_drawn_too() -> None:
    # 7 values in blocks of 3: every resample has exactly 7 values, so means are whole sevenths
    means = statistics._resampled_means(np.arange(7.0), length=3, seed=0)
    assert np.allclose(means * 7, np.round(means * 7))
    assert means.mean() == pytest.approx((9 + 9 + 3) / 7, abs=0.1)  # two mean blocks and a mean single value
    assert means.min() >= (0 + 1 + 2) * 2 / 7 - 1e-9
    assert means.max() <= (4 + 5 + 6) * 2 / 7 + 6 / 7 + 1e-9


def test_memory_stays_small_for_many_trials() -> None:
    times = np.random.default_rng(0).normal(size=100_000)
    tracemalloc.start()
    statistics.mean_interval(times, block_length=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6  # all indices at once would be 800 MB


def test_drift_by_hand() -> None:
    assert statistics.drift_pct([10.0] * 10 + [99.0] * 10 + [12.0] * 10) == pytest.approx(20.0)
    assert statistics.drift_pct([10.0] * 14) is None


def test_variation_by_hand() -> None:
    assert statistics.variation_pct([9.0, 10.0, 11.0]) == pytest.approx(10.0)
    assert statistics.variation_pct([9.0]) is None


def test_the_outlier_limit_does_not_follow_the_outliers() -> None:
    quiet = [10.0, 10.1, 9.9, 10.05, 9.95] * 10
    limit = statistics.outlier_limit_ms(quiet, deviations=5, least_pct=25)
    assert limit == pytest.approx(12.5)
    assert statistics.outlier_limit_ms([*quiet, 1000.0, 1000.0], deviations=5, least_pct=25) == pytest.approx(12.5)
    # normal times with a deviation of 10 around 100: five of them over the median
    assert statistics.outlier_limit_ms(normal(4000), deviations=5, least_pct=0) == pytest.approx(150, rel=0.03)


@pytest.mark.parametrize("times", [[], [1.0, math.nan], [math.inf]])
def test_what_is_no_time_is_refused(times: list[float]) -> None:
    with pytest.raises(InternalError):
        statistics.summarise(times)
