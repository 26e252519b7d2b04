"""What PyTorch's errors mean, and what to do.

Sources: PyTorch's own texts (``torch.cuda`` initialisation, ``torch.OutOfMemoryError``, ``torch._inductor.exc``).
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from espdeploy import lazy
from espdeploy.backends.tensorrt import cuda
from espdeploy.errors import EspdeployError, MissingCapability, ToolFailed

_CUDA_BUILD = 'pip uninstall torch, then pip install "espdeploy[export]" on Linux, where PyPI has the one for CUDA'
_NO_KERNELS = "no kernel image is available"
_TOO_OLD = "too old"
#: what a compiler of ``torch.compile`` misses -> what to do; the error's class stands in its text
_COMPILERS = {
    "InvalidCxxCompiler": "install g++, or name another compiler in CXX",
    "TritonMissing": "pip install triton",
    "GPUTooOldForTriton": "choose --runtime torch-cuda-graph",
}


def torch_with_gpu() -> ModuleType:
    """PyTorch, where it has a GPU to run on.

    Raises:
        MissingCapability: PyTorch is not here or was built without CUDA, the driver is absent or too old, or there is
            no GPU.
    """
    torch = lazy.require("torch", extra="export")
    if torch.version.cuda is None:
        raise MissingCapability(
            "the PyTorch that is installed has no CUDA", why=f"it is {torch.__version__}", do=_CUDA_BUILD
        )
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:  # no driver, an old one, or no device: each a RuntimeError
        why = first_line(error)
        if _TOO_OLD in why:
            raise MissingCapability(
                f"the NVIDIA driver is too old for PyTorch {torch.__version__}",
                why=why,
                do="update the driver, or install a PyTorch for an older CUDA",
            ) from error
        raise cuda.no_gpu(why) from error
    return torch


def explained(torch: Any, error: Exception) -> EspdeployError:
    """The error for a network that did not compile, could not be captured, or did not run."""
    why = first_line(error)
    if isinstance(error, torch.OutOfMemoryError):
        return MissingCapability(
            "no memory left on the GPU", why=why, do="close other programs on it, or choose a smaller --size or --batch"
        )
    if _NO_KERNELS in why:
        return MissingCapability(
            f"PyTorch {torch.__version__} has no kernels for this GPU",
            why=why,
            do="install a PyTorch release that was built for it: nvidia-smi --query-gpu=name,compute_cap --format=csv",
        )
    for name, do in _COMPILERS.items():
        if name in why:
            return MissingCapability("torch.compile finds no compiler that it can use", why=why, do=do)
    return ToolFailed("PyTorch failed while running the network", why=why)


def first_line(error: Exception) -> str:
    """What went wrong, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
