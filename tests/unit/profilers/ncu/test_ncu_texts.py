"""Pages written here in the tool's structure: every generation of columns, launches added up, other text in between."""

from __future__ import annotations

import csv
import io

import pytest

from espdeploy.profilers.ncu.document import parse, recognise
from espdeploy.profilers.values import Profile, Reading

WHO = ["42", "net", "127.0.0.1"]
OLD = ["ID", "Process ID", "Process Name", "Host Name", "Kernel Name", "Kernel Time", "Context", "Stream"]
NEW = [*OLD[:5], "Context", "Stream", "Block Size", "Grid Size", "Device", "CC"]
LONG = ["Section Name", "Metric Name", "Metric Unit", "Metric Value"]
RULES = ["Rule Name", "Rule Type", "Rule Description"]
SUMMARY = [
    *NEW[1:5],
    *NEW[7:],
    "Invocations",
    "Section Name",
    "Metric Name",
    "Metric Unit",
    "Minimum",
    "Maximum",
    "Average",
]
GEMM, COPY = "void gemm<float, 4>(const float *, int)", "copy(float *)"
MARKED = '==PROF== Connected to process 42 (/bin/net)\n==PROF== Profiling "gemm" - 0: 0%....50%....100% - 8 passes\n'


def page(*rows: list[str]) -> str:
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    return out.getvalue()


def new(number: int, kernel: str) -> list[str]:
    return [str(number), *WHO, kernel, "1", "7", "(64, 1, 1)", "(9, 1, 1)", "0", "8.7"]


def old(number: int, kernel: str) -> list[str]:
    return [str(number), *WHO, kernel, "2022-May-10 20:02:12", "1", "7"]


def read(text: str) -> Profile:
    return parse(io.StringIO(text))


def reading(profile: Profile, kernel: str, metric: str) -> Reading:
    (found,) = (one for one in profile.readings if (one.kernel, one.metric) == (kernel, metric))
    return found


def details() -> str:
    """As 2024.1 prints them: rows of counters end behind the value, and rules stand between them."""
    return page(
        [*NEW, *LONG, *RULES, "Estimated Speedup Type", "Estimated Speedup"],
        [*new(0, GEMM), "Speed", "Duration", "usecond", "900.00", ""],
        [*new(0, GEMM), "Occupancy", "Achieved Occupancy", "%", "50.00", ""],
        [*new(0, GEMM), "Launch", "Function Cache Configuration", "", "CachePreferNone", ""],
        [*new(0, GEMM), "Speed", "", "", "", "Bottleneck", "OPT", 'a text, with "marks"', "global", "12.5"],
        [*new(1, COPY), "Speed", "Duration", "nsecond", "1500", ""],
        [*new(2, GEMM), "Speed", "Duration", "msecond", "1.10", ""],
        [*new(2, GEMM), "Occupancy", "Achieved Occupancy", "%", "60.00", ""],
    )


def test_details_of_launches_add_up_to_kernels_whatever_the_unit_of_each() -> None:
    profile = read(MARKED + details())
    gemm, copy = profile.kernels
    assert (gemm.name, gemm.calls, gemm.total_ms) == (GEMM, 2, pytest.approx(2.0))
    assert (gemm.mean_us, gemm.min_us, gemm.max_us) == pytest.approx((1000.0, 900.0, 1100.0))
    assert (copy.name, copy.calls, copy.total_ms) == (COPY, 1, pytest.approx(0.0015))
    occupancy = reading(profile, GEMM, "Achieved Occupancy")
    assert (occupancy.mean, occupancy.min, occupancy.max, occupancy.calls) == (55.0, 50.0, 60.0, 2)
    assert profile.extra["compute_capability"] == "8.7"
    assert profile.extra["replays"] == 8
    assert profile.extra["rules"] == [
        {
            "kernel": GEMM,
            "rule": "Bottleneck",
            "type": "OPT",
            "text": 'a text, with "marks"',
            "estimated_speedup_pct": "12.5",
        }
    ]
    assert profile.skipped_lines == 0


def test_old_details_have_a_time_and_no_shape() -> None:
    text = page([*OLD, *LONG], [*old(0, GEMM), "Speed", "gpu__time_duration.sum", "nsecond", "2500"])
    assert recognise(text) == "details-csv"
    (kernel,) = read(text).kernels
    assert (kernel.name, kernel.calls, kernel.total_ms) == (GEMM, 1, 0.0025)


