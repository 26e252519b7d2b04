from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espdeploy.bench.power_checks import Evidence, findings, lowest_allowed_mhz, throttled
from espdeploy.records import Finding

TX2_STEPS = (114.75, 216.75, 318.75, 420.75, 522.75, 624.75, 726.75, 854.25, 930.75, 1032.75, 1122.0, 1236.75, 1300.5)
CLEAN: dict[str, Any] = {
    "gpu_set_mhz": 854.25,
    "steps_mhz": TX2_STEPS,
    "gpu_clock_mhz": [854.25] * 100,
    "gpu_util_pct": [98.0] * 100,
    "throttle_reasons": (),
    "temperature_c": [45.0, 45.5, 46.0, 46.0, 46.5, 46.5],
    "total_rail": "VDD_IN",
    "total_w": 7.1,
    "gpu_rail": "VDD_SYS_GPU",
    "gpu_rail_w": 2.9,
    "power_source": "tegrastats",
    "source_means_w": {"tegrastats": 7.1, "ina3221": 7.2},
}


def found(**changes: Any) -> dict[str, Finding]:
    return {finding.code: finding for finding in findings(Evidence(**{**CLEAN, **changes}))}


def test_a_clean_run_has_nothing_said_about_it() -> None:
    assert found() == {}
    assert throttled(Evidence(**CLEAN)) is False


def test_what_is_unknown_is_not_judged() -> None:
    assert findings(Evidence()) == []
    assert throttled(Evidence()) is None


def test_a_clock_below_the_set_one_under_load_is_throttling() -> None:
    # one step lower is the board's rounding, two are not
    assert found(gpu_clock_mhz=[726.75] * 100) == {}
    slow = [854.25] * 80 + [624.75] * 20
    finding = found(gpu_clock_mhz=slow)["throttled"]
    assert "20 % of its clocks under load lay below the 854.25 MHz" in finding.text
    assert "--freq 624.75" in finding.do
    assert throttled(Evidence(**{**CLEAN, "gpu_clock_mhz": slow})) is True


def test_a_low_clock_at_rest_or_for_a_moment_is_not() -> None:
    resting = {"gpu_clock_mhz": [854.25] * 80 + [114.75] * 20, "gpu_util_pct": [98.0] * 80 + [3.0] * 20}
    assert found(**resting) == {}
    assert found(gpu_clock_mhz=[854.25] * 96 + [114.75] * 4) == {}
    assert "throttled" in found(gpu_clock_mhz=[114.75] * 20, gpu_util_pct=[])  # no load is known: all of them count


def test_the_devices_own_reasons_are_named_without_any_clock() -> None:
    only_reasons = {"gpu_set_mhz": None, "gpu_clock_mhz": (), "gpu_util_pct": ()}
    finding = found(**only_reasons, throttle_reasons=("power cap", "heat (hardware)"))["throttled"]
    assert "power cap, heat (hardware)" in finding.text
    assert "--freq" in finding.do


@given(st.sampled_from(TX2_STEPS), st.floats(0.997, 1.003))
def test_the_step_below_and_the_set_one_are_never_too_low(set_mhz: float, reading: float) -> None:
    below = [step for step in TX2_STEPS if step < set_mhz]
    for step in [*below[-1:], set_mhz]:
        assert step * reading >= lowest_allowed_mhz(set_mhz, TX2_STEPS)
    for step in below[:-1]:
        assert step * reading < lowest_allowed_mhz(set_mhz, TX2_STEPS)


def test_floating_clocks_are_told_with_what_they_were() -> None:
    held = found(gpu_set_mhz=None)["floating_clocks"]
    assert (held.severity, "854 MHz on average (854 to 854)" in held.text) == ("info", True)
    moved = found(gpu_set_mhz=None, gpu_clock_mhz=[1300.5, None, 624.75], gpu_util_pct=[])["floating_clocks"]
    assert (moved.severity, "963 MHz on average (625 to 1300)" in moved.text) == ("warning", True)
    assert moved.do == "set it, as root: --freq 930.75"


def test_warming_up_during_the_run() -> None:
    assert found(temperature_c=[40.0, 40.0, 42.0, 44.0, 45.0, 45.0]) == {}
    finding = found(temperature_c=[40.0, 41.0, 45.0, 50.0, 54.0, 55.0])["thermal_drift"]
    assert "from 40 to 54 °C" in finding.text  # thirds of the readings, not single ones
    assert found(temperature_c=[20.0, 90.0]) == {}  # too few to tell


def test_programs_of_others() -> None:
    assert "train.py (pid 7)" in found(competing=("train.py (pid 7)",))["competing_processes"].text


def test_a_gpu_rail_above_the_total_is_not_believed() -> None:
    swapped = {"total_rail": "POM_5V_IN", "total_w": 3.227, "gpu_rail": "POM_5V_GPU", "gpu_rail_w": 8.949}
    finding = found(**swapped)["gpu_rail_above_total"]
    assert finding.severity == "error"
    assert "POM_5V_GPU took 8.95 W" in finding.text
    assert found(gpu_rail_w=None) == {}


@pytest.mark.parametrize(
    ("means", "disagree"),
    [
        ({"tegrastats": 7.0, "ina3221": 7.6}, False),  # within 10 %
        ({"tegrastats": 7.0, "ina3221": 8.0}, True),
        ({"tegrastats": 0.1, "ina3221": 0.3}, False),  # the sensors' noise
        ({"tegrastats": 7.0}, False),
        ({"tegrastats": 7.0, "ina3221": 7.1, "jtop": 1.0}, True),
    ],
)
def test_sources_of_the_same_power_that_differ(means: dict[str, float], disagree: bool) -> None:
    finding = found(source_means_w=means).get("power_sources_disagree")
    assert (finding is not None) == disagree
    if finding is not None:
        assert "tegrastats 7 W" in finding.text
        assert "the figures are of tegrastats" in finding.text
