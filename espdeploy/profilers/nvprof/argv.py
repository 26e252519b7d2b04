"""Commands that make nvprof print what ``document.parse`` reads: a summary, a trace, or metrics.

Metrics make nvprof run each kernel again and again, so they belong in a run of their own. Source: ``nvprof --help`` of
11.8 and the Profiler User's Guide, "Profiling Scope".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from espdeploy.errors import UsageError
from espdeploy.profilers.names import own_word

#: what the ESPNet paper reports (section 4.1), with the throughputs that a roofline needs
PAPER_METRICS = (
    "warp_execution_efficiency",
    "gld_efficiency",
    "gst_efficiency",
    "shared_efficiency",
    "sm_efficiency",
    "achieved_occupancy",
    "dram_read_throughput",
    "dram_write_throughput",
)
_METRIC = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")


@dataclass(frozen=True, kw_only=True)
class NvprofPlan:
    """One run of an application below nvprof.

    Attributes:
        application: its command; a script needs its interpreter before it.
        log: where nvprof writes; a file for each process where ``child_processes`` is set.
        metrics: what to count; none for a summary.
        kernels: those to count for, by name as the summary prints them; none for all. They need metrics.
        trace: one row for each launch instead of a summary.
        from_start: False where the application says itself when to begin (cudaProfilerStart).
        child_processes: also what the application starts.
        unified_memory: False where its counters fail, as they do on some boards and multi-GPU hosts.
        timeout_s: end the application that long after its first CUDA call.
    """

    application: tuple[str, ...]
    log: Path
    metrics: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()
    trace: bool = False
    from_start: bool = True
    child_processes: bool = False
    unified_memory: bool = True
    timeout_s: int | None = None


def command(plan: NvprofPlan, *, program: str = "nvprof") -> tuple[str, ...]:
    """The whole command.

    Raises:
        UsageError: there is no application, kernels are named without metrics, or a metric's name is none.
    """
    _check(plan)
    options = ["--csv", "--log-file", _log(plan)]
    if plan.trace:
        options.append("--print-gpu-trace")
    if not plan.from_start:
        options += ["--profile-from-start", "off"]
    if plan.child_processes:
        options.append("--profile-child-processes")
    if not plan.unified_memory:
        options += ["--unified-memory-profiling", "off"]
    if plan.timeout_s is not None:
        options += ["--timeout", str(plan.timeout_s)]
    if plan.kernels:  # the scope counts for what follows it
        options += ["--kernels", kernel_scope(plan.kernels)]
    if plan.metrics:
        options += ["--metrics", ",".join(dict.fromkeys(plan.metrics))]
    return (program, *options, *plan.application)


def log_files(plan: NvprofPlan) -> list[Path]:
    """The files that a run left, by process; they lie there only once it is over."""
    if not plan.child_processes:
        return [plan.log] if plan.log.is_file() else []
    log = plan.log
    own = re.compile(rf"{re.escape(log.stem)}\.\d+{re.escape(log.suffix)}")
    return sorted(path for path in log.parent.glob("*") if own.fullmatch(path.name))


def kernel_scope(kernels: tuple[str, ...]) -> str:
    """What ``--kernels`` takes: ``context:stream:name:launch``, here the name alone, as a regular expression.

    A colon would part the fields, and releases print template arguments differently, so a kernel is told by its own
    name: ``void ns::gemm<float, int=4>(float const *)`` by ``gemm``, and with it all its instantiations.
    """
    words = dict.fromkeys(own_word(kernel) for kernel in kernels)
    return f"::({'|'.join(words)}):"


def _log(plan: NvprofPlan) -> str:
    log = plan.log
    name = str(log.with_suffix("")).replace("%", "%%")
    process = ".%p" if plan.child_processes else ""
    return f"{name}{process}{log.suffix.replace('%', '%%')}"


def _check(plan: NvprofPlan) -> None:
    if not plan.application:
        raise UsageError(
            "there is nothing to profile", why="no application is named", do="name the command to run below nvprof"
        )
    wrong = next((metric for metric in plan.metrics if not _METRIC.fullmatch(metric)), None)
    if wrong is not None:
        raise UsageError(
            f"{wrong!r} is no metric of nvprof's",
            why="metrics are plain words, such as gld_efficiency",
            do="see nvprof --query-metrics",
        )
    if plan.kernels and not plan.metrics:
        raise UsageError(
            "kernels are named, but no metrics",
            why="nvprof times all kernels; --kernels is the scope of metrics",
            do="name metrics too, or no kernels",
        )
