from __future__ import annotations

import itertools

import pytest

from espdeploy.bench.warmup import is_steady, warm_up
from espdeploy.protocols import no_progress
from espdeploy.specs import BenchSpec


def run(clock, durations_ms, **limits):
    spec = BenchSpec(**{"warmup_min_s": 1.0, "warmup_max_s": 20.0, **limits})
    return warm_up(clock.step_of(durations_ms), spec=spec, clock=clock, progress=no_progress)


def test_steady_from_the_start_takes_the_minimum(clock) -> None:
    done = run(clock, itertools.repeat(10.0))
    assert done.steady
    # windows of 0.25 s: the first one that ends at or after 1 s ends exactly there
    assert (done.trials, done.seconds) == (100, pytest.approx(1.0))
    assert done.window_medians_ms == pytest.approx((10.0,) * 4)


def test_waits_for_times_that_fall(clock) -> None:
    falling = [100.0 * 0.8**k for k in range(14)]  # down to 5.5 ms, by 20 % a run
    done = run(clock, itertools.chain(falling, itertools.repeat(4.0)), warmup_min_s=0.0)
    assert done.steady
    assert done.window_medians_ms[-3:] == pytest.approx((4.0,) * 3)
    assert done.window_medians_ms[0] > 4.2


def test_times_that_never_settle_end_at_the_maximum(clock) -> None:
    growing = (10.0 * 1.002**k for k in itertools.count())
    done = run(clock, growing, warmup_max_s=5.0)
    assert not done.steady
    assert done.seconds == pytest.approx(5.0, abs=0.1)


def test_slow_steps_fill_windows_of_three_runs(clock) -> None:
    done = run(clock, itertools.repeat(1000.0))
    assert (done.trials, done.steady) == (9, True)


def test_too_short_to_judge_is_not_steady(clock) -> None:
    done = run(clock, itertools.repeat(3000.0), warmup_max_s=20.0)
    assert not done.steady
    assert len(done.window_medians_ms) == 2


def test_equal_limits_still_judge(clock) -> None:
    assert run(clock, itertools.repeat(10.0), warmup_min_s=2.0, warmup_max_s=2.0).steady


def test_no_warm_up_runs_nothing(clock) -> None:
    done = run(clock, [], warmup_min_s=0.0, warmup_max_s=0.0)
    assert (done.trials, done.seconds, done.steady) == (0, 0.0, False)


def test_an_outlier_in_a_window_does_not_unsettle(clock) -> None:
    times = itertools.cycle([10.0] * 9 + [80.0])
    assert run(clock, times).steady


@pytest.mark.parametrize(
    ("medians", "steady"),
    [
        ([10.0, 10.4, 10.5], True),
        ([10.0, 10.4, 10.51], False),
        ([10.5, 10.0, 10.2], True),
        ([99.0, 10.0, 10.2, 10.1], True),
        ([10.0, 10.0], False),
        ([], False),
    ],
)
def test_the_band_is_five_percent_of_the_smallest(medians: list[float], steady: bool) -> None:
    assert is_steady(medians) is steady
