"""Launches of one kernel differ: means over them are weighted by their times, where ncu tells both."""

from __future__ import annotations

import io

import pytest

from espdeploy.profilers.metrics import COUNTERS, standard
from espdeploy.profilers.ncu.document import parse
from tests.unit.profilers.ncu.test_ncu_texts import GEMM, LONG, NEW, new, page

TIME = "gpu__time_duration.sum"
OCCUPANCY = "sm__warps_active.avg.pct_of_peak_sustained_active"
ACTIVE, ELAPSED = "sm__cycles_active.sum", "sm__cycles_elapsed.sum"
#: us, % and cycles of three launches; unweighted the occupancy would be 40 %
LAUNCHES = ((10.0, 90.0, 100, 200), (20.0, 20.0, 300, 400), (70.0, 10.0, 1400, 1400))
BY_TIME = (10 * 90 + 20 * 20 + 70 * 10) / 100


def raw() -> str:
    rows = [[*new(at, GEMM), *map(str, launch), "7"] for at, launch in enumerate(LAUNCHES)]
    units = [*("" for _ in NEW), "usecond", "%", "cycle", "cycle", "inst"]
    return page([*NEW, TIME, OCCUPANCY, ACTIVE, ELAPSED, "l1tex__never_asked_for.sum"], units, *rows)


def details() -> str:
    rows = []
    for at, (time_us, occupancy, *_) in enumerate(LAUNCHES):
        rows.append([*new(at, GEMM), "Occupancy", "Achieved Occupancy", "%", str(occupancy)])
        rows.append([*new(at, GEMM), "Speed", "Duration", "usecond", str(time_us)])
    return page([*NEW, *LONG], *rows)


@pytest.mark.parametrize("text", [raw(), details()], ids=["raw", "details"])
def test_a_mean_over_launches_is_weighted_by_their_times(text: str) -> None:
    profile = parse(io.StringIO(text), only=COUNTERS)
    found = standard(profile.readings, profile.kernels)["achieved_occupancy"]
    assert found.mean == pytest.approx(BY_TIME)
    assert found.weighted_by == "time"
    (kernel,) = found.per_kernel
    assert (kernel.calls, kernel.min, kernel.max) == (3, 10.0, 90.0)


def test_a_quotient_is_that_of_the_sums() -> None:
    profile = parse(io.StringIO(raw()))
    found = standard(profile.readings, profile.kernels)["sm_efficiency"]
    assert found.mean == pytest.approx(100 * (100 + 300 + 1400) / (200 + 400 + 1400))


def test_of_a_raw_page_only_what_is_wanted_is_added_up_and_all_of_it_shows_the_locale() -> None:
    profile = parse(io.StringIO(raw()), only=COUNTERS)
    assert {one.metric for one in profile.readings} == {TIME, OCCUPANCY, ACTIVE, ELAPSED}
    assert profile.readings == tuple(one for one in parse(io.StringIO(raw())).readings if one.metric in COUNTERS)
    german = page(
        [*NEW, TIME, "l1tex__never_asked_for.sum"],
        [*("" for _ in NEW), "ns", ""],
        [*new(0, GEMM), "9.472", "1.491.586"],
    )
    (kernel,) = parse(io.StringIO(german), only=COUNTERS).kernels
    assert kernel.total_ms == pytest.approx(9472e-6)


def test_a_launch_without_a_time_takes_the_weight_from_all() -> None:
    text = raw().replace('"70.0"', '"n/a"')
    profile = parse(io.StringIO(text))
    found = standard(profile.readings, profile.kernels)["achieved_occupancy"]
    assert (found.mean, found.weighted_by) == (pytest.approx(40.0), "calls")
