"""In which precision a graph's convolutions compute, read off the graph itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from espdeploy import lazy

_CONVOLUTIONS = ("Conv", "ConvTranspose")
_NAMES = {1: "fp32", 10: "fp16", 11: "fp64", 16: "bf16"}  # onnx.TensorProto.DataType


def convolution_shares(path: Path) -> Mapping[str, float] | None:
    """Percent of the convolutions per precision; None where onnx is absent or the graph has no convolution."""
    if not lazy.available("onnx"):
        return None
    onnx = lazy.require("onnx", extra="export")
    graph = onnx.load(str(path), load_external_data=False).graph
    weights = {tensor.name: tensor.data_type for tensor in graph.initializer}
    counts = Counter(
        _NAMES.get(weights.get(node.input[1], 0), "unknown") for node in graph.node if node.op_type in _CONVOLUTIONS
    )
    return shares_pct(counts)


def shares_pct(counts: Mapping[str, int]) -> dict[str, float] | None:
    """Counts per precision as percentages; None when there is nothing to count."""
    total = sum(counts.values())
    if total == 0:
        return None
    return {name: 100 * number / total for name, number in sorted(counts.items())}
