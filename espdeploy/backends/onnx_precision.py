"""What a graph says of itself: in which precision its convolutions compute, and where its weights are."""

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
    constants = [node for node in graph.node if node.op_type == "Constant" and node.attribute]
    weights |= {node.output[0]: node.attribute[0].t.data_type for node in constants}
    counts = Counter(
        _NAMES.get(weights.get(node.input[1], 0), "unknown") for node in graph.node if node.op_type in _CONVOLUTIONS
    )
    return shares_pct(counts)


def external_data(path: Path) -> str | None:
    """The file beside ``path`` that its first outside weight is in; None where all are inside, or onnx is absent."""
    if not lazy.available("onnx"):
        return None
    onnx = lazy.require("onnx", extra="export")
    tensors = onnx.load(str(path), load_external_data=False).graph.initializer
    outside = (tensor for tensor in tensors if tensor.data_location == onnx.TensorProto.EXTERNAL)
    entries = (entry for tensor in outside for entry in tensor.external_data)
    return next((str(entry.value) for entry in entries if entry.key == "location"), None)


def unknown_opset(path: Path) -> int | None:
    """The graph's opset where it is newer than any that onnx knows; None where it is not, or onnx is absent."""
    if not lazy.available("onnx"):
        return None
    onnx = lazy.require("onnx", extra="export")
    try:
        imported = onnx.load(str(path), load_external_data=False).opset_import
    except Exception:  # damaged inside; the runtime that opens it next says so (protobuf's error class moves about)
        return None
    version = max((int(entry.version) for entry in imported if entry.domain in ("", "ai.onnx")), default=0)
    return version if version > onnx.defs.onnx_opset_version() else None


def shares_pct(counts: Mapping[str, int]) -> dict[str, float] | None:
    """Counts per precision as percentages; None when there is nothing to count."""
    total = sum(counts.values())
    if total == 0:
        return None
    return {name: 100 * number / total for name, number in sorted(counts.items())}
