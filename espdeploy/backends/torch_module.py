"""Networks as PyTorch runs them: checked, and made to compute in FP16 channels-last where that is asked for.

Source: PyTorch's tutorial "Channels Last Memory Format in PyTorch", and the reference of ``torch.nn.Module.to``.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from espdeploy import lazy
from espdeploy.backends.onnx_precision import shares_pct
from espdeploy.backends.source import ModuleSource, Source
from espdeploy.errors import InputFileError, UsageError
from espdeploy.specs import RunSpec

_OUTPUT = "output"
_PRECISIONS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
_IMAGE_AXES = 4


def checked_module(source: Source, spec: RunSpec, *, precisions: Sequence[str], for_files: str) -> ModuleSource:
    """The source, where PyTorch can run it as asked.

    Args:
        source: what is to be run.
        spec: the runtime's name and the precision.
        precisions: what that runtime computes in.
        for_files: the runtime that takes ONNX files on the same hardware.

    Raises:
        InputFileError: the source is a file; PyTorch runs networks by name.
        UsageError: another precision.
    """
    if not isinstance(source, ModuleSource):
        raise InputFileError(
            f"the {spec.runtime} runtime runs networks of the zoo and factories, not ONNX files",
            do=f"name the network with --model, or choose --runtime {for_files}",
        )
    if spec.precision not in precisions:
        raise UsageError(
            f"the {spec.runtime} runtime runs {' and '.join(precisions)}, not {spec.precision}",
            do=f"--precision {precisions[0]}",
        )
    return source


def placed(module: Any, *, device: str, precision: str) -> Any:
    """A copy of the module on a device; for ``fp16`` with its weights in FP16, those of convolutions channels-last."""
    torch = lazy.require("torch", extra="export")
    copied = copy.deepcopy(module)
    if precision == "fp16":
        return copied.to(device=device, dtype=torch.float16, memory_format=torch.channels_last)
    return copied.to(device=device)


def with_fp32_ends(module: Callable[..., Any], precision: str) -> Callable[..., Any]:
    """A call that takes and gives FP32 in N,C,H,W whatever the module computes in, as an FP16 engine does.

    The casts, and the changes of layout in them, are part of what is timed.
    """
    if precision != "fp16":
        return module
    torch = lazy.require("torch", extra="export")

    def half(tensor: Any) -> Any:
        if not tensor.is_floating_point():
            return tensor
        layout = torch.channels_last if tensor.dim() == _IMAGE_AXES else torch.preserve_format
        return tensor.to(torch.float16, memory_format=layout)

    def full(tensor: Any) -> Any:
        is_half = tensor.is_floating_point()
        return tensor.to(torch.float32, memory_format=torch.contiguous_format) if is_half else tensor

    def call(*tensors: Any) -> Any:
        result = module(*(half(tensor) for tensor in tensors))
        return tuple(full(item) for item in result) if isinstance(result, (tuple, list)) else full(result)

    return call


def named_outputs(result: Any) -> dict[str, Any]:
    """A module's result by output name: ``output``, or ``output_0``, ``output_1`` … where there are several."""
    items = list(result) if isinstance(result, (tuple, list)) else [result]
    names = [_OUTPUT] if len(items) == 1 else [f"{_OUTPUT}_{index}" for index in range(len(items))]
    return dict(zip(names, items, strict=True))


def module_shares_pct(module: Any) -> Mapping[str, float] | None:
    """Percent of the module's convolutions per precision of their weights; None where it has none."""
    from torch.nn.modules.conv import _ConvNd

    counts: Counter[str] = Counter()
    for layer in module.modules():
        if isinstance(layer, _ConvNd):
            dtype = str(layer.weight.dtype).removeprefix("torch.")
            counts[_PRECISIONS.get(dtype, dtype)] += 1
    return shares_pct(counts)
