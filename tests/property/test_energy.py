"""Energy is additive, and a counter that starts over loses nothing."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espdeploy.bench import energy

MS = 1_000_000
gaps_ms = st.lists(st.integers(1, 400), min_size=1, max_size=40)
powers = st.one_of(st.none(), st.floats(0.0, 500.0))


@st.composite
def sampled(draw: st.DrawFn) -> tuple[list[int], list[float | None]]:
    """Uneven samples with gaps, at least one of them known."""
    gaps = draw(gaps_ms)
    values = draw(st.lists(powers, min_size=len(gaps), max_size=len(gaps)))
    times = [10**15 + gap * MS for gap in itertools.accumulate(gaps)]
    return times, [draw(st.floats(0.0, 500.0)), *values[1:]]


@given(sampled(), st.lists(st.integers(-500, 20_000), min_size=3, max_size=5, unique=True))
def test_the_energy_of_a_window_is_the_sum_of_its_parts(
    samples: tuple[list[int], list[float | None]], cuts_ms: list[int]
) -> None:
    times, values = samples
    cuts = sorted(10**15 + cut * MS for cut in cuts_ms)
    parts = [energy.integrate_j(times, values, start_ns=start, end_ns=end) for start, end in itertools.pairwise(cuts)]
    whole = energy.integrate_j(times, values, start_ns=cuts[0], end_ns=cuts[-1])
    assert sum(parts) == pytest.approx(whole, rel=1e-9, abs=1e-9)


@given(sampled(), st.integers(1, 5000), st.floats(0.1, 20.0))
def test_twice_the_power_is_twice_the_energy(
    samples: tuple[list[int], list[float | None]], length_ms: int, factor: float
) -> None:
    times, values = samples
    span = {"start_ns": times[0], "end_ns": times[0] + length_ms * MS}
    once = energy.integrate_j(times, values, **span)
    more = energy.integrate_j(times, [None if v is None else v * factor for v in values], **span)
    assert more == pytest.approx(once * factor)


@given(sampled(), st.integers(1, 5000))
def test_the_mean_power_lies_among_the_samples(samples: tuple[list[int], list[float | None]], length_ms: int) -> None:
    times, values = samples
    known = [value for value in values if value is not None]
    joules = energy.integrate_j(times, values, start_ns=times[0] - MS, end_ns=times[0] + length_ms * MS)
    mean_w = joules / ((length_ms + 1) / 1000)
    assert min(known) - 1e-6 <= mean_w <= max(known) + 1e-6


@given(st.lists(st.floats(0.0, 100.0), min_size=5, max_size=30), st.integers(1, 20))
def test_a_counter_is_additive_too(steps_j: list[float], cut_ms: int) -> None:
    times = [k * 10 * MS for k in range(len(steps_j))]
    counter = list(itertools.accumulate(steps_j))
    start, cut, end = 3 * MS, 3 * MS + cut_ms * MS, 35 * MS

    def growth(from_ns: int, to_ns: int) -> float:
        return energy.growth_j(times, counter, start_ns=from_ns, end_ns=to_ns)

    assert growth(start, cut) + growth(cut, end) == pytest.approx(growth(start, end), abs=1e-6)
