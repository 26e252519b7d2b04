"""A session through cuda-python (``cuda.bindings.runtime``), 12.6 and newer.

Every function answers with a tuple, the error first. Without a driver the 12.6 bindings raise RuntimeError, newer ones
answer cudaErrorInsufficientDriver.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

from espdeploy import lazy
from espdeploy.backends.tensorrt.cuda import Buffer, Memory, no_gpu
from espdeploy.errors import MissingCapability, ToolFailed
from espdeploy.units import mb_from_bytes

_DEVICE = 0


class CudaPythonSession:
    """One non-blocking stream on the first device.

    Raises:
        MissingCapability: cuda-python does not load, or there is no driver or no device.
    """

    name = "cuda-python"

    def __init__(self) -> None:
        self._runtime: Any = lazy.require("cuda.bindings.runtime", extra="tensorrt")
        self._undo: list[Callable[[], object]] = []
        try:
            devices = self._call("cudaGetDeviceCount")
        except (RuntimeError, ToolFailed) as error:
            raise no_gpu(str(error)) from error
        if not devices:
            raise no_gpu("it lists no devices")
        self._call("cudaSetDevice", _DEVICE)
        self._stream = self._made(
            "cudaStreamCreateWithFlags", self._runtime.cudaStreamNonBlocking, undo="StreamDestroy"
        )
        self.stream = int(self._stream)
        self._mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._to_device = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._to_host = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost

    def memory(self) -> Memory:
        """What is free now."""
        free, total = self._call("cudaMemGetInfo")
        shared = self._call("cudaDeviceGetAttribute", self._runtime.cudaDeviceAttr.cudaDevAttrIntegrated, _DEVICE)
        return Memory(free_mb=mb_from_bytes(free), total_mb=mb_from_bytes(total), shared=bool(shared))

    def allocate(self, size_bytes: int) -> Buffer:
        """Room on both sides."""
        import numpy as np

        size_bytes = max(1, size_bytes)
        device = self._made("cudaMalloc", size_bytes, undo="Free")
        host = self._made("cudaMallocHost", size_bytes, undo="FreeHost")
        view = (ctypes.c_uint8 * size_bytes).from_address(int(host))
        return Buffer(device=int(device), host=np.ctypeslib.as_array(view))

    def upload(self, buffer: Buffer, size_bytes: int) -> None:
        """Copy to the device."""
        self._call("cudaMemcpyAsync", buffer.device, buffer.host.ctypes.data, size_bytes, self._to_device, self._stream)

    def download(self, buffer: Buffer, size_bytes: int) -> None:
        """Copy to the host."""
        self._call("cudaMemcpyAsync", buffer.host.ctypes.data, buffer.device, size_bytes, self._to_host, self._stream)

    def event(self) -> Any:
        """A point in time."""
        return self._made("cudaEventCreate", undo="EventDestroy")

    def recorder(self, event: Any) -> Callable[[], object]:
        """A call that records the event."""
        return functools.partial(self._runtime.cudaEventRecord, event, self._stream)

    def elapsed_ms(self, start: Any, end: Any) -> float:
        """The time between two events."""
        return float(self._call("cudaEventElapsedTime", start, end))

    def capture(self, enqueue: Callable[[], object]) -> Callable[[], object]:
        """What ``enqueue`` does as one graph."""
        self._call("cudaStreamBeginCapture", self._stream, self._mode)
        try:
            enqueue()
        finally:
            graph = self._call("cudaStreamEndCapture", self._stream)
        try:
            instance = self._made("cudaGraphInstantiate", graph, 0, undo="GraphExecDestroy")
        finally:
            self._call("cudaGraphDestroy", graph)
        self._call("cudaGraphLaunch", instance, self._stream)  # once with its error looked at
        self.synchronize()
        return functools.partial(self._runtime.cudaGraphLaunch, instance, self._stream)

    def synchronize(self) -> None:
        """Wait for the stream."""
        self._call("cudaStreamSynchronize", self._stream)

    def close(self) -> None:
        """Destroy what was made, the last first."""
        while self._undo:
            self._undo.pop()()

    def _made(self, name: str, *arguments: Any, undo: str) -> Any:
        made = self._call(name, *arguments)
        self._undo.append(functools.partial(getattr(self._runtime, f"cuda{undo}"), made))
        return made

    def _call(self, name: str, *arguments: Any) -> Any:
        """The value of a call, or all of them where there are several.

        Raises:
            MissingCapability: no memory is left.
            ToolFailed: any other error.
        """
        error, *values = getattr(self._runtime, name)(*arguments)
        if error != self._runtime.cudaError_t.cudaSuccess:
            if error == self._runtime.cudaError_t.cudaErrorMemoryAllocation:
                raise MissingCapability(f"no memory left on the GPU ({name})", do="close other programs on it")
            raise ToolFailed(f"CUDA failed: {error.name} in {name}")
        return values[0] if len(values) == 1 else tuple(values)
