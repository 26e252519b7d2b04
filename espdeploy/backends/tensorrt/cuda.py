"""CUDA from Python behind one small seam: cuda-python, or PyCUDA where that is what the machine has.

A session owns one stream and everything that is made through it. Errors of asynchronous calls come out where the
session waits (CUDA Runtime API, "Error Handling"), so what is called in a timed loop checks nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from espdeploy import lazy
from espdeploy.errors import MissingCapability

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_NO_DRIVER = "check the driver (nvidia-smi, or on a Jetson ls /dev/nvhost-gpu); in a container pass --runtime nvidia"


@dataclass(frozen=True, kw_only=True)
class Memory:
    """A device's memory; ``shared``: it is the processor's too, as on a Jetson."""

    free_mb: float
    total_mb: float
    shared: bool


@dataclass(frozen=True, kw_only=True)
class Buffer:
    """Room for one tensor: an address on the device, and page-locked bytes on the host."""

    device: int
    host: NDArray[np.uint8]


class Session(Protocol):
    """One stream of a device, and what lives on it."""

    #: the package behind it
    name: str
    #: the stream's handle, as TensorRT takes it
    stream: int

    def memory(self) -> Memory:
        """What is free now."""

    def allocate(self, size_bytes: int) -> Buffer:
        """Room on both sides; freed with the session."""

    def upload(self, buffer: Buffer, size_bytes: int) -> None:
        """Copy to the device, in stream order."""

    def download(self, buffer: Buffer, size_bytes: int) -> None:
        """Copy to the host, in stream order."""

    def event(self) -> Any:
        """A point in time; destroyed with the session."""

    def recorder(self, event: Any) -> Callable[[], object]:
        """A call that records the event in stream order."""

    def elapsed_ms(self, start: Any, end: Any) -> float:
        """The time between two events that have happened."""

    def capture(self, enqueue: Callable[[], object]) -> Callable[[], object] | None:
        """Record what ``enqueue`` does as a CUDA graph; a call that launches it, None where graphs are not offered.

        Raises:
            ToolFailed: the work cannot be captured.
        """

    def synchronize(self) -> None:
        """Wait until the stream has done everything.

        Raises:
            ToolFailed: something on the stream failed.
        """

    def close(self) -> None:
        """Give everything back."""


def open_session() -> Session:
    """A session on the first device, through the first package that is here.

    Raises:
        MissingCapability: neither package is here, or no driver, or no device.
    """
    if lazy.available("cuda.bindings"):
        from espdeploy.backends.tensorrt.cuda_python import CudaPythonSession

        return CudaPythonSession()
    if lazy.available("pycuda"):
        from espdeploy.backends.tensorrt.cuda_pycuda import PyCudaSession

        return PyCudaSession()
    raise MissingCapability(
        "no Python package for CUDA is installed, and an engine needs a GPU's memory",
        why="cuda-python or pycuda is needed; building for TensorRT-RTX is not affected",
        do='pip install "espdeploy[tensorrt]", on a machine with an NVIDIA GPU',
    )


def no_gpu(why: str) -> MissingCapability:
    """There is a package, and no device behind it."""
    return MissingCapability("CUDA finds no GPU that it can use", why=why, do=_NO_DRIVER)


def device_memory() -> Memory | None:
    """The memory of the first device; None without a package, a driver or a device."""
    try:
        session = open_session()
    except MissingCapability:
        return None
    try:
        return session.memory()
    finally:
        session.close()
