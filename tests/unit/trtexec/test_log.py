"""Logs of every form that the tool has had, written for these tests in its structure."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espdeploy.profilers.trtexec.log import TrtexecLog, read_log
from espdeploy.profilers.trtexec.values import Summary, Timing

GOLDEN = Path(__file__).with_name("golden")


def golden(name: str) -> Summary:
    (run,) = read_log(GOLDEN.joinpath(f"{name}.txt").read_text().splitlines()).runs
    return run


def test_the_blocks_of_7() -> None:
    run = golden("trt7")
    assert run.passed
    assert run.version is None
    assert run.throughput_qps == 99.97
    assert run.walltime_s == 3.001
    assert (run.warmup_queries, run.warmup_ms, run.queries) == (4, 200.0, 300)
    assert run.latency == Timing(min_ms=9.5, max_ms=12.25, mean_ms=9.9, median_ms=9.8, percentiles_ms={99.0: 12.0})
    assert run.end_to_end == Timing(
        min_ms=9.55, max_ms=12.5, mean_ms=9.95, median_ms=9.85, percentiles_ms={99.0: 12.125}
    )
    assert run.gpu_compute == Timing(min_ms=9.25, max_ms=12, mean_ms=9.6, median_ms=9.5, percentiles_ms={99.0: 11.75})
    assert run.warnings == ("Half of the weights are zero.",)


def test_the_lines_of_8_2_and_a_table_with_names_left() -> None:
    run = golden("trt82")
    assert run.version == (8, 2, 1)
    assert (run.device, run.compute_capability) == ("NVIDIA Tegra X2", "6.2")
    assert (run.settings["CUDA Graph"], run.settings["Spin-wait"]) == ("Enabled", "Disabled")
    assert run.latency == Timing(min_ms=19.5, max_ms=30, mean_ms=20.1, median_ms=20, percentiles_ms={99.0: 25.5})
    assert run.end_to_end is not None
    assert run.gpu_compute is not None
    assert run.gpu_compute.document() == {"min": 19.2, "max": 29.5, "mean": 19.75, "median": 19.65, "p99": 25.0}
    assert run.enqueue is not None
    assert run.enqueue.median_ms == 0.45
    assert run.profile is not None
    assert run.profile.iterations == 153
    assert [(layer.name, layer.mean_ms, layer.time_pct) for layer in run.profile.layers] == [
        ("Reformatting CopyNode for Input 0 to a", 0.25, 1.3),
        ("a + relu [conv]", 15.0, 75.8),
        ("PWN(b, (c 2.50))", 4.5, 22.7),
        ("odd one", None, None),
    ]
    assert run.profile.total_mean_ms == 19.75


def test_three_percentiles_and_a_median_from_8_5_on() -> None:
    run = golden("trt86")
    assert run.gpu_compute is not None
    assert run.gpu_compute.percentiles_ms == {90.0: 2.0, 95.0: 2.1, 99.0: 2.4}
    assert run.end_to_end is None
    assert run.h2d is None
    assert run.build_s == 41.5
    assert run.profile is not None
    assert [(layer.name, layer.median_ms) for layer in run.profile.layers] == [("conv 1", 0.999), ("conv 2.5", 0.998)]


def test_names_right_from_10_on() -> None:
    run = golden("trt11")
    assert run.version == (11, 1, 0)
    assert run.profile is not None
    assert [(layer.name, layer.mean_ms, layer.time_pct) for layer in run.profile.layers] == [
        ("__myl_Conv_myl0_0 + 1.5 (x)", 0.3, 60.0),
        ("{ForeignNode[a...b]}", 0.2, 40.0),
    ]


def test_a_refused_network_is_an_error_with_all_that_was_said() -> None:
    run = golden("refused")
    assert run.passed is False
    assert [error.text for error in run.errors][-2:] == ["Failed to parse onnx file", "Parsing model failed"]
    assert any('op_type: "Frobnicate"' in error.text for error in run.errors)
    assert any("Plugin not found" in error.text for error in run.errors)


def test_errors_carry_tensorrts_own_number() -> None:
    lines = [
        "[TRT] [E] [engine.cpp::readEngineFromArchive::1091] Error Code 2: OutOfMemory (Requested size was 5 bytes.)",
        "[03/14/2026-09:26:53] [E] Error[6]: The engine plan file is …",
        "[03/14/2026-09:26:53] [TRT] [E] 10: Could not find any implementation for node a.",
        "[TensorRT] ERROR: INVALID_STATE: std::exception",
    ]
    (run,) = read_log(lines).runs
    assert [error.code for error in run.errors] == [2, 6, 10, None]
    assert run.passed is False


def test_several_runs_in_one_log() -> None:
    both = GOLDEN.joinpath("trt82.txt").read_text() + "some other tool\n" + GOLDEN.joinpath("trt11.txt").read_text()
    log = read_log(both.splitlines())
    assert [run.version for run in log.runs] == [(8, 2, 1), (11, 1, 0)]
    assert log.told.version == (8, 2, 1)


def test_what_began_and_did_not_end_has_not_passed() -> None:
    lines = GOLDEN.joinpath("trt82.txt").read_text().splitlines()
    for cut in range(1, len(lines) - 1):
        (run,) = read_log(lines[:cut]).runs
        assert run.passed is False
    assert read_log(lines[5:30]).runs[0].passed is None  # a piece of a log says neither


def test_standard_error_before_and_after_the_rest_counts_for_its_run() -> None:
    """Redirected apart, warnings and errors come in one heap."""
    lines = GOLDEN.joinpath("trt86.txt").read_text().splitlines()
    marked = [line for line in lines if "[W]" in line]
    others = [line for line in lines if "[W]" not in line]
    for text in (others + marked, others[:1] + marked + others[1:]):
        (run,) = read_log(text).runs
        assert run.warnings == ("* GPU compute time is unstable, with coefficient of variance = 5.5%.",)
        assert run.passed


def test_windows_line_ends_colours_and_missing_times_change_nothing() -> None:
    plain = golden("trt82")
    text = GOLDEN.joinpath("trt82.txt").read_text()
    assert read_log(text.replace("\n", "\r\n").splitlines(keepends=True)).runs == (plain,)
    coloured = text.replace("[I]", "\x1b[32m[I]\x1b[0m").replace("[03/14", "\x1b[1m[03/14")
    assert read_log(coloured.splitlines()).runs == (plain,)
    assert read_log(text.replace("[03/14/2026-09:26:53] ", "").splitlines()).runs == (plain,)


def test_text_of_another_kind_is_no_run() -> None:
    assert read_log(["RAM 3964/7860MB (lfb 1x4MB)", "", "cpu: 5%", "==PROF== Connected"]) == TrtexecLog(runs=())


PIECES = st.sampled_from(
    [
        "&&&& RUNNING TensorRT.trtexec [TensorRT v8201] # x",
        "&&&& PASSED TensorRT.trtexec",
        "&&&& FAILED a [v",
        "[I] ",
        "[E] ",
        "[W] [TRT] ",
        "=== Performance summary ===",
        "=== Profile (3 iterations ) ===",
        "Layer   Time (ms)   Time %",
        "GPU Compute",
        "Throughput: inf qps",
        "Latency: min = 1 ms, max = nan ms",
        "min: 1 ms (end to end 2 ms)",
        "percentile(99%) = 1e999 ms",
        " a 1.0 2.0 3.0",
        "Error Code 999999: x",
        "Total 1.0 1.0 100.0",
        "Timing trace has 99999999999999999999 queries",
        "\x00",
        "\x1b[",
        "é",
        "TensorRT version: 8.2",
        "percentile: 1 ms at x%",
    ]
)


@given(st.lists(st.one_of(PIECES, st.just("\n"), st.text(max_size=20)), max_size=40))
def test_no_text_makes_it_fail(pieces: list[str]) -> None:
    for run in read_log("".join(pieces).splitlines()).runs:
        assert run.passed in (True, False, None)


@pytest.mark.parametrize(
    "line", ["[" * 100_000, "a " * 100_000 + "1.0 2.0 3.0", "&&&& RUNNING x" + " [" * 50_000, "=" * 1_000_000]
)
def test_long_lines_take_no_long_time(line: str) -> None:
    head = [
        "&&&& RUNNING TensorRT.trtexec # x",
        "[I] === Profile (3 iterations ) ===",
        "[I] Layer   Time (ms)   Time %",
    ]
    assert len(read_log([*head, line, "[I] " + line]).runs) <= 3
