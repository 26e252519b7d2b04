"""Batch normalization for FP16: its four parameters become a scale and a shift, each rounded once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from espdeploy import lazy
from espdeploy.onnx_graph import attribute, fresh_name
from espdeploy.quantize.fp16_facts import Facts, in_half

if TYPE_CHECKING:
    from collections.abc import Container

    from numpy.typing import NDArray
    from onnx import GraphProto, NodeProto

_DEFAULT_EPSILON = 1e-5  # ONNX operator specification, BatchNormalization


def combine(node: NodeProto, facts: Facts) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Scale and shift (channels,) that stand for the node's parameters; None where these are not constant.

    s = gamma / sqrt(variance + epsilon) and t = beta - s mean, in float64.
    """
    training = attribute(node, "training_mode")
    arrays = [facts.values(name) for name in node.input[1:5]]
    if any(node.output[1:]) or (training is not None and training.i) or any(array is None for array in arrays):
        return None
    gamma, beta, mean, variance = (np.asarray(array, dtype=np.float64) for array in arrays)
    epsilon = attribute(node, "epsilon")
    with np.errstate(all="ignore"):
        scale = gamma / np.sqrt(variance + (_DEFAULT_EPSILON if epsilon is None else epsilon.f))
        return scale, beta - scale * mean


def rewrite(graph: GraphProto, facts: Facts, kept: Container[str], taken: set[str]) -> int:
    """Give each batch normalization that becomes FP16 its scale and shift, with mean 0, variance 1 and epsilon 0.

    The operator stays, so that a builder fuses it as before. As they are, a variance below 6e-8 would become zero,
    and TensorRT combines the four in the type that they have: epsilon = 1e-5 is a subnormal number of FP16.
    """
    onnx = lazy.require("onnx", extra="export")
    changed = 0
    for node in graph.node:
        combined = combine(node, facts) if node.op_type == "BatchNormalization" and node.name not in kept else None
        if combined is None:
            continue
        scale, shift = combined
        neutral = {"mean": np.zeros_like(shift), "variance": np.ones_like(scale)}
        for index, (role, values) in enumerate(({"scale": scale, "shift": shift} | neutral).items(), start=1):
            name = fresh_name(f"{node.name}_{role}", taken)
            graph.initializer.append(onnx.numpy_helper.from_array(in_half(values), name))
            node.input[index] = name
        rest = [entry for entry in node.attribute if entry.name != "epsilon"]
        del node.attribute[:]
        node.attribute.extend([*rest, onnx.helper.make_attribute("epsilon", 0.0)])
        changed += 1
    return changed
