"""Differences: the right size, noise told from change at the promised rate, and nothing claimed without data."""

from __future__ import annotations

import dataclasses
from types import ModuleType

import numpy as np
import pytest

from espdeploy.bench.comparison import METRICS, compare
from espdeploy.records import Record, Series

LATENCY = METRICS["latency"]


@pytest.fixture(scope="module")
def with_times(example_records: ModuleType):
    """A record that holds these raw times in ms."""
    from espdeploy.bench.statistics import summarise

    def make(times_ms: np.ndarray) -> Record:
        times = [float(value) for value in times_ms]
        record = example_records.make()
        traces = {**record.traces, "latency_ms": Series(t_s=[float(i) for i in range(len(times))], values=times)}
        return dataclasses.replace(record, traces=traces, latency_ms=summarise(times), trials=len(times))

    return make


def test_the_change_is_that_of_the_medians(with_times) -> None:
    base, new = with_times(np.array([10.0, 11.0, 12.0])), with_times(np.array([11.0, 12.1, 99.0]))
    change = compare(LATENCY, [base], [new])
    assert (change.base, change.new) == (11.0, 12.1)
    assert change.change_pct == pytest.approx(10.0)
    assert change.worse is True


def test_a_record_against_itself_did_not_change(with_times) -> None:
    record = with_times(np.random.default_rng(0).normal(100, 5, 200))
    change = compare(LATENCY, [record], [record])
    assert change.change_pct == 0
    assert change.worse is False
    assert change.significant is False


def test_a_difference_of_two_percent_is_found_in_quiet_times(with_times) -> None:
    random = np.random.default_rng(1)
    change = compare(LATENCY, [with_times(random.normal(100, 1, 200))], [with_times(random.normal(102, 1, 200))])
    assert change.significant is True
    low, high = change.ci95_pct
    assert low < 2.0 < high
    assert high - low < 1.5


def test_equal_distributions_are_called_different_about_once_in_twenty(with_times) -> None:
    random = np.random.default_rng(2)
    pairs = 60
    found = sum(
        compare(
            LATENCY, [with_times(random.normal(100, 8, 60))], [with_times(random.normal(100, 8, 60))], seed=i
        ).significant
        is True
        for i in range(pairs)
    )
    assert found / pairs < 0.14  # 0.05 expected; 0.14 is over three standard deviations away


def test_several_runs_show_the_noise_between_them(with_times) -> None:
    """Each run is quiet in itself and the runs differ by 10 %: a single pair would call that a change."""
    random = np.random.default_rng(3)

    def runs(levels):
        return [with_times(random.normal(level, 0.1, 100)) for level in levels]

    base, new = runs([100, 110, 104, 96]), runs([103, 97, 111, 101])
    assert compare(LATENCY, base[:1], new[1:2]).significant is True
    assert compare(LATENCY, base, new).significant is False


def test_what_one_side_does_not_know_is_not_compared(with_times) -> None:
    record = with_times(np.arange(1.0, 21.0))
    unpowered = dataclasses.replace(record, power=None)
    change = compare(METRICS["power"], [record], [unpowered])
    assert change.change_pct is None
    assert change.significant is None
    assert change.new is None


def test_more_frames_are_better_and_more_energy_is_worse(with_times) -> None:
    record = with_times(np.arange(1.0, 21.0))
    faster = dataclasses.replace(record, fps=record.fps * 2)
    assert compare(METRICS["fps"], [record], [faster]).worse is False
    assert compare(METRICS["fps"], [faster], [record]).worse is True
    assert compare(METRICS["fps"], [record], [faster]).significant is None  # one run each: the noise is not known