def test_names_beside_labels_are_the_counters_names_and_tables_names_stand_before_labels() -> None:
    columns = [*NEW, "Section Name", "Body Item Label", *LONG[1:]]
    profile = read(
        page(
            columns,
            [*new(0, GEMM), "Speed", "", "Duration (gpu__time_duration.sum)", "ns", "1500"],
            [*new(0, GEMM), "Compute", "Pipes", "FMA", "%", "3.00"],
            [*new(0, GEMM), "Compute", "Peak", "FMA", "%", "4.00"],
            [*new(0, GEMM), "Speed", "Chart", "sm__x.avg", "%", "5.00"],
            [*new(0, GEMM), "Compute", "Chart", "sm__x.avg", "%", "5.00"],
        )
    )
    names = [(one.metric, one.mean, one.calls) for one in profile.readings]
    assert names == [
        ("gpu__time_duration.sum", 1500, 1),
        ("Pipes: FMA", 3, 1),
        ("Peak: FMA", 4, 1),
        ("sm__x.avg", 5, 1),
    ]


def raw(*launches: tuple[str, str, str]) -> str:
    names = ["gpu__time_duration.sum", "sm__warps_active.avg.pct_of_peak_sustained_active"]
    return page(
        [*NEW, "device__attribute_display_name", *names],
        ["", "", "", "", "", "", "", "", "", "", "", "", "usecond", "%"],
        *([*new(at, kernel), "Orin", *cells] for at, (kernel, *cells) in enumerate(launches)),
    )


def test_a_raw_pages_units_stand_in_its_second_row() -> None:
    profile = read(raw((GEMM, "10.000000", "50.000000"), (COPY, "2", "nan"), (GEMM, "30.000000", "70.000000")))
    gemm, copy = profile.kernels
    assert (gemm.calls, gemm.total_ms, gemm.min_us, gemm.max_us) == (2, pytest.approx(0.04), 10.0, 30.0)
    assert (copy.calls, copy.total_ms) == (1, pytest.approx(0.002))
    occupancy = reading(profile, COPY, "sm__warps_active.avg.pct_of_peak_sustained_active")
    assert (occupancy.mean, occupancy.calls) == (None, 1)
    assert profile.device == "Orin"
    assert profile.extra["device_attributes"] == {"display_name": "Orin"}
    assert not any(one.metric.startswith("device__") for one in profile.readings)
    assert any("nan" in note for note in profile.notes)


def test_a_launch_without_a_counter_does_not_count_for_it() -> None:
    profile = read(raw((GEMM, "10", "50.000000"), (GEMM, "20", "")))
    occupancy = reading(profile, GEMM, "sm__warps_active.avg.pct_of_peak_sustained_active")
    assert (occupancy.mean, occupancy.calls) == (50.0, 1)


def test_a_kernel_of_which_one_launch_has_no_time_has_no_total() -> None:
    (kernel,) = read(raw((GEMM, "10", "50.00"), (GEMM, "(!) nan", "50.00"))).kernels
    assert (kernel.calls, kernel.total_ms, kernel.mean_us) == (2, None, 10.0)


def test_summaries_weigh_by_invocations_and_join_shapes_of_a_kernel() -> None:
    def rows(shape: str, calls: str, least: str, most: str, mean: str) -> list[list[str]]:
        who = [*WHO, GEMM, "(64, 1, 1)", shape, "0", "8.7", calls]
        return [
            [*who, "Speed", "Duration", "us", least, most, mean],
            [*who, "Occupancy", "Achieved Occupancy", "%", "20.00", "30.00", "25.00"],
        ]

    text = page(
        SUMMARY, *rows("(1, 1, 1)", "3", "1.00", "3.00", "2.00"), *rows("(2, 1, 1)", "1", "10.00", "10.00", "10.00")
    )
    assert recognise(text) == "summary-csv"
    profile = read(text)
    (kernel,) = profile.kernels
    assert (kernel.calls, kernel.total_ms) == (4, pytest.approx(0.016))
    assert (kernel.mean_us, kernel.min_us, kernel.max_us) == pytest.approx((4.0, 1.0, 10.0))
    assert reading(profile, GEMM, "Achieved Occupancy").calls == 4


def test_programs_print_in_between_and_before_a_header_without_a_line_end() -> None:
    lines = details().splitlines(keepends=True)
    lines[0] = "loading ... " + lines[0]
    lines.insert(3, "epoch 1, loss 0.3\n")
    lines.insert(5, '==PROF== Profiling "copy" - 1: 0%....50%....100% - 3 passes\n')
    assert read("".join(lines)).kernels == read(details()).kernels
    assert read("".join(lines)).skipped_lines == 0


