"""Commands that make Nsight Systems record a run, export the recording, and sum it up. Options as of 2022.4.

Counters of the processor are left out: they need rights that containers and Jetsons do not give, and cost time. Nodes
of CUDA graphs are asked for one by one: from driver 11.7 on graphs would be recorded as a whole, without their kernels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

#: set for every command: text tables follow the locale, and lose decimals under some
ENVIRONMENT: Mapping[str, str] = {"LC_ALL": "C"}
#: the release that renamed all reports
_RENAMED = (2023, 1)
_REPORTS = {
    "kernels": ("gpukernsum", "cuda_gpu_kern_sum"),
    "memory-time": ("gpumemtimesum", "cuda_gpu_mem_time_sum"),
    "memory-size": ("gpumemsizesum", "cuda_gpu_mem_size_sum"),
    "calls": ("cudaapisum", "cuda_api_sum"),
    "ranges": ("nvtxsum", "nvtx_sum"),
    "trace": ("gputrace", "cuda_gpu_trace"),
}


@dataclass(frozen=True, kw_only=True)
class RecordPlan:
    """A run to record.

    Args:
        program: the command whose GPU work is recorded.
        output: the report, without its ending; nsys adds ``.nsys-rep``.
        nsys: the tool, as it is called.
        trace: what is recorded.
        graph_nodes: whether CUDA graphs are recorded kernel by kernel.
        export: whether the SQLite export is made at once, as ``output`` with ``.sqlite``.
        stats: whether the default summaries are printed at once.
    """

    program: tuple[str, ...]
    output: Path
    nsys: str = "nsys"
    trace: tuple[str, ...] = ("cuda", "nvtx")
    graph_nodes: bool = True
    export: bool = True
    stats: bool = False


@dataclass(frozen=True, kw_only=True)
class StatsPlan:
    """Summaries of a recording, as CSV on standard output.

    Args:
        recording: a ``.nsys-rep`` or ``.sqlite`` file.
        reports: of ``kernels``, ``memory-time``, ``memory-size``, ``calls``, ``ranges`` and ``trace``.
        version: of the tool, since reports were renamed in 2023.1.
        nsys: the tool, as it is called.
    """

    recording: Path
    version: tuple[int, ...]
    reports: tuple[str, ...] = ("kernels", "memory-time", "memory-size", "calls", "ranges")
    nsys: str = "nsys"


def record_argv(plan: RecordPlan) -> tuple[str, ...]:
    """``nsys profile`` before the program."""
    return (
        plan.nsys,
        "profile",
        f"--trace={','.join(plan.trace)}",
        "--sample=none",
        "--cpuctxsw=none",
        *(("--cuda-graph-trace=node",) if plan.graph_nodes else ()),
        *(("--export=sqlite",) if plan.export else ()),
        f"--stats={'true' if plan.stats else 'false'}",
        "--force-overwrite=true",
        f"--output={plan.output}",
        *plan.program,
    )


def export_argv(recording: Path, output: Path, *, nsys: str = "nsys") -> tuple[str, ...]:
    """``nsys export`` of a recording to SQLite."""
    return (nsys, "export", "--type=sqlite", "--force-overwrite=true", f"--output={output}", str(recording))


def stats_argv(plan: StatsPlan) -> tuple[str, ...]:
    """``nsys stats`` for each report, by the name that this release knows it."""
    renamed = plan.version[:2] >= _RENAMED
    reports = ",".join(_REPORTS[report][renamed] for report in plan.reports)
    return (plan.nsys, "stats", f"--report={reports}", "--format=csv", str(plan.recording))
