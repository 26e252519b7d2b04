"""What each layer of a network takes in floating point and in INT8, with what surrounds it there."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from espdeploy import export
from espdeploy.backends import onnxruntime_profile, openvino_profile
from espdeploy.networks.onnx_counting import count_onnx
from espdeploy.onnx_graph import producers
from espdeploy.pipeline.building.lowering import Lowering
from espdeploy.protocols import Progress
from espdeploy.quantize.placement import called

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

    from espdeploy.protocols import Tensor

PROFILERS = {"openvino": openvino_profile.node_times_ms, "onnxruntime": onnxruntime_profile.node_times_ms}
_ROUNDS = 2
#: INT8 against FP16 on processors with dot products of four bytes, for devices that are not here
_INT8_SHARE = 0.5
_AROUND = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True, kw_only=True)
class LayerTimes:
    """Floating point and INT8 time of each layer in ms; only their ratios count where they are not ``measured``."""

    time_ms: dict[str, tuple[float, float]]
    measured: bool


def layer_times(
    lowering: Lowering, feed: Mapping[str, Tensor], runtime: str, *, threads: int, progress: Progress
) -> LayerTimes:
    """Each layer's time in the graph in floating point and in the one that is INT8 throughout.

    Both are measured twice in turns, and the least counts: others' work on the machine only ever adds. To a layer in
    INT8 belong the DequantizeLinear of its weight, and its part of the QuantizeLinear and DequantizeLinear of its
    input, which all layers that read it in INT8 share. For a runtime that is not on this machine the multiply-adds
    stand in, INT8 at half the time; where shapes leave them open, all layers count the same.

    Raises:
        ToolFailed: the runtime does not run one of the graphs.
    """
    network = lowering.network
    whole = lowering.graph(lowering.layers)
    with tempfile.TemporaryDirectory(prefix="espdeploy-") as folder:
        paths = [Path(folder) / "floating.onnx", Path(folder) / "int8.onnx"]
        for model, path in zip((network.model, whole), paths, strict=True):
            export.save(model, path, None)
        if runtime not in PROFILERS:
            return _by_macs(paths[0], lowering)
        times: list[dict[str, float]] = [{}, {}]
        for turn in range(2 * _ROUNDS):
            progress(turn, 2 * _ROUNDS, "timing the layers")
            found = PROFILERS[runtime](paths[turn % 2], feed, precision="fp32", threads=threads)
            known = times[turn % 2]
            known.update({name: min(value, known.get(name, value)) for name, value in found.items()})
    floating, int8 = times[0], with_surroundings(whole, times[1], lowering.layers)
    return LayerTimes(
        time_ms={layer: (floating.get(layer, 0.0), int8.get(layer, 0.0)) for layer in lowering.layers}, measured=True
    )


def with_surroundings(model: ModelProto, times_ms: Mapping[str, float], names: Collection[str]) -> dict[str, float]:
    """The time of each layer in ``names`` with its part of what quantizes for it, from the times of all nodes."""
    graph = model.graph
    written = producers(graph)
    layers = {called(node): node for node in graph.node if called(node) in names}
    around = {layer: _around(node, written) for layer, node in layers.items()}
    shared = Counter(name for before in around.values() for name in before)
    return {
        layer: times_ms.get(layer, 0.0) + sum(times_ms.get(name, 0.0) / shared[name] for name in around[layer])
        for layer in layers
    }


def _around(layer: NodeProto, written: Mapping[str, NodeProto]) -> list[str]:
    """The QuantizeLinear and DequantizeLinear before a layer's input and weight, beyond a Concat of INT8 too.

    Such a Concat itself stands for the one in floating point, and is no layer's.
    """
    found: dict[str, None] = {}
    ahead = [(name, False) for name in layer.input[:2]]
    while ahead:
        name, in_int8 = ahead.pop()
        node = written.get(name)
        if node is None:
            continue
        if node.op_type in _AROUND:
            found[called(node)] = None
            ahead.append((node.input[0], node.op_type == "DequantizeLinear"))
        elif in_int8 and node.op_type == "Concat":
            ahead.extend((part, True) for part in node.input)
    return list(found)


def _by_macs(path: Path, lowering: Lowering) -> LayerTimes:
    macs = {layer.name: layer.macs for layer in count_onnx(path).layers}
    known = all(macs.get(layer) for layer in lowering.layers)
    work = {layer: float(macs[layer] or 0) if known else 1.0 for layer in lowering.layers}
    return LayerTimes(time_ms={layer: (value, value * _INT8_SHARE) for layer, value in work.items()}, measured=False)
