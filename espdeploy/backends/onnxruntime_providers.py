"""ONNX Runtime's execution providers for NVIDIA GPUs: which package has them, how they are asked for, what they took.

Sources: ONNX Runtime's pages on the CUDA, TensorRT and plug-in execution providers, the option names in the libraries
of onnxruntime-gpu 1.31.1 and in the header of onnxruntime-ep-nv-tensorrt-rtx 0.5.0, and what both say without a GPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

from espdeploy import lazy
from espdeploy.errors import MissingCapability

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
TENSORRT, RTX = "TensorrtExecutionProvider", "NvTensorRTRTXExecutionProvider"
#: the plug-in with TensorRT-RTX in it, for the package onnxruntime without a GPU
RTX_PLUGIN = "onnxruntime_ep_nv_tensorrt_rtx"
_RTX_PLUGIN_PACKAGE = "onnxruntime-ep-nv-tensorrt-rtx"
_GPU_PACKAGE = 'pip uninstall onnxruntime, then pip install "espdeploy[gpu]"'
_LIBRARIES = 'pip install "onnxruntime-gpu[cuda,cudnn]", or put the libraries of CUDA and cuDNN on LD_LIBRARY_PATH'
_TENSORRT_LIBRARIES = 'pip install "tensorrt>=10,<11" of the CUDA release that onnxruntime-gpu was built for'


@dataclass(frozen=True, kw_only=True)
class Provider:
    """An execution provider. ``then`` may take the nodes that it leaves; the processor is always the last.

    ``extra`` brings the package, and ``libraries`` what the provider needs besides.
    """

    name: str
    label: str
    extra: str
    libraries: str
    then: tuple[str, ...] = ()


#: runtime -> what ONNX Runtime is asked for
PROVIDERS: Mapping[str, Provider] = {
    "onnxruntime-cuda": Provider(name=CUDA, label="CUDA", extra="gpu", libraries=_LIBRARIES),
    "onnxruntime-tensorrt": Provider(
        name=TENSORRT, label="TensorRT", extra="gpu", libraries=_TENSORRT_LIBRARIES, then=(CUDA,)
    ),
    "onnxruntime-rtx": Provider(
        name=RTX,
        label="TensorRT-RTX",
        extra="cpu",
        libraries=f"pip install --force-reinstall {_RTX_PLUGIN_PACKAGE}",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Placement:
    """How many nodes each provider computes; empty where this release of ONNX Runtime does not tell."""

    nodes: Mapping[str, int]

    def text(self, asked: str) -> str:
        """The provider that was asked for, and what it left to others."""
        total = sum(self.nodes.values())
        others = sorted((count, name) for name, count in self.nodes.items() if name != asked)
        left = [f"{count} of {total} nodes on {name}" for count, name in reversed(others)]
        return ", ".join([asked, *left])


def check_installed(runtime: ModuleType, provider: Provider) -> None:
    """Whether the package that is installed has the provider at all.

    Raises:
        MissingCapability: it has not; says which package does.
    """
    if provider.name in runtime.get_available_providers():
        return
    if provider.name == RTX:
        if lazy.available(RTX_PLUGIN):
            return
        do = f"pip install {_RTX_PLUGIN_PACKAGE}, or {_RTX_PLUGIN_PACKAGE}-cu12 for a driver of CUDA 12"
    else:
        do = _GPU_PACKAGE
    raise MissingCapability(
        f"the onnxruntime {runtime.__version__} that is installed has no {provider.label} execution provider",
        why=f"it has {', '.join(runtime.get_available_providers())}",
        do=do,
    )


def provider_options(name: str, *, precision: str, stream: int | None, cuda_graph: bool) -> dict[str, str]:
    """The options of a provider: FP32 stays FP32, kernels are chosen by timing, work goes to the stream given.

    Args:
        name: of the provider.
        precision: FP16 graphs run channels-last in CUDA, and TensorRT is let use FP16.
        stream: a CUDA stream's handle; None: the provider makes its own.
        cuda_graph: launch everything as one CUDA graph, captured in the first runs.
    """
    graph = "1" if cuda_graph else "0"
    half = "1" if precision == "fp16" else "0"
    options = {"device_id": "0"}
    if stream is not None:
        options |= {"has_user_compute_stream": "1", "user_compute_stream": str(stream)}
    if name == CUDA:
        options |= {"cudnn_conv_algo_search": "EXHAUSTIVE", "use_tf32": "0", "prefer_nhwc": half}
    if name == TENSORRT:
        return options | {"trt_fp16_enable": half, "trt_cuda_graph_enable": graph}
    return options | {"enable_cuda_graph": graph}
