"""Failures that ncu tells of: a code, its words, and something to do about it."""

from __future__ import annotations

import io

import pytest

from espdeploy.profilers.ncu.document import parse, recognise

PERMISSION = "ERR_NVGPUCTRPERM - The user does not have permission to access NVIDIA GPU Performance Counters"


@pytest.mark.parametrize(
    ("said", "code", "do"),
    [
        (f"ERROR== {PERMISSION} on the target device 0.", "no_permission", "NVreg_RestrictProfilingToAdminUsers=0"),
        ("ERROR== LaunchFailed", "gpu_failed", "compute-sanitizer"),
        ("ERROR== Unknown Error on device 0.", "gpu_failed", "compute-sanitizer"),
        ("ERROR== Profiling is not supported on device 0. To find out", "unsupported_gpu", "nvprof"),
        ("ERROR== Profiling is not supported on this device as it uses the Windows Subsystem for Linux (WSL).",
         "unsupported_gpu", "nsys"),
        ("WARNING== No kernels were profiled.", "no_kernels", "--target-processes all"),
        ("ERROR== Profiling failed because a driver resource was unavailable.", "driver_busy", "DCGM"),
        ("ERROR== Cuda driver is not compatible with Nsight Compute.", "no_driver", "nvidia-smi"),
        ("ERROR== Nsight Compute failed to connect to the CUDA driver", "no_driver", "--gpus all"),
        ("ERROR== The application returned an error code (9).", "application_failed", "without ncu"),
        ("ERROR== Failed to find metric sm__nothing.sum", "unknown_metric", "--query-metrics"),
        ("ERROR== unrecognised option '--bogus'. Use --help for further details.", "invalid_option", "ncu --help"),
        ("PROF== Received signal - ending profile session.", "application_killed", "--launch-count"),
        ("ERROR== Something that nobody has seen yet", "ncu_error", "without ncu"),
    ],
)  # fmt: skip
def test_each_known_failure_has_its_remedy(said: str, code: str, do: str) -> None:
    text = f"==PROF== Connected to process 7 (/bin/net)\nloading=={said}\n"
    assert recognise(text) == "messages"
    (error,) = parse(io.StringIO(text)).errors
    assert error.code == code
    assert do in error.do
    assert error.text == said.partition("== ")[2]


def test_what_merely_follows_from_an_error_is_not_told_twice() -> None:
    text = f"==ERROR== {PERMISSION}\n==ERROR== {PERMISSION}\n==ERROR== An error occurred while trying to profile.\n"
    assert [error.code for error in parse(io.StringIO(text)).errors] == ["no_permission"]


def test_a_general_error_alone_is_told() -> None:
    (error,) = parse(io.StringIO("==ERROR== An error occurred while trying to profile.\n")).errors
    assert error.code == "ncu_error"


def test_a_warning_that_is_no_failure_is_a_note_and_clocks_left_alone_are_said() -> None:
    text = (
        "==WARNING== Note: Running with unmodified GPU clocks. Results may be inconsistent.\n"
        "==WARNING== Backing up device memory in system memory. Kernel replay might be slow.\n"
        '"ID","Process ID","Process Name","Host Name","Kernel Name","gpu__time_duration.sum"\n'
        '"","","","","","ns"\n"0","7","net","host","k","1500"\n'
    )
    profile = parse(io.StringIO(text))
    assert not profile.errors
    assert any(note.startswith("Backing up") for note in profile.notes)
    assert any("clocks were left as they were" in note for note in profile.notes)


def test_fewer_launches_than_ncu_profiled_are_noted() -> None:
    lines = "".join(f'==PROF== Profiling "k" - {at}: 0%....50%....100% - 1 pass\n' for at in range(3))
    page = '"ID","Process ID","Process Name","Host Name","Kernel Name","a__b.sum"\n"0","7","net","host","k","1500"\n'
    assert any("3 launches, of which the file holds 1" in note for note in parse(io.StringIO(lines + page)).notes)
