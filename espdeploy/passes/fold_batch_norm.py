"""Batch normalization right after a convolution becomes part of its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from espdeploy import lazy
from espdeploy.onnx_graph import attribute, constants, drop_nodes, fresh_name, producers, uses
from espdeploy.passes.base import Pass, PassResult

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

_DEFAULT_EPSILON = 1e-5  # ONNX operator specification, BatchNormalization


def run(model: ModelProto) -> PassResult:
    """Fold each batch normalization whose input is written by a convolution and read by nobody else.

    With s = gamma / sqrt(variance + epsilon): W' = s W and b' = s (b - mean) + beta, in float64 and rounded once.
    Those after Add and Concat stay: there are no weights before them.
    """
    graph = model.graph
    written, read, fixed = producers(graph), uses(graph), constants(graph)
    taken = {*written, *fixed, *(value.name for value in graph.input)}
    folded = []
    for position, norm in enumerate(graph.node):
        convolution = written.get(norm.input[0]) if norm.op_type == "BatchNormalization" else None
        if convolution is None or not _foldable(convolution, norm, read, fixed):
            continue
        tensors = _folded_weights(convolution, norm, fixed)
        if tensors is None:
            continue
        stem = norm.name or convolution.name or norm.output[0]
        names = [fresh_name(f"{stem}.folded_{role}", taken) for role in ("weight", "bias")]
        for name, tensor in zip(names, tensors, strict=True):
            tensor.name = name
        graph.initializer.extend(tensors)
        convolution.input[:] = [convolution.input[0], *names]
        convolution.output[0] = norm.output[0]
        folded.append(position)
    drop_nodes(graph, folded)
    return PassResult(model=model, changes=len(folded), note=f"{len(folded)} folded" if folded else "")


def _foldable(convolution: NodeProto, norm: NodeProto, read: Any, fixed: dict[str, TensorProto]) -> bool:
    training = attribute(norm, "training_mode")
    return (
        convolution.op_type in ("Conv", "ConvTranspose")
        and read[convolution.output[0]] == 1
        and all(name in fixed for name in [*convolution.input[1:], *norm.input[1:]] if name)
        and not any(norm.output[1:])
        and (training is None or training.i == 0)
    )


def _folded_weights(
    convolution: NodeProto, norm: NodeProto, fixed: dict[str, TensorProto]
) -> tuple[TensorProto, TensorProto] | None:
    """New weight and bias; None where a variance so small or so wrong makes them infinite."""
    import numpy as np

    onnx = lazy.require("onnx", extra="export")
    arrays = [onnx.numpy_helper.to_array(fixed[name]) for name in norm.input[1:5]]
    gamma, beta, mean, variance = (array.astype(np.float64) for array in arrays)
    epsilon = attribute(norm, "epsilon")
    with np.errstate(all="ignore"):
        scale = gamma / np.sqrt(variance + (_DEFAULT_EPSILON if epsilon is None else epsilon.f))
    weight = onnx.numpy_helper.to_array(fixed[convolution.input[1]])
    bias = np.zeros(1)
    if len(convolution.input) > 2 and convolution.input[2]:
        bias = onnx.numpy_helper.to_array(fixed[convolution.input[2]]).astype(np.float64)
    with np.errstate(all="ignore"):
        new_weight = (weight.astype(np.float64) * _per_weight(scale, weight, convolution)).astype(weight.dtype)
        new_bias = ((bias - mean) * scale + beta).astype(weight.dtype)
    if not (np.isfinite(new_weight).all() and np.isfinite(new_bias).all()):
        return None
    return onnx.numpy_helper.from_array(new_weight), onnx.numpy_helper.from_array(new_bias)


def _per_weight(scale: Any, weight: Any, convolution: NodeProto) -> Any:
    """The scale of each output channel, laid out to be multiplied with the weights.

    Conv holds weights as (out, in / groups, ...); ConvTranspose as (in, out / groups, ...), group after group.
    """
    import numpy as np

    extra = (1,) * (weight.ndim - 2)
    if convolution.op_type == "Conv":
        return scale.reshape(-1, 1, *extra)
    given = attribute(convolution, "group")
    groups = 1 if given is None else given.i
    rows = scale.reshape(groups, weight.shape[1])
    return np.repeat(rows, weight.shape[0] // groups, axis=0).reshape(*weight.shape[:2], *extra)


PASS = Pass(
    name="fold-batch-norm",
    does="folds batch normalization into the convolution before it",
    run=run,
    requires=frozenset({"no-identities"}),  # one between the two would hide the pair
    ensures=frozenset({"batch-norm-folded"}),
    breaks=frozenset({"names", "shapes", "no-denormals", "live"}),
)
