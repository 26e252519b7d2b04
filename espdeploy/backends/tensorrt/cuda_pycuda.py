"""A session through PyCUDA, which boards have whose CUDA is older than cuda-python's. It offers no CUDA graphs.

Source: PyCUDA's reference of ``pycuda.driver``. TensorRT works in the device's primary context, so this does too.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

from espdeploy import lazy
from espdeploy.backends.tensorrt.cuda import Buffer, Memory, no_gpu
from espdeploy.errors import MissingCapability, ToolFailed
from espdeploy.units import mb_from_bytes

_DEVICE = 0


class PyCudaSession:
    """One stream in the primary context of the first device.

    Raises:
        MissingCapability: PyCUDA does not load, or there is no driver or no device.
    """

    name = "pycuda"

    def __init__(self) -> None:
        self._driver: Any = lazy.require("pycuda.driver", extra="pycuda")
        try:
            self._driver.init()
            self._device = self._driver.Device(_DEVICE)
            self._context = self._device.retain_primary_context()
            self._context.push()
        except self._driver.Error as error:
            raise no_gpu(str(error)) from error
        self._stream = self._driver.Stream()
        self.stream = int(self._stream.handle)
        self._device_sides: dict[int, Any] = {}
        self._host_sides: list[Any] = []

    def memory(self) -> Memory:
        """What is free now."""
        free, total = self._driver.mem_get_info()
        shared = self._device.get_attribute(self._driver.device_attribute.INTEGRATED)
        return Memory(free_mb=mb_from_bytes(free), total_mb=mb_from_bytes(total), shared=bool(shared))

    def allocate(self, size_bytes: int) -> Buffer:
        """Room on both sides."""
        import numpy as np

        size_bytes = max(1, size_bytes)
        with self._translated():
            device = self._driver.mem_alloc(size_bytes)
            host = self._driver.pagelocked_empty(size_bytes, np.uint8)
        self._device_sides[int(device)] = device
        self._host_sides.append(host)
        return Buffer(device=int(device), host=host)

    def upload(self, buffer: Buffer, size_bytes: int) -> None:
        """Copy to the device."""
        with self._translated():
            self._driver.memcpy_htod_async(buffer.device, buffer.host[:size_bytes], self._stream)

    def download(self, buffer: Buffer, size_bytes: int) -> None:
        """Copy to the host."""
        with self._translated():
            self._driver.memcpy_dtoh_async(buffer.host[:size_bytes], buffer.device, self._stream)

    def event(self) -> Any:
        """A point in time."""
        return self._driver.Event()

    def recorder(self, event: Any) -> Callable[[], object]:
        """A call that records the event."""
        return functools.partial(event.record, self._stream)

    def elapsed_ms(self, start: Any, end: Any) -> float:
        """The time between two events."""
        return float(end.time_since(start))

    def capture(self, enqueue: Callable[[], object]) -> None:
        """PyCUDA has no CUDA graphs."""

    def synchronize(self) -> None:
        """Wait for the stream."""
        with self._translated():
            self._stream.synchronize()

    def close(self) -> None:
        """Free what was allocated, and leave the context."""
        for device in self._device_sides.values():
            device.free()
        self._device_sides.clear()
        self._host_sides.clear()
        self._stream = None  # PyCUDA destroys it with its last reference
        if self._context is not None:
            self._context.pop()
            self._context.detach()
            self._context = None

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except self._driver.MemoryError as error:
            raise MissingCapability(
                "no memory left on the GPU", why=str(error), do="close other programs on it"
            ) from error
        except self._driver.Error as error:
            raise ToolFailed(f"CUDA failed: {error}") from error
