"""How much of a run's time OpenVINO's CPU plug-in spends computing in each precision.

Source: the Python API (``PERF_COUNT``, ``InferRequest.get_profiling_info``, ``CompiledModel.get_runtime_model``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from espdeploy import lazy
from espdeploy.backends.onnx_precision import shares_pct
from espdeploy.backends.openvino import PRECISIONS, compiled_file
from espdeploy.errors import ToolFailed

if TYPE_CHECKING:
    from pathlib import Path

    from espdeploy.protocols import Tensor
    from espdeploy.specs import RunSpec

_RUNS = 8


def time_shares_pct(path: Path, feed: Mapping[str, Tensor], spec: RunSpec) -> dict[str, float] | None:
    """Percent of the time per precision over all nodes, reorders among them; None where nothing took time.

    Args:
        path: an ONNX file.
        feed: the inputs by name.
        spec: the precision and threads to open it with.

    Raises:
        ToolFailed: OpenVINO does not run it.
    """
    runtime = lazy.require("openvino", extra="cpu")
    compiled = compiled_file(runtime, path, spec, PERF_COUNT="YES")
    precisions = {
        node.get_friendly_name(): str(node.get_rt_info()["runtimePrecision"].value)
        for node in compiled.get_runtime_model().get_ordered_ops()
    }
    times_us: Counter[str] = Counter()
    for name, spent_us in _times_us(compiled.create_infer_request(), feed).items():
        read = precisions.get(name, "unknown")
        times_us[PRECISIONS.get(read, read)] += round(spent_us)
    return shares_pct({name: spent for name, spent in times_us.items() if spent})


def _times_us(request: Any, feed: Mapping[str, Tensor]) -> dict[str, float]:
    """Time per node; the plug-in gives its mean over the runs."""
    try:
        for _ in range(_RUNS):
            request.infer(dict(feed))
    except RuntimeError as error:
        raise ToolFailed("openvino failed while its time was looked at", why=str(error).strip()) from error
    return {item.node_name: item.real_time.total_seconds() * 1e6 for item in request.get_profiling_info()}
