"""The layers of every network on the stand-in, the kernels behind them, and what nvprof would count of each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tx2_physics import CYCLES_SHARE, FIXED_SHARE, Network


@dataclass(frozen=True, kw_only=True)
class Layer:
    """Its shares of the network's fixed time and of its cycles; ``counters`` are of its kernel, as nvprof has them."""

    name: str
    kind: str
    kernel: str
    fixed: float
    cycles: float
    counters: dict[str, float]

    def ms(self, network: Network, mhz: float, precision: str) -> float:
        fixed_ms = network.fixed_ms * FIXED_SHARE[precision] * self.fixed
        return fixed_ms + 1000 * network.cycles_m * CYCLES_SHARE[precision] * self.cycles / mhz


def _counters(warp: float, loads: float, stores: float, shared: float, occupancy: float) -> dict[str, float]:
    return {
        "warp_execution_efficiency": warp,
        "warp_nonpred_execution_efficiency": 0.94 * warp,
        "gld_efficiency": loads,
        "gst_efficiency": stores,
        "shared_efficiency": shared,
        "achieved_occupancy": occupancy,
        "sm_efficiency": 97.5,
        "branch_efficiency": 100.0,
        "ipc": 1.75,
        "dram_read_throughput": 9.5,
        "dram_write_throughput": 4.25,
        "flop_count_sp": 123_456_789,
    }


LAYERS = (
    Layer(
        name="Reformatting CopyNode for Input Tensor 0 to level1 + act",
        kind="Reformat",
        kernel=(
            "void cuInt8::nchwToNcqhw4<float>(float const *, unsigned int*, int, int, int, int, int, int, "
            "cuInt8::ReducedDivisorParameters)"
        ),
        fixed=0.15,
        cycles=0.02,
        counters=_counters(98.5, 62.5, 100.0, 0.0, 0.84375),
    ),
    Layer(
        name="level1 + act",
        kind="CaskConvolution",
        kernel="trt_maxwell_scudnn_128x64_relu_medium_nn_v1",
        fixed=0.20,
        cycles=0.43,
        counters=_counters(100.0, 87.5, 93.75, 71.25, 0.3125),
    ),
    Layer(
        name="PWN(level2_prelu, add [1])",
        kind="PointWiseV2",
        kernel="generatedNativePointwise",
        fixed=0.40,
        cycles=0.05,
        counters=_counters(99.25, 100.0, 100.0, 0.0, 0.90625),
    ),
    Layer(
        name="{ForeignNode[up_1...up_2]}",
        kind="CaskDeconvolution",
        kernel="trt_maxwell_scudnn_128x32_relu_interior_nn_v1",
        fixed=0.10,
        cycles=0.27,
        counters=_counters(100.0, 75.0, 81.25, 66.5, 0.28125),
    ),
    Layer(
        name="classifier",
        kind="CaskConvolution",
        kernel="trt_maxwell_scudnn_128x64_relu_medium_nn_v1",
        fixed=0.15,
        cycles=0.23,
        counters=_counters(96.0, 81.25, 100.0, 70.0, 0.40625),
    ),
)

#: what each counter is called in nvprof's own words, and how its value is written
COUNTERS = {
    "warp_execution_efficiency": ("Warp Execution Efficiency", "{:.6f}%"),
    "warp_nonpred_execution_efficiency": ("Warp Non-Predicated Execution Efficiency", "{:.6f}%"),
    "gld_efficiency": ("Global Memory Load Efficiency", "{:.6f}%"),
    "gst_efficiency": ("Global Memory Store Efficiency", "{:.6f}%"),
    "shared_efficiency": ("Shared Memory Efficiency", "{:.6f}%"),
    "achieved_occupancy": ("Achieved Occupancy", "{:.6f}"),
    "sm_efficiency": ("Multiprocessor Activity", "{:.6f}%"),
    "branch_efficiency": ("Branch Efficiency", "{:.6f}%"),
    "ipc": ("Executed IPC", "{:.6f}"),
    "dram_read_throughput": ("Device Memory Read Throughput", "{:.6f}GB/s"),
    "dram_write_throughput": ("Device Memory Write Throughput", "{:.6f}GB/s"),
    "flop_count_sp": ("Floating Point Operations(Single Precision)", "{:.0f}"),
}


@dataclass(frozen=True, kw_only=True)
class Activity:
    """A kernel's launches, or copies of one kind: each of one inference takes so long, and there were ``runs``."""

    name: str
    ms: tuple[float, ...]
    runs: int


def hand_over(path: Path, layers: Sequence[tuple[str, str, float]], runs: int, *, transfers: bool) -> None:
    """For nvprof: the kernels of so many inferences, those of one name together, and the copies."""
    of_kernel: dict[str, list[float]] = {}
    for layer, (_, _, ms) in zip(LAYERS, layers, strict=True):
        of_kernel.setdefault(layer.kernel, []).append(ms)
    found = [{"name": name, "ms": ms, "runs": runs} for name, ms in of_kernel.items()]
    if transfers:
        found.append({"name": "[CUDA memcpy HtoD]", "ms": [0.21], "runs": runs})
        found.append({"name": "[CUDA memcpy DtoH]", "ms": [0.10], "runs": runs})
    path.write_text(json.dumps(found))


def handed_over(path: Path) -> list[Activity]:
    """What the application left; nothing where it ran no kernels."""
    if not path.is_file():
        return []
    return [
        Activity(name=item["name"], ms=tuple(item["ms"]), runs=item["runs"]) for item in json.loads(path.read_text())
    ]


def counter(kernel: str, metric: str) -> tuple[float, float, float]:
    """Smallest, largest and mean value of a metric over a kernel's launches: each layer is launched as often."""
    values = [layer.counters[metric] for layer in LAYERS if layer.kernel == kernel]
    return min(values), max(values), sum(values) / len(values)
