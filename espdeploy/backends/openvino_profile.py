"""How long each node of a graph takes in OpenVINO's CPU plug-in.

Source: OpenVINO's Python API (``PERF_COUNT``, ``InferRequest.get_profiling_info``, ``CompiledModel.get_runtime_model``)
and its CPU plug-in's ``PerfCount``, which gives the mean over all inferences since the model was compiled.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espdeploy.backends.kernel_times import Kernel, NodeNames, by_node
from espdeploy.backends.openvino import core
from espdeploy.errors import ToolFailed, UsageError

if TYPE_CHECKING:
    from espdeploy.protocols import Tensor

_HINTS = {"fp32": "f32", "bf16": "bf16"}
_WARMUP_RUNS, _BLOCKS, _BLOCK_RUNS = 4, 6, 4
_REORDER = "Reorder"


def node_times_ms(path: Path, feed: Mapping[str, Tensor], *, precision: str = "fp32", threads: int) -> dict[str, float]:
    """Milliseconds per node of the ONNX file, by its name (:func:`espdeploy.backends.kernel_times.by_node`).

    The median over six blocks of four inferences each, after four more.

    Args:
        path: a graph in floating point, or with Q/DQ pairs.
        feed: the inputs by name.
        precision: what is not quantized computes in it: fp32 or bf16.
        threads: of the CPU.

    Raises:
        UsageError: another precision.
        ToolFailed: OpenVINO does not read, compile or run the graph.
    """
    if precision not in _HINTS:
        raise UsageError(f"openvino on the CPU runs {', '.join(_HINTS)}, not {precision}")
    config = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": str(threads),
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "PERF_COUNT": "YES",
    }
    try:
        compiled = core().compile_model(str(path), "CPU", config)
        times_ms = _kernel_times_ms(compiled.create_infer_request(), dict(feed))
    except RuntimeError as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise ToolFailed(f"openvino cannot profile {path}", why=why) from error
    return by_node(_kernels(compiled, times_ms), NodeNames(path))


def _kernel_times_ms(request: Any, feed: Mapping[str, Tensor]) -> dict[str, float]:
    """The median over blocks of inferences: sums over all runs so far, less what they were before the block."""
    sums_us = _sums_us(request, feed, runs=_WARMUP_RUNS, total=_WARMUP_RUNS)
    blocks: dict[str, list[float]] = {name: [] for name in sums_us}
    for block in range(1, _BLOCKS + 1):
        after_us = _sums_us(request, feed, runs=_BLOCK_RUNS, total=_WARMUP_RUNS + block * _BLOCK_RUNS)
        for name, values in blocks.items():
            values.append((after_us[name] - sums_us[name]) / _BLOCK_RUNS / 1000)
        sums_us = after_us
    return {name: max(statistics.median(values), 0.0) for name, values in blocks.items()}


def _sums_us(request: Any, feed: Mapping[str, Tensor], *, runs: int, total: int) -> dict[str, float]:
    for _ in range(runs):
        request.infer(dict(feed), share_inputs=True)
    return {item.node_name: item.real_time.total_seconds() * 1e6 * total for item in request.get_profiling_info()}


def _kernels(compiled: Any, times_ms: Mapping[str, float]) -> list[Kernel]:
    """What the plug-in executes, with the layers that each of its nodes was made of."""
    kernels = []
    for node in compiled.get_runtime_model().get_ordered_ops():
        info = node.get_rt_info()
        made_of = str(info["originalLayersNames"].value) if "originalLayersNames" in info else ""
        name = node.get_friendly_name()
        kernels.append(
            Kernel(
                name=name,
                made_of=tuple(part for part in made_of.split(",") if part),
                reads=tuple(value.get_node().get_friendly_name() for value in node.input_values()),
                time_ms=times_ms.get(name, 0.0),
                prepares=str(info["layerType"].value) == _REORDER,
            )
        )
    return kernels
