"""Batch normalization as y = scale x + shift, and how a convolution takes that in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from espdeploy import lazy
from espdeploy.onnx_graph import attribute
from espdeploy.passes.edits import add_constant

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto, TensorProto

CONVOLUTIONS = ("Conv", "ConvTranspose")
_DEFAULT_EPSILON = 1e-5  # ONNX operator specification, BatchNormalization


@dataclass(frozen=True, kw_only=True)
class Affine:
    """One scale and one shift per channel, in float64."""

    scale: Any
    shift: Any

    def part(self, start: int, stop: int) -> Affine:
        """That of some channels."""
        return Affine(scale=self.scale[start:stop], shift=self.shift[start:stop])


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Weight and bias of a convolution, in the weight's own type."""

    weight: Any
    bias: Any


def affine_of(norm: NodeProto, fixed: Mapping[str, TensorProto]) -> Affine | None:
    """What a node does if it is a batch normalization with fixed parameters that is not training, else None."""
    import numpy as np

    training = attribute(norm, "training_mode")
    if (
        norm.op_type != "BatchNormalization"
        or any(norm.output[1:])
        or (training is not None and training.i != 0)
        or not all(name in fixed for name in norm.input[1:])
    ):
        return None
    to_array = lazy.require("onnx", extra="export").numpy_helper.to_array
    gamma, beta, mean, variance = (to_array(fixed[name]).astype(np.float64) for name in norm.input[1:5])
    epsilon = attribute(norm, "epsilon")
    with np.errstate(all="ignore"):  # a variance so small or so wrong that this is infinite: see _finite
        scale = gamma / np.sqrt(variance + (_DEFAULT_EPSILON if epsilon is None else epsilon.f))
        return Affine(scale=scale, shift=beta - mean * scale)


def has_fixed_weights(node: NodeProto | None, fixed: Mapping[str, TensorProto]) -> bool:
    """Whether a node is a convolution whose weight and bias nobody can change."""
    return node is not None and node.op_type in CONVOLUTIONS and all(name in fixed for name in node.input[1:] if name)


def groups_of(convolution: NodeProto) -> int:
    """The number of groups."""
    given = attribute(convolution, "group")
    return 1 if given is None else int(given.i)


def weights_of(convolution: NodeProto, fixed: Mapping[str, TensorProto]) -> Weights:
    """Weight and bias as stored; the bias is zeros where there is none."""
    import numpy as np

    to_array = lazy.require("onnx", extra="export").numpy_helper.to_array
    weight = to_array(fixed[convolution.input[1]])
    if len(convolution.input) > 2 and convolution.input[2]:
        return Weights(weight=weight, bias=to_array(fixed[convolution.input[2]]))
    return Weights(weight=weight, bias=np.zeros(_outputs(convolution, weight), weight.dtype))


def _outputs(convolution: NodeProto, weight: Any) -> int:
    return int(weight.shape[0] if convolution.op_type == "Conv" else weight.shape[1] * groups_of(convolution))


def folded_behind(convolution: NodeProto, affine: Affine, fixed: Mapping[str, TensorProto]) -> Weights | None:
    """Weights of the convolution with ``affine`` after it: W' = s W, b' = s b + t; None where they are infinite."""
    import numpy as np

    old = weights_of(convolution, fixed)
    with np.errstate(all="ignore"):
        weight = old.weight.astype(np.float64) * _per_output(affine.scale, old.weight, convolution)
        bias = old.bias.astype(np.float64) * affine.scale + affine.shift
        return _finite(weight, bias, old.weight.dtype)


def folded_ahead(convolution: NodeProto, affine: Affine, fixed: Mapping[str, TensorProto]) -> Weights | None:
    """Weights of a Conv with ``affine`` before it: W' = W s, b' = b + sum(W t); None where they are infinite.

    Exact where the convolution pads nothing, or where t is zero: its padding is zeros behind the normalization.
    """
    import numpy as np

    old = weights_of(convolution, fixed)
    per_group = (groups_of(convolution), -1)
    out_of_group = old.weight.shape[0] // per_group[0]
    extra = (1,) * (old.weight.ndim - 2)
    scale, shift = (
        np.repeat(values.reshape(per_group), out_of_group, axis=0).reshape(*old.weight.shape[:2], *extra)
        for values in (affine.scale, affine.shift)
    )
    with np.errstate(all="ignore"):
        weight = old.weight.astype(np.float64)
        bias = old.bias.astype(np.float64) + (weight * shift).sum(axis=tuple(range(1, weight.ndim)))
        return _finite(weight * scale, bias, old.weight.dtype)


def _finite(weight: Any, bias: Any, dtype: Any) -> Weights | None:
    import numpy as np

    rounded = Weights(weight=weight.astype(dtype), bias=bias.astype(dtype))
    return rounded if np.isfinite(rounded.weight).all() and np.isfinite(rounded.bias).all() else None


def _per_output(scale: Any, weight: Any, convolution: NodeProto) -> Any:
    """The scale of each output channel, laid out to be multiplied with the weights.

    Conv holds weights as (out, in / groups, ...); ConvTranspose as (in, out / groups, ...), group after group.
    """
    import numpy as np

    extra = (1,) * (weight.ndim - 2)
    if convolution.op_type == "Conv":
        return scale.reshape(-1, 1, *extra)
    groups = groups_of(convolution)
    rows = scale.reshape(groups, weight.shape[1])
    return np.repeat(rows, weight.shape[0] // groups, axis=0).reshape(*weight.shape[:2], *extra)


def set_weights(graph: GraphProto, convolution: NodeProto, new: Weights, stem: str, taken: set[str]) -> None:
    """Give a convolution weights of its own; the old ones stay for whoever else reads them."""
    names = [
        add_constant(graph, array, f"{stem}.folded_{role}", taken)
        for role, array in (("weight", new.weight), ("bias", new.bias))
    ]
    convolution.input[:] = [convolution.input[0], *names]
