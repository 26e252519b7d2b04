"""What ncu says went wrong, and what mends it.

Texts are those inside ncu 2020.3, 2022.3 and 2024.1 and of reports in public issues. Its exit code tells little: a run
in which no kernel could be profiled may end with the program's own.
"""

from __future__ import annotations

import re

from espdeploy.profilers.failures import first_known, known
from espdeploy.profilers.values import ToolMessage

_MOST, _LONGEST = 50, 1000
_MARK = re.compile(r"==(?P<kind>PROF|WARNING|ERROR|INFO)== ?(?P<text>.*)")
_NAMED = re.compile(r'Profiling "(?P<kernel>.*)"(?: - \d+)?(?: \(\d+/\d+\))?: ')
_PASSES = re.compile(r" - (?P<passes>\d{1,4}) pass")
_TIMES = "take times with nsys (espdeploy profile --tool nsys)"


_FAILURES = (
    known(
        r"ERR_NVGPUCTRPERM|does not have permission to (?:access|profile)",
        "no_permission",
        "run the same command with sudo and absolute paths, or let every user read the counters: write"
        ' "options nvidia NVreg_RestrictProfilingToAdminUsers=0" to /etc/modprobe.d/nvidia-profiling.conf on the host'
        " and reboot it; a container needs --cap-add=SYS_ADMIN",
    ),
    known(
        r"ERR_NVCMPGPU|Crypto Mining|active SLI group|Subsystem for Linux"
        r"|onfidential computing|rotected memory mode",
        "unsupported_gpu",
        f"profile on a GPU, and in a mode, that NVIDIA lets profilers into; {_TIMES}",
    ),
    known(
        r"Profiling is not supported on (?:this device|device \d+)|GPU is not supported|device is not supported",
        "unsupported_gpu",
        "up to compute capability 7.2 read counters with nvprof (espdeploy profile --tool nvprof), for a newer GPU"
        " install a newer Nsight Compute: ncu --list-chips tells what this one knows",
    ),
    known(
        r"driver resource was unavailable|concurrently collecting profiling data|Error in trying to lock file",
        "driver_busy",
        "stop what else reads this GPU's counters: DCGM (dcgmi profile --pause), another ncu, nsys with --gpu-metrics,"
        " and then repeat",
    ),
    known(
        r"driver is not compatible|failed to connect to the CUDA driver|Insufficient driver version"
        r"|Failed to load the driver|driver version is insufficient",
        "no_driver",
        "check that nvidia-smi (on a Jetson: tegrastats) sees the GPU and that its driver is not older than this"
        " Nsight Compute; a container needs --gpus all (on a Jetson: --runtime nvidia)",
    ),
    known(
        r"No (?:kernels|ranges|\w+) were profiled",
        "no_kernels",
        "profile the process that uses the GPU: --target-processes all where a script starts it, a --kernel-name that"
        " fits, and no --profile-from-start off unless the program calls cudaProfilerStart",
    ),
    known(
        r"terminated before first instrumented API call|No attachable process",
        "no_kernels",
        "run the program without ncu to see that it uses the GPU; a static CUDA runtime before 10.0 cannot be profiled",
    ),
    known(
        r"LaunchFailed|Unknown ?Error|Failed to profile|Failed to prepare kernel|LaunchTimeout|IllegalAddress",
        "gpu_failed",
        "run the program without ncu and under compute-sanitizer; if both end well, ask for fewer metrics, or use"
        " --replay-mode application",
    ),
    known(
        r"OutOfMemory|[Oo]ut of memory|not enough memory",
        "out_of_memory",
        "repeat with --replay-mode application, which keeps no copy of the GPU's memory, or with a smaller batch",
    ),
    known(
        r"Failed to find metric|No metrics to collect"
        r"|[Mm]etric .*(?:not found|not supported|cannot be collected|does not exist)",
        "unknown_metric",
        "leave it out: ncu --query-metrics lists what this GPU has; GPUs of Jetsons have no dram__ counters",
    ),
    known(
        r"application returned an error code",
        "application_failed",
        "run the program without ncu and mend what it reports; the launches up to there may be incomplete",
    ),
    known(
        r"Received signal|terminate.? (?:by|with) signal",
        "application_killed",
        "let the program end by itself: fewer inferences, --launch-count and --kernel-name bound the time",
    ),
    known(
        r"Missing executable|not an executable binary|appears to be a shell script"
        r"|Launching the target application failed",
        "no_application",
        "give the program with its path, and put an interpreter before a script, with --target-processes all",
    ),
    known(
        r"No space left on device",
        "disk_full",
        "free space where the log and TMPDIR are, or name others: espdeploy profile -o DIR, TMPDIR=DIR",
    ),
    known(
        r"Failed to create temporary file|access the temporary directory"
        r"|Failed to save the report|Could not open report",
        "file_refused",
        "name a writable folder in TMPDIR and a writable file in --export or --log-file, with --force-overwrite",
    ),
    known(
        r"Failed to load report file|report file is invalid|Report file is invalid",
        "invalid_profile",
        "record again, or read the report with the ncu that wrote it or a newer one",
    ),
    known(
        r"Failed to connect to (?:process|host)|Failed to start (?:the profiler|comm)|Failed to create profiling",
        "internal_error",
        "repeat with another --port, a writable TMPDIR and no second ncu on this machine",
    ),
    known(
        r"[Uu]nrecognised option|[Uu]nrecognized option|Failed to parse options|required argument",
        "invalid_option",
        "leave that option out: ncu --help lists what this release knows",
    ),
)
#: what follows from another error and tells nothing of its own, and headings of what stands in the next line
_GENERAL = re.compile(r"An error occurred while trying to profile|An error was reported by")
_CLOCKS = re.compile(r"unmodified GPU clocks")
_DO = "run the program without ncu to see whether it ends well, then ncu without options before it"