def test_two_runs_in_one_file_add_up() -> None:
    once, twice = read(details()), read(details() + "\n" + details())
    assert [2 * kernel.calls for kernel in once.kernels] == [kernel.calls for kernel in twice.kernels]


def test_line_ends_of_windows_a_mark_of_order_and_a_rule_of_two_lines() -> None:
    text = "\ufeff" + details().replace('a text, with ""marks""', "a text\nof two lines").replace("\n", "\r\n")
    profile = read(text)
    assert profile.kernels == read(details()).kernels
    assert profile.skipped_lines == 0
    assert isinstance(profile.extra["rules"], list)
    assert profile.extra["rules"][0]["text"] == "a text\nof two lines"


def test_a_row_that_does_not_close_takes_no_other_with_it() -> None:
    lines = details().splitlines(keepends=True)
    lines[5] = lines[5][:40] + "\n"
    profile = read("".join(lines))
    assert [kernel.calls for kernel in profile.kernels] == [2]
    assert profile.skipped_lines == 1


def test_a_page_without_quotes_as_spreadsheets_write_it() -> None:
    out = io.StringIO()
    rows = csv.reader(io.StringIO(details()))
    csv.writer(out, lineterminator="\n").writerows(rows)
    assert recognise(out.getvalue()) == "details-csv"
    assert read(out.getvalue()).kernels == read(details()).kernels


TEXT = """[42] net@127.0.0.1
  void gemm<float, 4>(const float *, int) (9, 1, 1)x(64, 1, 1), Context 1, Stream 7, Device 0, CC 8.7
    Section: GPU Speed Of Light Throughput
    --------------- ----------- ------------
    Metric Name     Metric Unit Metric Value
    --------------- ----------- ------------
    Elapsed Cycles        cycle    1 491 586
    Duration            msecond         1,42
    --------------- ----------- ------------

    OPT   Est. Speedup: 12.5%
          Metric Name     Metric Unit Metric Value
    ----- ----------------------------------------
    INF   a rule says something

    Section: Occupancy
    ------------------ ----------- ------------
    Metric Name        Metric Unit Metric Value
    ------------------ ----------- ------------
    Achieved Occupancy           %        74,45
    Waves Per SM                          78,77
    A Name That Is Longer Than Its Column  inst   5
    ------------------ ----------- ------------

"""


def test_columns_of_a_text_page_are_its_rules_not_its_blanks() -> None:
    assert recognise(TEXT) == "text"
    profile = read(TEXT)
    (kernel,) = profile.kernels
    assert (kernel.name, kernel.calls, kernel.total_ms) == (GEMM, 1, pytest.approx(1.42))
    assert [(one.metric, one.unit, one.mean) for one in profile.readings] == [
        ("Elapsed Cycles", "cycle", 1491586),
        ("Duration", "ns", pytest.approx(1.42e6)),
        ("Achieved Occupancy", "%", 74.45),
        ("Waves Per SM", "", 78.77),
        ("A Name That Is Longer Than Its Column", "inst", 5),
    ]


def test_old_text_summaries_come_back_to_a_kernel_for_each_section() -> None:
    text = "".join(
        f"""    gemm(float *), Block Size 256, Grid Size 12288, 3 invocations\x20
      Section: {section}
      Metric Name                 Metric Unit Minimum  Maximum  Average\x20
      --------------------------- ----------- -------- -------- --------
      gpu__time_duration.sum      usecond     1.000000 3.000000 2.000000
      sm__warps_active.{section}     %           4.000000 6.000000 5.000000

"""
        for section in ("aaaaaa", "bbbbbb")
    )
    profile = read("[42] net@127.0.0.1\n  Device 0\n" + text)
    (kernel,) = profile.kernels
    assert (kernel.name, kernel.calls, kernel.total_ms) == ("gemm(float *)", 3, pytest.approx(0.006))
    assert {one.metric: (one.calls, one.mean, one.min, one.max) for one in profile.readings}[
        "sm__warps_active.bbbbbb"
    ] == (3, 5.0, 4.0, 6.0)


def test_other_tools_output_is_not_ncus() -> None:
    for text in ("==42== NVPROF is profiling process 42\n", "ID,Name\n1,a\n", "Time (%),Name\n", "", "\0\xff"):
        assert recognise(text) is None


def test_a_header_longer_than_the_head_is_told_by_its_beginning() -> None:
    text = page([*NEW, *(f"sm__counter_{at}.sum" for at in range(6000))])
    assert recognise(text[: 1 << 16]) == "raw-csv"
