"""The runtimes by name."""

from __future__ import annotations

import importlib

from espdeploy.backends.source import Source
from espdeploy.errors import UsageError, nearest
from espdeploy.protocols import Runner
from espdeploy.specs import RunSpec

#: runtime -> (module, class, Python package that must be there, extra that brings it)
RUNTIMES: dict[str, tuple[str, str, str, str]] = {
    "onnxruntime": ("espdeploy.backends.onnxruntime", "OnnxRuntimeRunner", "onnxruntime", "cpu"),
    "openvino": ("espdeploy.backends.openvino", "OpenVinoRunner", "openvino", "cpu"),
    "torch": ("espdeploy.backends.torch", "TorchRunner", "torch", "export"),
    "tensorrt": ("espdeploy.backends.tensorrt.runner", "TensorRTRunner", "tensorrt", "tensorrt"),
    "tensorrt-rtx": ("espdeploy.backends.tensorrt.runner", "TensorRTRtxRunner", "tensorrt_rtx", "rtx"),
}

#: runtime -> precisions that an engine can be opened at; whether this machine has them shows when one is opened
PRECISIONS: dict[str, tuple[str, ...]] = {
    "onnxruntime": ("fp32", "fp16", "int8", "mixed"),
    "openvino": ("fp32", "fp16", "bf16", "int8", "mixed"),
    "torch": ("fp32",),
    "tensorrt": ("fp32", "fp16", "int8", "mixed"),
    "tensorrt-rtx": ("fp32", "fp16", "int8", "mixed"),
}


def open_runner(source: Source, spec: RunSpec) -> Runner:
    """A runner, not yet entered.

    Raises:
        UsageError: no such runtime (the nearest is named), or one that cannot do what ``spec`` asks for.
        InputFileError: a source that the runtime does not open.
    """
    if spec.runtime not in RUNTIMES:
        raise UsageError(f'unknown runtime "{spec.runtime}"', why=nearest(spec.runtime, RUNTIMES))
    module, name, _, _ = RUNTIMES[spec.runtime]
    runner: Runner = getattr(importlib.import_module(module), name)(source, spec)
    return runner
