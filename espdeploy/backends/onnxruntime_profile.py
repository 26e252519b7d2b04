"""How long each node of a graph takes in ONNX Runtime on the CPU.

Source: ONNX Runtime's documentation of its profiler (``SessionOptions.enable_profiling``) and of its graph
optimisations; the optimised graph is written out (``optimized_model_filepath``) to see what serves whom.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espdeploy import lazy
from espdeploy.backends.kernel_times import HEAVY, Kernel, NodeNames, by_node
from espdeploy.errors import ToolFailed, UsageError

if TYPE_CHECKING:
    from espdeploy.protocols import Tensor

_WARMUP_RUNS, _RUNS = 4, 16
_KERNEL = "_kernel_time"
_FATAL_ONLY = 4
#: its own forms of convolutions and matrix products
_OWN_HEAVY = ("FusedConv", "NhwcFusedConv", "QLinearConv", "FusedGemm", "FusedMatMul", "QLinearMatMul", "QGemm")
#: nodes of its own that bring a tensor into the form that the next one wants
_PREPARING = ("ReorderInput", "QuantizeLinear", "Cast")


def node_times_ms(path: Path, feed: Mapping[str, Tensor], *, precision: str = "fp32", threads: int) -> dict[str, float]:
    """Milliseconds per node of the ONNX file, by its name (:func:`espdeploy.backends.kernel_times.by_node`).

    The median over sixteen inferences, after four more.

    Args:
        path: a graph in floating point, or with Q/DQ pairs.
        feed: the inputs by name.
        precision: of what is not quantized; the CPU provider knows fp32 alone.
        threads: of the CPU.

    Raises:
        UsageError: another precision.
        ToolFailed: ONNX Runtime does not open or run the graph.
    """
    if precision != "fp32":
        raise UsageError(f"onnxruntime on the CPU runs fp32 graphs, not {precision}")
    with tempfile.TemporaryDirectory(prefix="espdeploy-") as folder:
        optimised = Path(folder) / "optimised.onnx"
        events = json.loads(_profile(path, feed, threads, optimised).read_text())
        kernels = list(_kernels(optimised, _durations_ms(events)))
    return by_node(kernels, NodeNames(path))


def _profile(path: Path, feed: Mapping[str, Tensor], threads: int, optimised: Path) -> Path:
    """Run the graph; the file that the profiler wrote lies beside ``optimised``."""
    runtime = lazy.require("onnxruntime", extra="cpu")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL_ONLY
    options.enable_profiling = True
    options.profile_file_prefix = str(optimised.with_name("profile"))
    options.optimized_model_filepath = str(optimised)
    try:
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        for _ in range(_WARMUP_RUNS + _RUNS):
            session.run(None, dict(feed))
        return Path(session.end_profiling())
    except Exception as error:  # onnxruntime's classes share no base but Exception
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ToolFailed(f"onnxruntime cannot profile {path}", why=why) from error


def _durations_ms(events: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The median per kernel; each inference has one event of it, in order."""
    durations: dict[str, list[float]] = {}
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith(_KERNEL):
            durations.setdefault(name.removesuffix(_KERNEL), []).append(float(event["dur"]) / 1000)
    return {name: statistics.median(values[_WARMUP_RUNS:] or values) for name, values in durations.items()}


def _kernels(optimised: Path, times_ms: Mapping[str, float]) -> Iterator[Kernel]:
    """The nodes of the optimised graph, each named as the profiler names it."""
    onnx = lazy.require("onnx", extra="export")
    nodes = onnx.load(str(optimised), load_external_data=False).graph.node
    written_by = {output: str(node.name) for node in nodes for output in node.output}
    for node in nodes:
        yield Kernel(
            name=str(node.name),
            made_of=(str(node.name), *(str(output) for output in node.output)),
            reads=tuple(written_by[name] for name in node.input if name in written_by),
            time_ms=times_ms.get(str(node.name), 0.0),
            prepares=node.op_type in _PREPARING,
            heavy=node.op_type in HEAVY or node.op_type in _OWN_HEAVY,
        )
