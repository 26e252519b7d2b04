"""What nvprof says went wrong becomes a code and what to do; the texts are nvprof 11.8's own."""

from __future__ import annotations

import io

import pytest

from espdeploy.profilers.nvprof.document import parse, recognise

SAID = {
    "==7== Warning: ERR_NVGPUCTRPERM - The user does not have permission to profile on the target device.": (
        "no_permission",
        "sudo",
    ),
    "======== Warning: nvprof is not supported on devices with compute capability 8.0 and higher.": (
        "unsupported_gpu",
        "--tool nsys",
    ),
    "==7== Warning: Skipping profiling on device 0 since profiling is not supported on devices with compute capability"
    " 7.5 and higher.": ("unsupported_counters", "--tool ncu"),
    "======== Warning: unable to locate cuda driver library, GPU profiling skipped": ("no_driver", "nvidia-smi"),
    "======== Error: internal error.": ("internal_error", "nvidia-smi"),
    "======== Error: application not found.": ("no_application", "its path"),
    "==7== Error: Application received signal 9": ("application_killed", "memory"),
    "==7== Warning: Application returned non-zero code 3": ("application_failed", "without nvprof"),
    "======== Warning: No profile data collected.": ("no_data", "--profile-child-processes"),
    "======== Error: Unable to import nvprof generated profile data.": ("invalid_profile", "record again"),
    "==7== Warning: 12 records have invalid timestamps due to insufficient device buffer space. You can configure the"
    " buffer space using the option --device-buffer-size.": ("records_lost", "--device-buffer-size"),
    '==7== Warning: One or more events or metrics overflowed. Rerun with "--print-gpu-trace" for detail.': (
        "counter_overflow",
        "--print-gpu-trace",
    ),
    '======== Error: Metric "gold" cannot be found on device 0.': ("unknown_metric", "--query-metrics"),
    "======== Error: Encountered invalid option : --print-nvlink": ("invalid_option", "--help"),
    "======== Error: something that nobody has seen": ("nvprof_error", "without nvprof"),
    "==7== Error: unified memory profiling failed.": ("unified_memory", "--unified-memory-profiling off"),
}


@pytest.mark.parametrize("line", sorted(SAID))
def test_a_failure_says_what_to_do(line: str) -> None:
    code, do = SAID[line]
    profile = parse(io.StringIO(f"output of the application\n{line}\n{line}\n"))
    (error,) = profile.errors
    assert error.code == code
    assert do in error.do
    assert error.text == line.partition(": ")[2]
    assert (recognise(line) is None) == (code == "nvprof_error" and "==7==" in line)


def test_a_run_without_kernels_says_so_only_where_none_has_any() -> None:
    empty = "======== Profiling result:\nNo kernels were profiled.\n"
    table = '"Time(%)","Time","Calls","Avg","Min","Max","Name"\n%,ms,,ms,ms,ms,\n9.0,1.0,1,1.0,1.0,1.0,"k()"\n'
    assert [error.code for error in parse(io.StringIO(empty)).errors] == ["no_kernels"]
    assert parse(io.StringIO(empty + "======== Profiling result:\n" + table)).errors == ()


def test_warnings_that_change_nothing_are_notes() -> None:
    text = "==7== Warning: 200 API trace records have same start and end timestamps.\nThis can happen.\n"
    profile = parse(io.StringIO(text + "==7== Some kernel(s) will be replayed on device 0 in order to collect all.\n"))
    first, second = profile.notes
    assert first == "200 API trace records have same start and end timestamps."
    assert "replayed" in second
    assert profile.errors == ()


def test_a_header_without_rows_and_samples_of_the_processor_are_noted() -> None:
    cut = (
        '==7== Profiling result:\n"Type","Time(%)","Time","Calls","Avg","Min","Max","Name"\n,%,ms,,us,us,ms,\n"GPU act'
    )
    assert parse(io.StringIO(cut)).notes == ("a table's header is there, but none of its rows",)
    samples = "======== CPU profiling result (bottom up):\nTime(%)      Time  Name\n 80.5%  8.5s  main\n"
    assert recognise(samples) == "other"
    (note,) = parse(io.StringIO(samples)).notes
    assert "nothing on kernels" in note
