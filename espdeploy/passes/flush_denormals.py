"""Weights too small for a normal FP32 number become zero."""

from __future__ import annotations

from typing import TYPE_CHECKING

from espdeploy import lazy
from espdeploy.onnx_graph import constants
from espdeploy.passes.base import Pass, PassResult

if TYPE_CHECKING:
    from onnx import ModelProto


def run(model: ModelProto) -> PassResult:
    """Set FP32 constants of magnitude below 2^-126 to zero.

    Processors compute with such numbers many times slower, and conversion to FP16 stumbles over them. They add
    nothing: weights in use are some 10^35 times larger. Released checkpoints hold them all the same.
    """
    import numpy as np

    onnx = lazy.require("onnx", extra="export")
    smallest_normal = np.finfo(np.float32).tiny
    flushed = 0
    for tensor in constants(model.graph).values():
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = onnx.numpy_helper.to_array(tensor)
        denormal = (values != 0) & (np.abs(values) < smallest_normal)
        if denormal.any():
            flushed += int(denormal.sum())
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.where(denormal, np.float32(0), values), tensor.name))
    return PassResult(model=model, changes=flushed, note=f"{flushed} weights set to zero" if flushed else "")


PASS = Pass(
    name="flush-denormals",
    does="sets weights too small for a normal FP32 number to zero",
    run=run,
    ensures=frozenset({"no-denormals"}),
)
