"""The table of metrics: what each means and which counter of which tool tells it, the best first.

Units of readings are those that the readers give: ``%``, ``B/s`` and ``B`` (nvprof), ``byte/s``, ``byte`` and ``ns``
(ncu), none for ratios. Which GPU has which counter was looked up with ncu 2024.1 (``--query-metrics --chips``) for
gv100, gv11b, tu102, ga100, ga10b, ad102 and gh100: each has all, but gv11b (Xavier) and ga10b (Orin) no ``dram__``.
"""

from __future__ import annotations

from dataclasses import dataclass

NVPROF, NCU, LABEL = "nvprof", "ncu", "ncu's details page"
#: threads of a warp, and bytes of a sector
_PER_32 = 100 / 32
#: bytes that one wavefront of shared memory moves
_PER_128 = 100 / 128
_SECTOR = "smsp__sass_average_data_bytes_per_sector_mem_global_op"


@dataclass(frozen=True, kw_only=True)
class Source:
    """One counter that tells the metric, times ``scale``; ``unit`` where the name alone does not settle it."""

    metric: str
    tool: str
    scale: float = 1.0
    unit: str | None = None


@dataclass(frozen=True, kw_only=True)
class Quotient:
    """One counter over others, each to its power, times ``scale``: what a page holds that lacks the metric itself."""

    above: str
    below: tuple[str, ...]
    powers: tuple[int, ...] = (1,)
    tool: str = NCU
    scale: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One entry; ``description`` is the sentence that a report shows.

    ``zero_means`` is what 0 stands for where tools print it for kernels that have nothing to count; a counter among
    ``proofs`` above 0 tells that there was something. ``zero_everywhere`` says why a 0 of all kernels is none.
    """

    name: str
    unit: str
    description: str
    sources: tuple[Source | Quotient, ...]
    zero_means: str = ""
    proofs: tuple[str, ...] = ()
    zero_everywhere: str = ""


def _same(name: str, scale: float = 1.0, unit: str | None = None) -> Source:
    return Source(metric=name, tool=NVPROF, scale=scale, unit=unit)


def _ncu(name: str, scale: float = 1.0, unit: str | None = None) -> Source:
    return Source(metric=name, tool=NCU, scale=scale, unit=unit)


def _label(name: str, scale: float = 1.0, unit: str | None = None) -> Source:
    return Source(metric=name, tool=LABEL, scale=scale, unit=unit)


_NO_DRAM = "every kernel has 0: this GPU has no counters of DRAM (those of Jetsons have none), so it is unknown"


def _dram(way: str, verb: str) -> Metric:
    name = f"dram_{way}_throughput"
    return Metric(
        name=name,
        unit="GB/s",
        description=f"10^9 bytes {verb} the GPU's memory in each second of the kernel's time",
        sources=(
            _same(name, 1e-9, "B/s"),
            _ncu(f"dram__bytes_{way}.sum.per_second", 1e-9, "byte/s"),
            # bytes over ns are 10^9 bytes over seconds
            Quotient(above=f"dram__bytes_{way}.sum", below=("gpu__time_duration.sum",)),
        ),
        zero_everywhere=_NO_DRAM,
    )


def _coalescing(way: str, short: str, verb: str) -> Metric:
    name = f"g{short}_efficiency"
    return Metric(
        name=name,
        unit="%",
        description=f"bytes that global {way}s asked for, of the bytes {verb} for them: how well they coalesce",
        sources=(_same(name), _ncu(f"{_SECTOR}_{short}.pct"), _ncu(f"{_SECTOR}_{short}.ratio", _PER_32)),
        zero_means=f"no global {way}s",
        proofs=(
            f"g{short}_transactions",
            f"g{short}_requested_throughput",
            f"global_{way}_requests",
            f"inst_executed_global_{way}s",
            f"l1tex__t_requests_pipe_lsu_mem_global_op_{short}.sum",
            f"l1tex__t_sectors_pipe_lsu_mem_global_op_{short}.sum",
            f"smsp__inst_executed_op_global_{short}.sum",
        ),
    )


TABLE = (
    Metric(
        name="warp_execution_efficiency",
        unit="%",
        description="threads of a warp that are active, on average over executed instructions: 100 % is no divergence",
        # the guide's counter is the mean number of threads, 0 to 32
        sources=(
            _same("warp_execution_efficiency"),
            _ncu("smsp__thread_inst_executed_per_inst_executed.ratio", _PER_32),
            _ncu("smsp__thread_inst_executed_per_inst_executed.pct"),
            _label("Avg. Active Threads Per Warp", _PER_32),
            Quotient(above="smsp__thread_inst_executed.sum", below=("smsp__inst_executed.sum",), scale=_PER_32),
        ),
        # nvprof prints 0.00% for some kernels whose other counters are sound
        zero_means="no figure that can be, since a warp that runs has a thread",
    ),
    Metric(
        name="warp_nonpred_execution_efficiency",
        unit="%",
        description="threads of a warp that are active and not predicated off, on average over executed instructions",
        # the guide names smsp__thread_inst_executed_per_inst_executed.pct, which counts predicated-off threads too: in
        # one recording (sobelFloat, 2024.1) it is 99.6 %, and the counter of threads that are on 95.8 %
        sources=(
            _same("warp_nonpred_execution_efficiency"),
            _ncu("smsp__thread_inst_executed_pred_on_per_inst_executed.ratio", _PER_32),
            _ncu("smsp__thread_inst_executed_pred_on_per_inst_executed.pct"),
            _label("Avg. Not Predicated Off Threads Per Warp", _PER_32),
        ),
    ),
    Metric(
        name="branch_efficiency",
        unit="%",
        description="branches after which a warp's threads stay together, of all branches",
        sources=(
            _same("branch_efficiency"),
            _ncu("smsp__sass_average_branch_targets_threads_uniform.pct"),
            _label("Branch Efficiency"),
        ),
        # ncu prints 0 for a kernel of 196608 branches of which none diverges (addConstDouble, 2022.3)
        zero_means="no branch that could diverge",
        proofs=(
            "divergent_branch",
            "smsp__sass_branch_targets_threads_divergent.sum",
            "smsp__sass_branch_targets_threads_divergent.avg",
            "Avg. Divergent Branches",
        ),
    ),
    _coalescing("load", "ld", "fetched"),
    _coalescing("store", "st", "written"),
    Metric(
        name="shared_efficiency",
        unit="%",
        description="bytes that accesses to shared memory asked for, of what they could have moved",
        sources=(
            _same("shared_efficiency"),
            _ncu("smsp__sass_average_data_bytes_per_wavefront_mem_shared.pct"),
            _ncu("smsp__sass_average_data_bytes_per_wavefront_mem_shared.ratio", _PER_128),
        ),
        zero_means="no shared memory accesses",
        proofs=(
            "shared_load_transactions",
            "shared_store_transactions",
            "inst_executed_shared_loads",
            "inst_executed_shared_stores",
            "l1tex__data_pipe_lsu_wavefronts_mem_shared_op_ld.sum",
            "l1tex__data_pipe_lsu_wavefronts_mem_shared_op_st.sum",
            "smsp__inst_executed_op_shared_ld.sum",
            "smsp__inst_executed_op_shared_st.sum",
        ),
    ),
    Metric(
        name="sm_efficiency",
        unit="%",
        description="time in which a multiprocessor has at least one warp, on average over all of them",
        sources=(
            _same("sm_efficiency"),
            _ncu("smsp__cycles_active.avg.pct_of_peak_sustained_elapsed"),
            _ncu("sm__cycles_active.avg.pct_of_peak_sustained_elapsed"),
            Quotient(above="smsp__cycles_active.sum", below=("smsp__cycles_elapsed.sum",), scale=100.0),
            Quotient(above="sm__cycles_active.sum", below=("sm__cycles_elapsed.sum",), scale=100.0),
            # mean over multiprocessors, over their sum divided by their number
            Quotient(
                above="Average SM Active Cycles",
                below=("Total SM Elapsed Cycles", "# SMs"),
                powers=(1, -1),
                tool=LABEL,
                scale=100.0,
            ),
        ),
    ),
    Metric(
        name="achieved_occupancy",
        unit="%",
        description="warps in flight on a multiprocessor that has any, of the most that it could hold",
        # nvprof gives a fraction
        sources=(
            _same("achieved_occupancy", 100.0, ""),
            _same("achieved_occupancy", 1.0, "%"),
            _ncu("sm__warps_active.avg.pct_of_peak_sustained_active"),
            _label("Achieved Occupancy"),
        ),
    ),
    _dram("read", "read from"),
    _dram("write", "written to"),
    Metric(
        name="dram_utilization",
        unit="%",
        description="how busy the GPU's memory is, of its peak; nvprof gives steps of 10 %",
        # nvprof gives a level of 0 to 10
        sources=(
            _same("dram_utilization", 10.0, "level"),
            _ncu("dram__throughput.avg.pct_of_peak_sustained_elapsed"),
            _label("DRAM Throughput", 1.0, "%"),
        ),
        zero_everywhere=_NO_DRAM,
    ),
    Metric(
        name="flop_sp_efficiency",
        unit="%",
        description="single-precision operations, of what the GPU could do in the kernel's time",
        sources=(
            _same("flop_sp_efficiency"),
            _ncu("smsp__sass_thread_inst_executed_ops_fadd_fmul_ffma_pred_on.avg.pct_of_peak_sustained_elapsed"),
        ),
    ),
    Metric(
        name="tensor_precision_fu_utilization",
        unit="%",
        description="how busy the tensor cores are with half precision, of their peak; nvprof gives steps of 10 %",
        sources=(
            _same("tensor_precision_fu_utilization", 10.0, "level"),
            _ncu("sm__pipe_tensor_op_hmma_cycles_active.avg.pct_of_peak_sustained_active"),
        ),
    ),
)


def ncu_counters(*, dram: bool) -> tuple[str, ...]:
    """The counters to ask ncu for: each entry's first, the kernel's time, and accesses where 0 % may mean none.

    Args:
        dram: whether the GPU has counters of its memory; ncu fails where it is asked for some that do not exist.
    """
    wanted = dict.fromkeys(["gpu__time_duration.sum"])
    for metric in TABLE:
        first = next(one.metric for one in metric.sources if isinstance(one, Source) and one.tool == NCU)
        if dram or not first.startswith("dram__"):
            wanted.setdefault(first)
    return tuple(wanted)


def nvprof_metrics(*, dram: bool = True) -> tuple[str, ...]:
    """The metrics to ask nvprof for: each entry's own name."""
    return tuple(metric.name for metric in TABLE if dram or not metric.name.startswith("dram_"))
