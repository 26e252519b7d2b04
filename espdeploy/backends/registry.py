"""The runtimes by name."""

from __future__ import annotations

import importlib

from espdeploy.backends.source import Source
from espdeploy.errors import UsageError, nearest
from espdeploy.protocols import Runner
from espdeploy.specs import RunSpec

_ORT_GPU = "espdeploy.backends.onnxruntime_gpu"
_TORCH_CUDA = "espdeploy.backends.torch_cuda"

#: runtime -> (module, class, Python package that must be there, extra that brings it)
RUNTIMES: dict[str, tuple[str, str, str, str]] = {
    "onnxruntime": ("espdeploy.backends.onnxruntime", "OnnxRuntimeRunner", "onnxruntime", "cpu"),
    "openvino": ("espdeploy.backends.openvino", "OpenVinoRunner", "openvino", "cpu"),
    "torch": ("espdeploy.backends.torch", "TorchRunner", "torch", "export"),
    "torch-compile": ("espdeploy.backends.torch", "TorchCompileRunner", "torch", "export"),
    "tensorrt": ("espdeploy.backends.tensorrt.runner", "TensorRTRunner", "tensorrt", "tensorrt"),
    "tensorrt-rtx": ("espdeploy.backends.tensorrt.runner", "TensorRTRtxRunner", "tensorrt_rtx", "rtx"),
    "onnxruntime-cuda": (_ORT_GPU, "OnnxRuntimeCudaRunner", "onnxruntime", "gpu"),
    "onnxruntime-tensorrt": (_ORT_GPU, "OnnxRuntimeTensorRTRunner", "onnxruntime", "gpu"),
    "onnxruntime-rtx": (_ORT_GPU, "OnnxRuntimeRtxRunner", "onnxruntime", "cpu"),
    "torch-cuda": (_TORCH_CUDA, "TorchCudaRunner", "torch", "export"),
    "torch-cuda-graph": (_TORCH_CUDA, "TorchCudaGraphRunner", "torch", "export"),
    "torch-cuda-compile": (_TORCH_CUDA, "TorchCudaCompileRunner", "torch", "export"),
}

#: runtime -> precisions that an engine can be opened at; whether this machine has them shows when one is opened
PRECISIONS: dict[str, tuple[str, ...]] = {
    "onnxruntime": ("fp32", "fp16", "int8", "mixed"),
    "openvino": ("fp32", "fp16", "bf16", "int8", "mixed"),
    "torch": ("fp32",),
    "torch-compile": ("fp32",),
    "tensorrt": ("fp32", "fp16", "int8", "mixed"),
    "tensorrt-rtx": ("fp32", "fp16", "int8", "mixed"),
    "onnxruntime-cuda": ("fp32", "fp16"),
    "onnxruntime-tensorrt": ("fp32", "fp16"),
    "onnxruntime-rtx": ("fp32", "fp16"),
    "torch-cuda": ("fp32", "fp16"),
    "torch-cuda-graph": ("fp32", "fp16"),
    "torch-cuda-compile": ("fp32", "fp16"),
}

#: those that run networks by name, and change the module's precision themselves; the others open files
TAKES_MODULES = frozenset({"torch", "torch-compile", "torch-cuda", "torch-cuda-graph", "torch-cuda-compile"})


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
