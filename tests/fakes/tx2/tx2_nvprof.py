"""nvprof 10.2 on the stand-in: runs the application, then writes the summary of its kernels, or metrics of each.

Counters need root, as on a board; times do not.
Its whole report goes to standard error, or to the file of ``--log-file`` (where ``%p`` is the process). Sums and counts
follow the times that the board's model gave the application's inferences.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from tx2_faults import read
from tx2_kernels import COUNTERS, Activity, counter, handed_over
from tx2_trtexec import KERNELS

DEVICE = "NVIDIA Tegra X2 (0)"
_FLAGS = {"--csv", "--print-gpu-summary", "--profile-child-processes", "--replay-mode-kernel", "-s"}
_VALUED = {"--metrics", "-m", "--log-file", "--unified-memory-profiling", "-u", "--normalized-time-unit",
           "--profile-from-start", "--replay-mode", "--timeout", "--kernels", "--concurrent-kernels",
           "--print-api-trace", "--profile-api-trace", "--aggregate-mode"}  # fmt: skip
_VERSION = (
    "nvprof: NVIDIA (R) Cuda command line profiler\nCopyright (c) 2012 - 2019 NVIDIA Corporation\n"
    "Release version 10.2.300 (21)\n"
)
_NOT_PERMITTED = (
    "Warning: ERR_NVGPUCTRPERM - The user does not have permission to profile on the target device. "
    "See the following link for instructions to enable permissions and get more information: "
    "https://developer.nvidia.com/ERR_NVGPUCTRPERM "
)
_UNITS_MS = {"s": 1000.0, "ms": 1.0, "us": 1e-3, "ns": 1e-6}


def main(folder: Path) -> int:
    if sys.argv[1:] in (["--version"], ["-V"]):
        sys.stdout.write(_VERSION)
        return 0
    options, command = _arguments()
    if options is None:
        return 1
    if not command:
        sys.stderr.write("======== Error: no application found.\n")
        return 1
    with tempfile.TemporaryDirectory() as kept:
        kernels = Path(kept) / "kernels.json"
        with subprocess.Popen(command, env=os.environ | {KERNELS: str(kernels)}) as application:
            code = application.wait()
        found = handed_over(kernels)
    with _report(options, application.pid) as stream:
        report = Report(stream, application.pid, command, options)
        report.write(found, code, permitted=not read(folder).get("no_root"))
    return code


def _arguments() -> tuple[dict[str, str] | None, list[str]]:
    words, options = sys.argv[1:], {}
    while words and words[0].startswith("-"):
        name, equals, value = words.pop(0).partition("=")
        if name in _VALUED:
            options[{"-m": "--metrics", "-u": "--normalized-time-unit"}.get(name, name)] = (
                value if equals else words.pop(0)
            )
        elif name in _FLAGS:
            options[name] = ""
        else:
            sys.stderr.write(f"======== Error: unrecognized option '{name}'\n")
            return None, []
    unknown = [name for name in _metrics(options) if name not in COUNTERS]
    for name in unknown:
        sys.stderr.write(f"======== Error: Unable to find metric '{name}'.\n")
    return (None if unknown else options), words


def _metrics(options: dict[str, str]) -> list[str]:
    asked = options.get("--metrics", "")
    return list(COUNTERS) if asked == "all" else [name for name in asked.split(",") if name]


def _report(options: dict[str, str], process: int) -> TextIO:
    path = options.get("--log-file")
    if path is None:
        return os.fdopen(os.dup(2), "w")
    return Path(path.replace("%p", str(process))).open("w")


class Report:
    def __init__(self, stream: TextIO, process: int, command: Sequence[str], options: dict[str, str]) -> None:
        self._stream, self._options = stream, options
        self._mark, self._process = f"=={process}== ", process
        self._command = " ".join(command)

    def write(self, found: Sequence[Activity], code: int, *, permitted: bool) -> None:
        self._say(f"NVPROF is profiling process {self._process}, command: {self._command}")
        metrics = _metrics(self._options)
        if metrics and not permitted:
            self._say(_NOT_PERMITTED)
            found = []
        elif metrics:
            self._say("Warning: Some kernel(s) will be replayed on device 0 in order to collect all events/metrics.")
        self._say(f"Profiling application: {self._command}")
        if code != 0:
            self._stream.write(f"======== Error: Application returned non-zero code {code}\n")
        if not found:
            self._stream.write("No kernels were profiled.\n")
            return
        self._say("Profiling result:")
        if metrics:
            self._write_metrics([activity for activity in found if not activity.name.startswith("[")], metrics)
        else:
            self._write_summary(found)

    def _say(self, text: str) -> None:
        self._stream.write(f"{self._mark}{text}\n")

    def _write_metrics(self, kernels: Sequence[Activity], metrics: Sequence[str]) -> None:
        self._say("Metric result:")
        if "--csv" not in self._options:
            self._metrics_table(kernels, metrics)
            return
        head = ("Device", "Kernel", "Invocations", "Metric Name", "Metric Description", "Min", "Max", "Avg")
        self._stream.write(",".join(f'"{word}"' for word in head) + "\n")
        for kernel in kernels:
            for name in metrics:
                words, form = COUNTERS[name]
                values = ",".join(form.format(value) for value in counter(kernel.name, name))
                calls = kernel.runs * len(kernel.ms)
                self._stream.write(f'"{DEVICE}","{kernel.name}",{calls},"{name}","{words}",{values}\n')

    def _metrics_table(self, kernels: Sequence[Activity], metrics: Sequence[str]) -> None:
        row = "{:>11}  {:>36}  {:>43}  {:>11}  {:>11}  {:>11}\n".format
        self._stream.write(row("Invocations", "Metric Name", "Metric Description", "Min", "Max", "Avg"))
        self._stream.write(f'Device "{DEVICE}"\n')
        for kernel in kernels:
            self._stream.write(f"    Kernel: {kernel.name}\n")
            for name in metrics:
                words, form = COUNTERS[name]
                values = [form.format(value) for value in counter(kernel.name, name)]
                self._stream.write(row(kernel.runs * len(kernel.ms), name, words, *values))

    def _write_summary(self, found: Sequence[Activity]) -> None:
        total_ms = sum(activity.runs * sum(activity.ms) for activity in found)
        ordered = sorted(found, key=lambda activity: -activity.runs * sum(activity.ms))
        if "--csv" not in self._options:
            self._summary_table(ordered, total_ms)
            return
        self._stream.write('"Type","Time(%)","Time","Calls","Avg","Min","Max","Name"\n')
        unit = self._options.get("--normalized-time-unit", "ms")
        unit = unit if unit in _UNITS_MS else "ms"
        self._stream.write(f",%,{unit},,{unit},{unit},{unit},\n")
        for activity in ordered:
            times = [ms / _UNITS_MS[unit] for ms in _times_ms(activity)]
            share_pct = 100 * activity.runs * sum(activity.ms) / total_ms
            calls = activity.runs * len(activity.ms)
            figures = f"{share_pct:.6f},{times[0]:.6f},{calls},{times[1]:.6f},{times[2]:.6f},{times[3]:.6f}"
            self._stream.write(f'"GPU activities",{figures},"{activity.name}"\n')

    def _summary_table(self, ordered: Sequence[Activity], total_ms: float) -> None:
        row = "{:>16}{:>9}{:>10}{:>10}{:>10}{:>10}{:>10}  {}\n".format
        self._stream.write(row("Type", "Time(%)", "Time", "Calls", "Avg", "Min", "Max", "Name"))
        for number, activity in enumerate(ordered):
            times = [_with_unit(ms) for ms in _times_ms(activity)]
            share_pct = f"{100 * activity.runs * sum(activity.ms) / total_ms:.2f}%"
            head = " GPU activities:" if number == 0 else ""
            calls = activity.runs * len(activity.ms)
            self._stream.write(row(head, share_pct, times[0], calls, *times[1:], activity.name))


def _times_ms(activity: Activity) -> tuple[float, float, float, float]:
    """All launches together, their mean, the shortest, the longest."""
    mean_ms = sum(activity.ms) / len(activity.ms)
    return activity.runs * sum(activity.ms), mean_ms, min(activity.ms), max(activity.ms)


def _with_unit(ms: float) -> str:
    for unit, size_ms, digits in (("s", 1000.0, 5), ("ms", 1.0, 4), ("us", 1e-3, 3)):
        if ms >= size_ms:
            return f"{ms / size_ms:.{digits}f}{unit}"
    return f"{ms / 1e-6:.0f}ns"
