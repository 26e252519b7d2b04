"""Names in nvprof's tables: what is a kernel, what a copy, and which device."""

from __future__ import annotations

import re

_DEVICE = re.compile(r" \(\d{1,3}\)$")
_LAUNCH = re.compile(r" \[\d{1,19}\]$")
UNIFIED = {
    "Host To Device": "unified HtoD",
    "Device To Host": "unified DtoH",
    "Transfers to Device": "unified HtoD",
    "Transfers from Device": "unified DtoH",
}
#: metrics by their descriptions: releases before 8 print these above the columns of a trace. Read off metric tables.
_METRICS = {
    "Achieved Occupancy": "achieved_occupancy",
    "Arithmetic Function Unit Utilization": "alu_fu_utilization",
    "Branch Efficiency": "branch_efficiency",
    "Device Memory Read Throughput": "dram_read_throughput",
    "Device Memory Read Transactions": "dram_read_transactions",
    "Device Memory Utilization": "dram_utilization",
    "Device Memory Write Throughput": "dram_write_throughput",
    "Device Memory Write Transactions": "dram_write_transactions",
    "Executed IPC": "ipc",
    "Global Load Throughput": "gld_throughput",
    "Global Memory Load Efficiency": "gld_efficiency",
    "Global Memory Store Efficiency": "gst_efficiency",
    "Global Store Throughput": "gst_throughput",
    "L2 Cache Utilization": "l2_utilization",
    "Multiprocessor Activity": "sm_efficiency",
    "Shared Memory Efficiency": "shared_efficiency",
    "Warp Execution Efficiency": "warp_execution_efficiency",
    "Warp Non-Predicated Execution Efficiency": "warp_nonpred_execution_efficiency",
}


def device(text: str) -> str:
    """A device without its index: ``Tesla K20c (0)`` becomes ``Tesla K20c``."""
    return _DEVICE.sub("", text.strip())


def is_memory(name: str) -> bool:
    """Whether a row of a summary or trace is of a copy, or of memory set to a value."""
    return name.startswith(("[CUDA memcpy", "[CUDA memset", "[Unified Memory Memcpy"))


def memory(name: str) -> str:
    """``HtoD`` for ``[CUDA memcpy HtoD]``, ``memset``, ``unified DtoH`` for ``[Unified Memory Memcpy DtoH]``."""
    if name in UNIFIED:
        return UNIFIED[name]
    short = name.strip("[]").replace("CUDA ", "", 1).replace("Unified Memory Memcpy", "unified", 1)
    return short.removeprefix("memcpy ")


def without_launch(name: str) -> str:
    """A kernel without the number of its launch, which traces append: ``name(int) [121]``."""
    return _LAUNCH.sub("", name.rstrip())


def metric(title: str) -> str:
    """The metric that a column of a trace is of: its name, or the description as older releases print it."""
    return _METRICS.get(title, title)
