"""Weights as INT8 with their scales: symmetric, zero point 0, -127 … 127."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from espdeploy.errors import InputFileError
from espdeploy.onnx_graph import attribute

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import NodeProto

#: -128 stays unused, so that x and -x are equally exact and INT8 sums of two products cannot overflow 16 bits
LARGEST = 127
#: the smallest FP32 number that every processor and GPU computes with at full precision
SMALLEST_SCALE = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True, kw_only=True)
class Int8Weight:
    """A weight as ``values * scale``: ``values`` int8, ``scale`` FP32, one or one for each slice along ``axis``."""

    values: NDArray[np.int8]
    scale: NDArray[np.float32]
    axis: int | None


def channel_axis(node: NodeProto, rank: int) -> int | None:
    """Along which axis of a layer's weight each slice has its own scale; None where all share one.

    The axis of the output channels: 0 of Conv (out, in / groups, ...), the columns of MatMul and Gemm, the rows of a
    transposed Gemm. The weight of ConvTranspose (in, out / groups, ...) has one scale: TensorRT 8 takes no scales for
    its output channels (docs/decisions/0006), and with groups axis 1 mixes channels of different groups anyway. So has
    a stack of matrices, which ONNX Runtime 1.31 refuses otherwise once it has fused it.
    """
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose" or rank != 2:
        return None
    transposed = attribute(node, "transB") if node.op_type == "Gemm" else None
    return 0 if transposed is not None and transposed.i else 1


def to_int8(weight: NDArray[np.float32], axis: int | None, *, name: str) -> Int8Weight:
    """The weight rounded to INT8, each slice scaled so that its greatest magnitude becomes 127.

    A slice whose scale would be no normal FP32 number becomes zeros with scale 1: nothing divides by 0 then, and
    no processor meets a denormal.

    Raises:
        InputFileError: the weight, called ``name``, holds NaN or infinity.
    """
    if not np.isfinite(weight).all():
        raise InputFileError(
            f"the weight {name} holds NaN or infinity",
            why="there is no scale for it",
            do="check the checkpoint that the network was exported from, and export it again",
        )
    others = None if axis is None else tuple(index for index in range(weight.ndim) if index != axis)
    greatest = np.abs(weight).max(axis=others, initial=0.0).astype(np.float64)
    scale = (greatest / LARGEST).astype(np.float32)
    nothing = scale < SMALLEST_SCALE
    scale = np.where(nothing, np.float32(1), scale).astype(np.float32)
    spread = scale if axis is None else np.expand_dims(scale, others or ())
    steps = np.clip(np.rint(weight.astype(np.float64) / spread), -LARGEST, LARGEST)
    return Int8Weight(values=steps.astype(np.int8), scale=scale, axis=axis)
