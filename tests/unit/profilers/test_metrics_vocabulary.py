"""One vocabulary: nvprof's definition, unit and range whatever the tool; means weighted, and said how."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from espdeploy.profilers.metrics import standard
from espdeploy.profilers.ncu.document import parse
from espdeploy.profilers.values import Kernel, Reading
from espdeploy.profilers.vocabulary import NCU, NVPROF, TABLE, Source, ncu_counters, nvprof_metrics

CONTRACT = {
    "warp_execution_efficiency",
    "gld_efficiency",
    "gst_efficiency",
    "shared_efficiency",
    "sm_efficiency",
    "achieved_occupancy",
}
#: where the guide's counter is not the table's first; each has its reason in the table
NOT_FOLLOWED = {"warp_nonpred_execution_efficiency"}
RATIO = "smsp__thread_inst_executed_per_inst_executed.ratio"


def of(metric: str, mean: float | None, kernel: str = "k", unit: str = "%", calls: int = 1) -> Reading:
    return Reading(kernel=kernel, metric=metric, unit=unit, calls=calls, mean=mean, min=mean, max=mean)


@pytest.mark.data
def test_the_table_is_the_official_one(data_dir: Path) -> None:
    with (data_dir / "logs" / "docs" / "ncu_nvprof_metric_mapping.csv").open(encoding="utf-8", newline="") as stream:
        official = {row["nvprof_metric"]: row for row in csv.DictReader(stream)}
    for metric in TABLE:
        ncu = [one.metric for one in metric.sources if isinstance(one, Source) and one.tool == NCU]
        named = {official[metric.name][column] for column in ("ncu_2020.3", "ncu_2022.3", "ncu_2024.1")}
        assert (named == {ncu[0]}) == (metric.name not in NOT_FOLLOWED), metric.name


def test_the_contracts_names_are_there_and_each_is_nvprofs_own() -> None:
    assert {metric.name for metric in TABLE} >= CONTRACT
    for metric in TABLE:
        own = {one.metric for one in metric.sources if isinstance(one, Source) and one.tool == NVPROF}
        assert own == {metric.name}
        assert metric.description
    assert set(nvprof_metrics()) == {metric.name for metric in TABLE}
    assert len(ncu_counters(dram=True)) == len(TABLE) + 1  # and the time


@pytest.mark.parametrize(
    ("name", "mean", "readings"),
    [
        ("warp_execution_efficiency", 100.0, [of(RATIO, 32.0, unit="")]),
        ("warp_execution_efficiency", 50.0, [of(RATIO, 16.0, unit="")]),
        ("warp_execution_efficiency", 99.625, [of("Avg. Active Threads Per Warp", 31.88, unit="")]),
        (
            "warp_execution_efficiency",
            75.0,
            [of("smsp__thread_inst_executed.sum", 2400), of("smsp__inst_executed.sum", 100)],
        ),
        ("warp_execution_efficiency", 87.5, [of("warp_execution_efficiency", 87.5)]),
        ("achieved_occupancy", 62.5, [of("achieved_occupancy", 0.625, unit="")]),
        ("achieved_occupancy", 62.5, [of("sm__warps_active.avg.pct_of_peak_sustained_active", 62.5)]),
        ("achieved_occupancy", 124.63, [of("Achieved Occupancy", 124.63)]),  # real, on an Orin: kept
        ("gld_efficiency", 25.0, [of("smsp__sass_average_data_bytes_per_sector_mem_global_op_ld.ratio", 8.0, unit="")]),
        (
            "shared_efficiency",
            50.0,
            [of("smsp__sass_average_data_bytes_per_wavefront_mem_shared.ratio", 64.0, unit="")],
        ),
        ("sm_efficiency", 80.0, [of("smsp__cycles_active.sum", 400), of("smsp__cycles_elapsed.sum", 500)]),
        (
            "sm_efficiency",
            90.0,
            [of("Average SM Active Cycles", 900), of("Total SM Elapsed Cycles", 34_000), of("# SMs", 34)],
        ),
        ("dram_read_throughput", 12.5, [of("dram_read_throughput", 12.5e9, unit="B/s")]),
        ("dram_read_throughput", 12.5, [of("dram__bytes_read.sum.per_second", 12.5e9, unit="byte/s")]),
        (
            "dram_write_throughput",
            2.0,
            [of("dram__bytes_write.sum", 4e6, unit="byte"), of("gpu__time_duration.sum", 2e6, unit="ns")],
        ),
        ("dram_utilization", 40.0, [of("dram_utilization", 4, unit="level")]),
    ],
)
def test_each_tools_figure_comes_to_one_unit(name: str, mean: float, readings: list[Reading]) -> None:
    metric = standard(readings)[name]
    assert metric.mean == pytest.approx(mean)
    assert metric.unit in ("%", "GB/s")


def test_a_mean_is_weighted_by_time_where_times_are_known_else_by_calls() -> None:
    readings = [of("gld_efficiency", 100.0, "a", calls=9), of("gld_efficiency", 20.0, "b", calls=1)]
    times = [Kernel(name="a", calls=9, total_ms=1.0), Kernel(name="b", calls=1, total_ms=3.0)]
    timed = standard(readings, times)["gld_efficiency"]
    assert (timed.mean, timed.weighted_by) == (pytest.approx(40.0), "time")
    assert [one.kernel for one in timed.per_kernel] == ["b", "a"]  # the longest first
    counted = standard(readings)["gld_efficiency"]
    assert (counted.mean, counted.weighted_by, counted.notes) == (pytest.approx(92.0), "calls", ())
    partly = standard(readings, times[:1])["gld_efficiency"]
    assert (partly.mean, partly.weighted_by) == (pytest.approx(92.0), "calls")
    assert partly.notes == ("weighted by calls: 1 of 2 kernels have no time",)


def test_files_of_one_run_join_by_calls() -> None:
    metric = standard([of("gld_efficiency", 100.0, calls=3), of("gld_efficiency", 20.0, calls=1)])["gld_efficiency"]
    (kernel,) = metric.per_kernel
    assert (kernel.value, kernel.calls, kernel.min, kernel.max) == (pytest.approx(80.0), 4, 20.0, 100.0)


@pytest.mark.parametrize("name", ["gld_efficiency", "gst_efficiency", "shared_efficiency", "branch_efficiency"])
def test_nothing_to_count_does_not_pull_a_mean_down_and_is_said(name: str) -> None:
    metric = standard([of(name, 80.0, "a"), of(name, 0.0, "b")])[name]
    assert metric.mean == 80.0
    assert metric.left_out == ("b",)
    assert "1 of 2 kernels have no " in metric.notes[0]


def test_zero_with_accesses_counted_is_a_zero() -> None:
    readings = [
        of("gld_efficiency", 80.0, "a"),
        of("gld_efficiency", 0.0, "b"),
        of("gld_transactions", 9, "b", unit=""),
    ]
    metric = standard(readings)["gld_efficiency"]
    assert (metric.mean, metric.left_out) == (40.0, ())


def test_a_metric_of_which_no_kernel_has_any_is_unknown_not_zero() -> None:
    metric = standard([of("shared_efficiency", 0.0)])["shared_efficiency"]
    assert (metric.mean, metric.per_kernel) == (None, ())
    assert metric.notes


def test_jetsons_without_counters_of_memory_have_no_throughput_of_zero() -> None:
    readings = [of("dram__bytes_read.sum.per_second", 0.0, kernel, unit="byte/s") for kernel in "ab"]
    metric = standard(readings)["dram_read_throughput"]
    assert metric.mean is None
    assert "no counters of DRAM" in metric.notes[0]
    readings.append(of("dram__bytes_read.sum.per_second", 4e9, "c", unit="byte/s"))
    assert standard(readings)["dram_read_throughput"].mean == pytest.approx(4 / 3)


def test_above_100_pct_is_kept_and_said() -> None:
    metric = standard([of("Achieved Occupancy", 110.53)])["achieved_occupancy"]
    assert metric.mean == 110.53
    assert "above 100 %" in metric.notes[0]


def test_what_a_tool_could_not_tell_is_no_value() -> None:
    assert standard([of("gld_efficiency", None), of("ipc", 1.0)]) == {}


def test_as_parse_prints_it() -> None:
    readings = [of("gld_efficiency", 80.0), of("dram_read_throughput", 1e9, unit="B/s")]
    found = standard(readings, [Kernel(name="k", calls=1, total_ms=1.0)])
    told = found["gld_efficiency"].document()
    assert (told["mean_pct"], told["weighted_by"]) == (80.0, "time")
    assert told["per_kernel"] == [{"name": "k", "calls": 1, "mean_pct": 80.0, "min_pct": 80.0, "max_pct": 80.0}]
    assert found["dram_read_throughput"].document()["mean_gb_per_s"] == 1.0


def test_the_counters_that_we_ask_ncu_for_come_back_as_the_vocabulary() -> None:
    names = ncu_counters(dram=True)
    values = ["1500", *("25" for _ in names[1:])]
    header = ["ID", "Process ID", "Process Name", "Host Name", "Kernel Name", *names]
    units = [
        "",
        "",
        "",
        "",
        "",
        "ns",
        *("byte/second" if "bytes" in name and "second" in name else "%" for name in names[1:]),
    ]
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([header, units, ["0", "1", "p", "h", "k", *values]])
    profile = parse(io.StringIO(out.getvalue()))
    found = standard(profile.readings, profile.kernels)
    assert set(found) == {metric.name for metric in TABLE}
    assert {metric.weighted_by for metric in found.values()} == {"time"}
    assert found["warp_execution_efficiency"].mean == 25 * 100 / 32


def test_kernels_without_times_in_the_timeline_are_weighted_by_those_of_the_run_that_counted() -> None:
    readings = [of("achieved_occupancy", 90.0, "a", calls=9), of("achieved_occupancy", 20.0, "b", calls=1)]
    times = [Kernel(name="a", calls=9, total_ms=5.0)]
    own = [Kernel(name="a", calls=9, total_ms=1.0), Kernel(name="b", calls=1, total_ms=6.0)]
    found = standard(readings, times, own)["achieved_occupancy"]
    assert (found.mean, found.weighted_by) == (pytest.approx((90 * 1 + 20 * 6) / 7), "time")
    assert found.notes == ("weighted by times of the run that counted: 1 of 2 kernels have no time in the other file",)


def test_a_warp_that_runs_has_a_thread_so_zero_is_no_efficiency() -> None:
    """nvprof printed 0.00% for a kernel of a Tegra K1 whose other counters were sound."""
    found = standard([of("warp_execution_efficiency", 80.0, "a"), of("warp_execution_efficiency", 0.0, "b")])
    assert found["warp_execution_efficiency"].mean == 80.0
    assert found["warp_execution_efficiency"].left_out == ("b",)
