"""What nvprof says went wrong, and what mends it.

Its exit code tells little: without a driver, or with a GPU that it does not support, 11.8 warns and ends with 0. The
texts are those inside nvprof 11.8 and its libcuinj64; older ones are the same but for the newest GPUs.
"""

from __future__ import annotations

import re

from espdeploy.profilers.failures import first_known, known
from espdeploy.profilers.values import ToolMessage

_MOST = 50
_LONGEST = 1000
_COUNTERS = "take times with nsys (espdeploy profile --tool nsys) and counters with ncu (espdeploy profile --tool ncu)"
_NO_KERNELS = (
    "profile the process that uses the GPU: nvprof --profile-child-processes where a script starts it, and no"
    " --profile-from-start off unless it calls cudaProfilerStart; let it end by itself"
)


_FAILURES = (
    known(
        r"ERR_NVGPUCTRPERM|does not have permission to profile",
        "no_permission",
        "run the same command with sudo, or let every user read the counters: write"
        ' "options nvidia NVreg_RestrictProfilingToAdminUsers=0" to /etc/modprobe.d/nvidia-profiling.conf and reboot;'
        " a container needs --cap-add=SYS_ADMIN",
    ),
    known(
        r"not supported on devices with compute capability 8\.0|doesn't support the underlying device",
        "unsupported_gpu",
        f"nvprof ends at compute capability 7.5: {_COUNTERS}",
    ),
    known(
        r"profiling is not supported on devices with compute capability 7\.5",
        "unsupported_counters",
        "nvprof reads no counters on this GPU: take them with ncu (espdeploy profile --tool ncu);"
        " times without --metrics still work",
    ),
    known(
        r"not supported on the virtualized GPU|Crypto Mining Processors",
        "unsupported_gpu",
        "profile on a GPU of the same compute capability that is neither virtual nor a mining card",
    ),
    known(
        r"unable to locate cuda driver library|nvidia driver is properly installed|incompatible CUDA driver version",
        "no_driver",
        "check that nvidia-smi (on a Jetson: tegrastats) sees the GPU, install or update its driver, and run in a"
        " container with --gpus all (on a Jetson: --runtime nvidia)",
    ),
    known(
        r"unable to locate profiling library|CUDA toolkit is properly installed",
        "incomplete_installation",
        "install the CUDA toolkit's profiler whole (libcuinj64 belongs to it) and of the release that nvprof is of",
    ),
    known(
        r"(?i:application).* received a? ?signal",
        "application_killed",
        "run the application without nvprof to see whether it ends; signal 9 is most often the lack of memory"
        " (dmesg tells), for which fewer inferences and --kernels help",
    ),
    known(
        r"Application returned non-zero code",
        "application_failed",
        "run the application without nvprof and mend what it reports; figures up to there may be incomplete",
    ),
    known(
        r"application not found|application \(file\) type is not supported|no application specified",
        "no_application",
        "give the program with its path, and put an interpreter before a script (nvprof python3 script.py)",
    ),
    known(
        r"profile is invalid or incomplete|Unable to import nvprof generated profile",
        "invalid_profile",
        "record again and let the application end by itself (cudaDeviceReset, or cudaProfilerStop, writes what is"
        " left); read a recording with the nvprof that wrote it, or a newer one",
    ),
    known(r"No profile data collected|No CUDA application was profiled", "no_data", _NO_KERNELS),
    known(
        r"invalid timestamps due to insufficient device buffer space",
        "records_lost",
        "repeat with a greater --device-buffer-size (MB; 8 unless set), or profile fewer inferences",
    ),
    known(
        r"invalid timestamps due to insufficient semaphore pool",
        "records_lost",
        "repeat with a greater --profiling-semaphore-pool-size (65536 unless set), or profile fewer inferences",
    ),
    known(
        r"invalid records in the result",
        "records_lost",
        "repeat with fewer inferences: the GPU ran out of memory, or a kernel stopped at an assertion",
    ),
    known(
        r"metrics overflowed|event counters overflowed",
        "counter_overflow",
        "repeat with --print-gpu-trace, which shows each launch, or with --kernels for fewer launches",
    ),
    known(
        r"can't be profiled|metrics couldn't be profiled|No events/metrics were profiled|can't be associated with any",
        "counters_missing",
        "ask for fewer metrics at a time, with --replay-mode kernel, and see nvprof --query-metrics",
    ),
    known(
        r"(?:Metric|Event) \".*\" cannot be found",
        "unknown_metric",
        "leave it out: nvprof --query-metrics lists what this GPU has",
    ),
    known(
        r"[Uu]nified memory profiling failed",
        "unified_memory",
        "repeat with --unified-memory-profiling off",
    ),
    known(
        r"failed to create file|can't open log file|failed to access (?:file|tmp)|file I/O failed",
        "file_refused",
        "name a writable file in --log-file, and a writable folder in TMPDIR",
    ),
    known(
        r"CUDA profiling error|CUDA device error|failed to communicate with application",
        "gpu_failed",
        "run the application without nvprof; if it ends well there, repeat with fewer metrics, with"
        " --concurrent-kernels off, and with no other profiler at the GPU",
    ),
    known(
        r"^internal error",
        "internal_error",
        "check that nvidia-smi (on a Jetson: tegrastats) sees the GPU: nvprof says this when asked for metrics without"
        " a driver; else repeat without --metrics to see which part fails",
    ),
    known(
        r"[Ii]nvalid option|Missing argument for option",
        "invalid_option",
        "leave that option out: nvprof --help lists what this release knows",
    ),
)
_REPLAYED = re.compile(r"Some kernel\(s\) will be replayed")
_UNMARKED = (
    "No kernels were profiled.",
    "No CUDA application was profiled, exiting",
    "No events/metrics were profiled.",
)
_GENERAL = "run the application without nvprof to see whether it ends well, then nvprof without options before it"