class Messages:
    """Takes what ncu says; has the errors and notes that come of it."""

    def __init__(self) -> None:
        self.errors: list[ToolMessage] = []
        self.notes: list[str] = []
        self.marked = False
        #: launches that ncu said it was profiling, and the most replays that one needed
        self.profiled = 0
        self.passes = 0
        self.free_clocks = False
        self._general = ""

    def take(self, line: str) -> bool:
        """Whether a line holds a message of ncu; it shares its channel, so a program's text may stand before."""
        match = _MARK.search(line) if "== " in line or line.endswith("==") else None
        if match is None:
            passes = _PASSES.search(line) if "%...." in line else None
            self._count(passes)
            return passes is not None
        self.marked = True
        text = match["text"].strip()[:_LONGEST]
        if _CLOCKS.search(text):
            self.free_clocks = True
        elif match["kind"] == "PROF":
            self._progress(text)
        elif match["kind"] == "ERROR" or first_known(_FAILURES, text):
            self._fail(text)
        elif match["kind"] == "WARNING":
            self._note(text)
        return True

    def finish(self, *, launches: int) -> tuple[ToolMessage, ...]:
        """The errors; a run that says that it profiled nothing, or a general error alone, is one too."""
        if self._general and not self.errors:
            self._add(ToolMessage(code="ncu_error", text=self._general, do=_DO))
        if self.profiled > launches and not self.errors:
            self._note(f"ncu profiled {self.profiled} launches, of which the file holds {launches}")
        return tuple(self.errors)

    def _progress(self, text: str) -> None:
        self.profiled += bool(_NAMED.match(text))
        self._count(_PASSES.search(text))
        if "Received signal" in text:
            self._fail(text)

    def _count(self, match: re.Match[str] | None) -> None:
        self.passes = max(self.passes, int(match["passes"]) if match else 0)

    def _fail(self, text: str) -> None:
        if _GENERAL.search(text):
            self._general = self._general or text
            return
        found = first_known(_FAILURES, text)
        self._add(found or ToolMessage(code="ncu_error", text=text, do=_DO))

    def _add(self, message: ToolMessage) -> None:
        told = {(one.code, one.do) if one.code != "ncu_error" else (one.code, one.text) for one in self.errors}
        key = (message.code, message.do if message.code != "ncu_error" else message.text)
        if key not in told and len(self.errors) < _MOST:
            self.errors.append(message)

    def _note(self, text: str) -> None:
        if text and text not in self.notes and len(self.notes) < _MOST:
            self.notes.append(text)


def is_marked(line: str) -> bool:
    """Whether a line holds one of ncu's marks."""
    return _MARK.search(line) is not None
