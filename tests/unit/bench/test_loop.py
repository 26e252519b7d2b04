from __future__ import annotations

import gc
import itertools
from collections.abc import Iterator

import pytest

from espdeploy.bench.loop import measure, timer_overhead_us
from espdeploy.errors import UsageError
from espdeploy.specs import BenchSpec

COLD = {"warmup_min_s": 0.0, "warmup_max_s": 0.0}


@pytest.fixture(autouse=True)
def _collector_as_before() -> Iterator[None]:
    yield
    gc.enable()


def test_each_duration_is_its_steps_own(clock) -> None:
    durations_ms = [10.0, 12.0, 11.0, 30.0]
    done = measure(clock.step_of(durations_ms), spec=BenchSpec(trials=4, **COLD), clock=clock)
    assert done.times_ms == durations_ms
    assert done.trials == 4
    assert not done.interrupted
    assert done.window_s == pytest.approx(0.063)
    assert done.fps(batch=2) == pytest.approx(8 / 0.063)


def test_progress_is_outside_the_trials_and_inside_the_wall_time(clock) -> None:
    told = []

    def slow_progress(done: int, total: int | None, text: str) -> None:
        told.append((done, total, text))
        clock.at_ns += 40_000_000

    done = measure(
        clock.step_of(itertools.repeat(100.0)), spec=BenchSpec(trials=20, **COLD), clock=clock, progress=slow_progress
    )
    assert set(done.times_ms) == {100.0}
    assert [count for count, _, _ in told] == [5, 10, 15, 20]  # every half second, not every trial
    assert done.window_s == pytest.approx(2.0 + 3 * 0.04)  # the report after the last trial is outside
    assert done.fps(batch=1) == pytest.approx(20 / 2.12)


def test_warm_up_runs_are_not_trials(clock) -> None:
    done = measure(clock.step_of(itertools.repeat(10.0)), spec=BenchSpec(trials=7), clock=clock)
    assert (done.trials, done.warmup.trials, done.warmup.steady) == (7, 100, True)
    assert done.window_start_ns == 5_000_000_000 + 1_000_000_000


def test_the_trace_starts_at_zero_with_the_first_trial(clock) -> None:
    done = measure(clock.step_of([5.0, 7.0]), spec=BenchSpec(trials=2, **COLD), clock=clock)
    assert done.trace().t_s == pytest.approx([0.0, 0.005])
    assert done.trace().values == [5.0, 7.0]


def test_a_window_that_must_be_longer_gets_more_trials(clock) -> None:
    done = measure(
        clock.step_of(itertools.repeat(10.0)), spec=BenchSpec(trials=7, **COLD), clock=clock, min_window_s=0.5
    )
    assert done.trials == 50
    assert set(done.times_ms) == {10.0}


@pytest.mark.parametrize("was_on", [True, False])
def test_the_collector_is_off_inside_and_as_it_was_afterwards(clock, was_on: bool) -> None:
    seen = []

    def step() -> None:
        clock.at_ns += 100_000_000
        seen.append(gc.isenabled())

    (gc.enable if was_on else gc.disable)()
    measure(step, spec=BenchSpec(trials=3), clock=clock)
    assert set(seen) == {False}
    assert gc.isenabled() is was_on


def test_an_error_in_a_step_comes_through_and_the_collector_is_back(clock) -> None:
    def broken() -> None:
        clock.at_ns += 1
        raise ZeroDivisionError

    gc.enable()
    with pytest.raises(ZeroDivisionError):
        measure(broken, spec=BenchSpec(trials=3, **COLD), clock=clock)
    assert gc.isenabled()


def interrupting(clock, *, at_call: int):
    calls = itertools.count(1)

    def step() -> None:
        clock.at_ns += 10_000_000
        if next(calls) == at_call:
            raise KeyboardInterrupt

    return step


def test_an_interrupt_keeps_the_complete_trials(clock) -> None:
    done = measure(interrupting(clock, at_call=6), spec=BenchSpec(trials=100, **COLD), clock=clock)
    assert done.interrupted
    assert done.times_ms == [10.0] * 5
    assert done.window_end_ns - done.window_start_ns == 50_000_000
    assert gc.isenabled()


@pytest.mark.parametrize(("limits", "at_call"), [({}, 3), ({}, 101), (COLD, 1)])
def test_an_interrupt_before_a_trial_is_complete_goes_on(clock, limits: dict[str, float], at_call: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        measure(interrupting(clock, at_call=at_call), spec=BenchSpec(trials=100, **limits), clock=clock)


def test_the_measurers_own_cost_is_one_reading_of_the_clock(clock) -> None:
    clock.reading_ns = 3_000
    assert timer_overhead_us(clock) == 3.0


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        (BenchSpec(trials=0), "0 trials"),
        (BenchSpec(warmup_min_s=30.0), "30 s"),
        (BenchSpec(warmup_min_s=-1.0), "-1 s"),
    ],
)
def test_what_cannot_be_measured_is_refused(clock, spec: BenchSpec, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        measure(clock.step_of([]), spec=spec, clock=clock)