def failure(text: str) -> ToolMessage | None:
    """The failure that a text tells of, if it is a known one."""
    return first_known(_FAILURES, text[:_LONGEST])


class Messages:
    """Takes what nvprof says; has the errors and notes that come of it."""

    def __init__(self) -> None:
        self.errors: list[ToolMessage] = []
        self.notes: list[str] = []
        self._without_kernels = False

    def take(self, said: str) -> bool:
        """Whether a marked text is a message; anything else that nvprof marks is a title."""
        kind, colon, text = said.partition(": ")
        if _REPLAYED.search(said):
            self._note("kernels were replayed to read counters: times of this run are no measure of speed")
            return True
        if not colon or kind not in ("Warning", "Error"):
            known = failure(said) if said[:1].isalpha() else None
            return known is not None and self._error(known)
        known = failure(text)
        if known is not None:
            return self._error(known)
        if kind == "Error":
            return self._error(ToolMessage(code="nvprof_error", text=text[:_LONGEST], do=_GENERAL))
        return self._note(text[:_LONGEST])

    def take_unmarked(self, line: str) -> bool:
        """Whether a line without a mark is one of nvprof's messages all the same."""
        text = line.strip()
        if text not in _UNMARKED:
            return False
        self._without_kernels |= text == _UNMARKED[0]
        known = failure(text)
        return known is None or self._error(known)

    def finish(self, *, kernels: bool) -> tuple[ToolMessage, ...]:
        """The errors; a run without kernels is one where none of the others in the file had any."""
        if self._without_kernels and not kernels:
            self._error(ToolMessage(code="no_kernels", text=_UNMARKED[0], do=_NO_KERNELS))
        return tuple(self.errors)

    def _error(self, message: ToolMessage) -> bool:
        told = {(one.code, one.do) for one in self.errors}
        if (message.code, message.do) not in told and len(self.errors) < _MOST:
            self.errors.append(message)
        return True

    def _note(self, text: str) -> bool:
        if text not in self.notes and len(self.notes) < _MOST:
            self.notes.append(text)
        return True
