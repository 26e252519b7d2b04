"""What a graph says of itself: in which precision its convolutions compute, and where its weights are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from espdeploy import lazy
from espdeploy.onnx_graph import constants, producers

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

_FLOATING = ("Conv", "ConvTranspose", "FusedConv", "NhwcFusedConv")
#: ONNX and ONNX Runtime's own operators that multiply integers
_INTEGER = ("QLinearConv", "ConvInteger", "QLinearConvTranspose")
_NAMES = {1: "fp32", 10: "fp16", 11: "fp64", 16: "bf16"}  # onnx.TensorProto.DataType


def convolution_shares(path: Path) -> Mapping[str, float] | None:
    """Percent of the convolutions per precision; None where onnx is absent or the graph has no convolution.

    A convolution between QuantizeLinear and DequantizeLinear counts as what the graph, taken by its word, computes:
    floating point. A runtime that turns it into an integer operator has to be asked for its own graph.
    """
    if not lazy.available("onnx"):
        return None
    onnx = lazy.require("onnx", extra="export")
    graph = onnx.load(str(path), load_external_data=False).graph
    return shares_pct(_counted(graph))


def _counted(graph: GraphProto) -> Counter[str]:
    weights, written = {name: tensor.data_type for name, tensor in constants(graph).items()}, producers(graph)
    counts: Counter[str] = Counter()
    for node in graph.node:
        if node.op_type in _INTEGER:
            counts["int8"] += 1
        elif node.op_type in _FLOATING:
            counts[_NAMES.get(_weight_type(node, weights, written), "unknown")] += 1
    return counts


def _weight_type(node: NodeProto, weights: Mapping[str, int], written: Mapping[str, NodeProto]) -> int:
    """The data type of a convolution's weights; dequantized ones have that of their scale."""
    name = node.input[1]
    source = written.get(name)
    if source is not None and source.op_type == "DequantizeLinear":
        return weights.get(source.input[1], 0)
    if source is not None and source.op_type == "Cast":
        return next((int(entry.i) for entry in source.attribute if entry.name == "to"), 0)
    return weights.get(name, 0)


def declared(path: Path) -> str | None:
    """The precision that a graph is written for: fp32, fp16, bf16, int8, or mixed; None where onnx is absent.

    Quantized on the input of every convolution it is ``int8``, of some of them ``mixed``. Convolutions in FP64, or with
    weights that are computed, say nothing: such a graph is opened as an FP32 one, and its shares tell what runs.
    """
    if not lazy.available("onnx"):
        return None
    onnx = lazy.require("onnx", extra="export")
    graph = onnx.load(str(path), load_external_data=False).graph
    written = producers(graph)
    convolutions = [node for node in graph.node if node.op_type in (*_FLOATING, *_INTEGER)]
    quantized = [node for node in convolutions if _is_quantized(node, written)]
    if quantized:
        return "int8" if len(quantized) == len(convolutions) else "mixed"
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in graph.node):
        return "mixed" if convolutions else "int8"
    counts = _counted(graph)
    return max(("fp32", "fp16", "bf16"), key=lambda name: counts[name])


def _is_quantized(node: NodeProto, written: Mapping[str, NodeProto]) -> bool:
    if node.op_type in _INTEGER:
        return True
    sources = [written.get(name) for name in node.input[:2]]
    return all(source is not None and source.op_type == "DequantizeLinear" for source in sources)


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
