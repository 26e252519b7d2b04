from __future__ import annotations

import math

import pytest

from espdeploy.bench import energy
from espdeploy.errors import InternalError

S = 1_000_000_000
ZERO = 40_000 * S  # a monotonic clock starts anywhere


def readings(power, *, seconds: float = 10.0, period_s: float = 0.1) -> energy.PowerReadings:
    """Samples of ``power(t_s)`` from 2 s before ZERO to ``seconds`` after it."""
    times = [ZERO + round(k * period_s * S) for k in range(round(-2 / period_s), round(seconds / period_s) + 1)]
    return energy.PowerReadings(
        source="test",
        rails=("VDD_IN",),
        t_ns=times,
        power_w=[power((t - ZERO) / S) for t in times],
        period_s=period_s,
    )


def window(start_s: float, end_s: float, **more) -> energy.Window:
    return energy.Window(
        **{"start_ns": ZERO + round(start_s * S), "end_ns": ZERO + round(end_s * S), "trials": 100, **more}
    )


def codes(result: energy.EnergyResult) -> list[str]:
    return [finding.code for finding in result.findings]


def test_constant_power() -> None:
    done = energy.from_power(readings(lambda _: 7.5), window=window(1.03, 5.03))
    assert done.power is not None
    assert done.power.mean_w == pytest.approx(7.5)
    assert done.power.energy_per_inference_j == pytest.approx(7.5 * 4 / 100)
    assert (done.power.max_w, done.power.samples, done.power.period_ms) == (7.5, 40, pytest.approx(100))
    assert done.power.ci95_w == pytest.approx((7.5, 7.5))
    assert done.power.net_energy_per_inference_j is None


def test_a_ramp_is_integrated_exactly_between_samples_too() -> None:
    # W = 3 + 2 t, so J = 3 (b - a) + (b² - a²); neither edge falls on a sample
    a, b = 0.137, 4.511
    done = energy.from_power(readings(lambda t: 3 + 2 * t), window=window(a, b))
    assert done.power.energy_per_inference_j * 100 == pytest.approx(3 * (b - a) + b * b - a * a, rel=1e-9)


def test_only_the_window_counts() -> None:
    # 50 W outside, 5 W inside a window that begins and ends half a period beside a step
    done = energy.from_power(readings(lambda t: 5.0 if 0.95 < t < 3.05 else 50.0), window=window(1.0, 3.0))
    assert done.power.mean_w == pytest.approx(5.0)
    assert done.power.max_w == 5.0


def test_a_batch_shares_its_energy() -> None:
    one = energy.from_power(readings(lambda _: 8.0), window=window(0, 5)).power
    eight = energy.from_power(readings(lambda _: 8.0), window=window(0, 5, batch=8)).power
    assert eight.energy_per_inference_j == pytest.approx(one.energy_per_inference_j / 8)


@pytest.mark.parametrize(
    ("before", "after", "net_j"),
    [(2.0, 4.0, 5.0 * 4 / 100), (2.0, None, 6.0 * 4 / 100), (None, 4.0, 4.0 * 4 / 100), (None, None, None)],
)
def test_net_energy_takes_the_idle_power_off(before, after, net_j) -> None:
    done = energy.from_power(readings(lambda _: 8.0), window=window(0, 4, idle_before_w=before, idle_after_w=after))
    assert done.power.net_energy_per_inference_j == (None if net_j is None else pytest.approx(net_j))
    assert ("idle_power_moved" in codes(done)) is (before is not None and after is not None)


def test_power_that_is_not_above_idle_has_no_net_energy() -> None:
    done = energy.from_power(readings(lambda _: 3.0), window=window(0, 4, idle_before_w=3.1, idle_after_w=3.1))
    assert done.power.net_energy_per_inference_j is None
    assert "no_net_energy" in codes(done)


def test_too_few_samples_give_a_finding_and_no_figure() -> None:
    done = energy.from_power(readings(lambda _: 7.5), window=window(1.05, 1.45, trials=20))
    assert done.power is None
    assert codes(done) == ["too_few_power_samples"]
    assert "4 power samples" in done.findings[0].text
    assert done.findings[0].do.endswith("--trials 60")  # 1.2 s instead of 0.4 s: about ten samples


def test_five_samples_are_enough() -> None:
    done = energy.from_power(readings(lambda t: 7 + math.sin(9 * t)), window=window(1.05, 1.55))
    assert done.power is not None
    assert done.power.samples == 5


def test_a_dead_sensor_is_not_mended_by_more_trials() -> None:
    done = energy.from_power(readings(lambda _: None), window=window(0, 5))
    assert done.power is None
    assert "doctor" in done.findings[0].do


def test_a_sensor_that_moves_once_a_second_is_told_of() -> None:
    slow = readings(lambda t: 5.0 + math.floor(t))
    assert "slow_power_sensor" in codes(energy.from_power(slow, window=window(0.5, 2.5)))
    live = readings(lambda t: 5.0 + math.sin(t))
    assert codes(energy.from_power(live, window=window(0.5, 2.5))) == []


def test_a_hole_in_the_readings_is_told_of() -> None:
    holed = readings(lambda t: None if 2 < t < 3 else 5.0 + math.sin(t))
    assert "power_gap" in codes(energy.from_power(holed, window=window(0.5, 4.5)))


def test_an_uncovered_end_is_told_of() -> None:
    done = energy.from_power(readings(lambda t: 5.0 + math.sin(t), seconds=3.0), window=window(0.5, 6.0))
    assert "power_gap" in codes(done)


def counter(joules, *, period_s: float = 0.1, seconds: float = 10.0) -> energy.EnergyReadings:
    times = [ZERO + round(k * period_s * S) for k in range(round(seconds / period_s) + 1)]
    return energy.EnergyReadings(
        source="rapl",
        rails=("package-0",),
        t_ns=times,
        energy_j=[joules((t - ZERO) / S) for t in times],
        period_s=period_s,
    )


def test_a_counter_is_interpolated_at_the_edges() -> None:
    done = energy.from_counter(counter(lambda t: 100 + 12.5 * t), window=window(1.03, 5.47))
    assert done.power.mean_w == pytest.approx(12.5)
    assert done.power.max_w == pytest.approx(12.5)
    assert done.power.energy_per_inference_j == pytest.approx(12.5 * 4.44 / 100)
    assert done.power.samples == 44


def test_a_counter_that_stops_before_the_window_does_goes_on_at_its_rate() -> None:
    grown = energy.growth_j([0, S], [0.0, 3.0], start_ns=S // 2, end_ns=2 * S)
    assert grown == pytest.approx(4.5)


def test_a_counter_with_too_few_readings_gives_no_figure() -> None:
    done = energy.from_counter(counter(lambda t: t), window=window(1.0, 1.3))
    assert (done.power, codes(done)) == (None, ["too_few_power_samples"])


@pytest.mark.parametrize("bad", [{"start_s": 5, "end_s": 5}, {"start_s": 0, "end_s": 5, "trials": 0}])
def test_an_empty_window_is_refused(bad) -> None:
    with pytest.raises(InternalError):
        energy.from_power(readings(lambda _: 5.0), window=window(**bad))


def test_nothing_read_is_nothing_known() -> None:
    assert energy.integrate_j([], [], start_ns=0, end_ns=S) is None
    assert energy.growth_j([0], [1.0], start_ns=0, end_ns=S) is None
