"""Sensitivity to GPU frequency against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from espdeploy.bench.sensitivity import Point, sensitivity


def test_time_that_follows_the_clock_gives_the_ratio_of_the_frequencies() -> None:
    found = sensitivity([Point(frequency_mhz=f, mean_ms=1000 / f) for f in (1134.0, 624.0, 828.0)])
    assert found is not None
    assert [(step.from_mhz, step.to_mhz) for step in found.pairs] == [(624.0, 828.0), (828.0, 1134.0)]
    assert found.pairs[0].value == pytest.approx(624 / 828)
    assert found.span.value == pytest.approx(624 / 1134)


def test_time_that_does_not_follow_gives_zero_and_a_part_gives_its_part() -> None:
    """t = fixed + cycles / f: the sensitivity is the clocked part's share at the lower frequency, times f1 / f2."""
    still = sensitivity([Point(frequency_mhz=f, mean_ms=7.0) for f in (500.0, 1000.0)])
    assert still is not None
    assert still.span.value == 0
    fixed_ms, cycles = 4.0, 6000.0
    half = sensitivity([Point(frequency_mhz=f, mean_ms=fixed_ms + cycles / f) for f in (500.0, 1000.0)])
    assert half is not None
    share = (cycles / 500) / (fixed_ms + cycles / 500)
    assert half.span.value == pytest.approx(share * 500 / 1000)


def test_a_slower_network_at_a_faster_clock_is_negative() -> None:
    found = sensitivity([Point(frequency_mhz=500, mean_ms=10), Point(frequency_mhz=1000, mean_ms=11)])
    assert found is not None
    assert found.span.value == pytest.approx(-0.1)


def test_one_frequency_has_no_sensitivity() -> None:
    assert sensitivity([]) is None
    assert sensitivity([Point(frequency_mhz=500, mean_ms=10)] * 2) is None


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    truth, hits, draws = (1 - 0.6) / (1000 / 500 - 1), 0, 400
    for _ in range(draws):
        points = []
        for frequency, mean_ms in ((500.0, 10.0), (1000.0, 6.0)):
            times = rng.normal(mean_ms, 0.5, size=50)
            half = 1.96 * times.std(ddof=1) / np.sqrt(50)
            points.append(
                Point(
                    frequency_mhz=frequency,
                    mean_ms=float(times.mean()),
                    ci95_ms=(float(times.mean() - half), float(times.mean() + half)),
                )
            )
        found = sensitivity(points)
        assert found is not None
        assert found.span.ci95 is not None
        hits += found.span.ci95[0] <= truth <= found.span.ci95[1]
    assert 0.91 <= hits / draws <= 0.985


def test_runs_at_one_frequency_that_disagree_widen_the_interval() -> None:
    apart = [
        Point(frequency_mhz=500, mean_ms=10, ci95_ms=(9.99, 10.01)),
        Point(frequency_mhz=1000, mean_ms=6, ci95_ms=(5.99, 6.01)),
        Point(frequency_mhz=500, mean_ms=11, ci95_ms=(10.99, 11.01)),
    ]
    found = sensitivity(apart)
    assert found is not None
    assert found.span.ci95 is not None
    assert found.span.value == pytest.approx(1 - 6 / 10.5)
    assert found.span.ci95[0] < 0.4
    assert found.span.ci95[1] > 0.45
