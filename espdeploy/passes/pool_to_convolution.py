"""A small average pooling becomes the depthwise convolution that it is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from espdeploy import lazy
from espdeploy.onnx_graph import attribute
from espdeploy.passes.base import Pass, PassResult
from espdeploy.passes.edits import TensorType, add_constant, names_in, tensor_types

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_MOST_TAPS = 9  # 3x3 was measured; a wide window costs a convolution more than a pooling


def run(model: ModelProto) -> PassResult:
    """Replace AveragePool over at most nine values by a depthwise Conv with weights 1 / values, under the same name.

    Runtimes have fast convolutions for any number of channels, but pool the three channels of an image slowly, and in
    a layout that costs them reorders: ESPNet feeds its image through two such poolings (benchmarks/passes.py). Only
    where each window has the same divisor: no ceiling of the output's size, and the padding counted.
    """
    onnx = lazy.require("onnx", extra="export")
    graph = model.graph
    poolings = [node for node in graph.node if node.op_type == "AveragePool" and _one_divisor(node)]
    types = tensor_types(model) if poolings else {}
    taken = names_in(graph)
    changes = 0
    for node in poolings:
        channels = _channels(types.get(node.input[0]), onnx.TensorProto.FLOAT)
        if channels is None:
            continue
        weight = _weight(channels, _kernel(node))
        node.op_type = "Conv"
        node.input.append(add_constant(graph, weight, f"{node.name or node.output[0]}.weight", taken))
        kept = [entry for entry in node.attribute if entry.name not in ("count_include_pad", "ceil_mode")]
        group = onnx.helper.make_attribute("group", channels)
        del node.attribute[:]
        node.attribute.extend([*kept, group])
        changes += 1
    return PassResult(model=model, changes=changes, note=f"{changes} poolings" if changes else "")


def _kernel(node: NodeProto) -> tuple[int, ...]:
    given = attribute(node, "kernel_shape")
    return tuple(given.ints) if given is not None else ()


def _one_divisor(node: NodeProto) -> bool:
    auto_pad, pads = attribute(node, "auto_pad"), attribute(node, "pads")
    ceil_mode, counted = attribute(node, "ceil_mode"), attribute(node, "count_include_pad")
    padded = pads is not None and any(pads.ints)
    return (
        0 < math.prod(_kernel(node)) <= _MOST_TAPS
        and (auto_pad is None or auto_pad.s in (b"", b"NOTSET"))
        and (ceil_mode is None or ceil_mode.i == 0)
        and (not padded or (counted is not None and counted.i == 1))
    )


def _channels(known: TensorType | None, wanted_element: int) -> int | None:
    return known.shape[1] if known is not None and known.element == wanted_element and len(known.shape) > 2 else None


def _weight(channels: int, kernel: tuple[int, ...]) -> object:
    import numpy as np

    return np.full((channels, 1, *kernel), 1 / math.prod(kernel), np.float32)


PASS = Pass(
    name="pool-to-convolution",
    does="turns small average pooling into depthwise convolution",
    run=run,
    breaks=frozenset({"names"}),
)
