"""A GPU in the machine's own memory: CUDA's runtime and a TensorRT that answer as the real ones are documented to.

Addresses are real ones, so a copy that is forgotten, of the wrong size or to the wrong place shows in the results. Work
is done when it is put onto the stream, or, while a graph is captured, kept for its launches.
"""

# ruff: noqa: N802, N815  # the names are CUDA's

from __future__ import annotations

import ctypes
import enum
import functools
import time
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

SCALE = 3.0


class CudaError(enum.IntEnum):
    """The errors of CUDA that matter here."""

    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorStreamCaptureUnsupported = 900


class Runtime(ModuleType):
    """``cuda.bindings.runtime``: functions that answer with a tuple, the error first."""

    cudaError_t = CudaError
    cudaStreamNonBlocking = 1
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)
    cudaDeviceAttr = SimpleNamespace(cudaDevAttrIntegrated=18)

    def __init__(self, *, devices: int = 1, memory_bytes: int = 1 << 30) -> None:
        super().__init__("cuda.bindings.runtime")
        self.devices, self.free_bytes = devices, memory_bytes
        self.live: dict[int, Any] = {}
        self.captured: list[Callable[[], object]] | None = None
        self.copies: list[int] = []

    def _made(self, thing: object) -> tuple[CudaError, int]:
        handle = ctypes.addressof(thing) if isinstance(thing, ctypes.Array) else id(thing)
        self.live[handle] = thing
        return CudaError.cudaSuccess, handle

    def _gone(self, handle: int) -> tuple[CudaError]:
        del self.live[int(handle)]  # fails for what was never made, or is gone already
        return (CudaError.cudaSuccess,)

    def _queue(self, work: Callable[[], object]) -> tuple[CudaError]:
        if self.captured is None:
            work()
        else:
            self.captured.append(work)
        return (CudaError.cudaSuccess,)

    def cudaGetDeviceCount(self) -> tuple[CudaError, int | None]:
        return (CudaError.cudaSuccess, self.devices) if self.devices else (CudaError.cudaErrorInsufficientDriver, None)

    def cudaSetDevice(self, device: int) -> tuple[CudaError]:
        assert device in range(self.devices)
        return (CudaError.cudaSuccess,)

    def cudaMemGetInfo(self) -> tuple[CudaError, int, int]:
        return CudaError.cudaSuccess, self.free_bytes, 2 * self.free_bytes

    def cudaDeviceGetAttribute(self, attribute: int, device: int) -> tuple[CudaError, int]:
        return CudaError.cudaSuccess, 0

    def cudaMalloc(self, size: int) -> tuple[CudaError, int | None]:
        if size > self.free_bytes:
            return CudaError.cudaErrorMemoryAllocation, None
        return self._made((ctypes.c_uint8 * size)())

    cudaMallocHost = cudaMalloc
    cudaFree = cudaFreeHost = cudaStreamDestroy = cudaEventDestroy = cudaGraphDestroy = cudaGraphExecDestroy = _gone

    def cudaMemcpyAsync(self, *call: int) -> tuple[CudaError]:
        target, source, size, _, _ = call
        self.copies.append(size)
        return self._queue(lambda: ctypes.memmove(target, source, size))

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[CudaError, int]:
        return self._made(SimpleNamespace())

    def cudaEventCreate(self) -> tuple[CudaError, int]:
        return self._made(SimpleNamespace(at_s=None))

    def cudaEventRecord(self, event: int, stream: int) -> tuple[CudaError]:
        assert stream in self.live
        self.live[event].at_s = time.perf_counter()
        return (CudaError.cudaSuccess,)

    def cudaEventElapsedTime(self, start: int, end: int) -> tuple[CudaError, float]:
        return CudaError.cudaSuccess, 1e3 * (self.live[end].at_s - self.live[start].at_s)

    def cudaStreamSynchronize(self, stream: int) -> tuple[CudaError]:
        assert stream in self.live
        assert self.captured is None  # forbidden while capturing
        return (CudaError.cudaSuccess,)

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> tuple[CudaError]:
        self.captured = []
        return (CudaError.cudaSuccess,)

    def cudaStreamEndCapture(self, stream: int) -> tuple[CudaError, int]:
        work, self.captured = self.captured, None
        return self._made(SimpleNamespace(work=work))

    def cudaGraphInstantiate(self, graph: int, flags: int) -> tuple[CudaError, int]:
        return self._made(SimpleNamespace(work=self.live[graph].work))

    def cudaGraphLaunch(self, graph: int, stream: int) -> tuple[CudaError]:
        for work in self.live[graph].work:
            work()
        return (CudaError.cudaSuccess,)


class PyCudaError(Exception):
    """The base of PyCUDA's errors."""


class PyCudaMemoryError(PyCudaError):
    """No memory is left."""


class Allocation:
    """Memory of the device."""

    def __init__(self, runtime: Runtime, size: int) -> None:
        error, address = runtime.cudaMalloc(size)
        if error or address is None:
            raise PyCudaMemoryError("cuMemAlloc failed: out of memory")
        self.runtime, self.address = runtime, address

    def __int__(self) -> int:
        return self.address

    def free(self) -> None:
        self.runtime.cudaFree(self.address)


class Stream:
    """A stream, destroyed with its last reference."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime, self.handle = runtime, runtime.cudaStreamCreateWithFlags(0)[1]

    def __del__(self) -> None:
        self.runtime.live.pop(self.handle)

    def synchronize(self) -> None:
        self.runtime.cudaStreamSynchronize(self.handle)


class Event:
    """A point in time."""

    at_s = 0.0

    def record(self, stream: Stream) -> None:
        self.at_s = time.perf_counter()

    def time_since(self, start: Event) -> float:
        return 1e3 * (self.at_s - start.at_s)


class Device:
    """A board: its memory is the processor's too."""

    def __init__(self, runtime: Runtime, contexts: list[Device], number: int) -> None:
        if number not in range(runtime.devices):
            raise PyCudaError("cuDeviceGet failed: invalid device ordinal")
        self.contexts = contexts

    def retain_primary_context(self) -> SimpleNamespace:
        return SimpleNamespace(push=lambda: self.contexts.append(self), pop=self.contexts.pop, detach=lambda: None)

    def get_attribute(self, attribute: str) -> int:
        return 1


def pycuda(runtime: Runtime) -> Any:
    """``pycuda.driver`` over the same memory: objects with methods, and errors that are raised."""

    def copy_in(target: int, source: np.ndarray, stream: Stream) -> None:
        runtime.cudaMemcpyAsync(target, source.ctypes.data, source.nbytes, 1, stream.handle)

    def copy_out(target: np.ndarray, source: int, stream: Stream) -> None:
        runtime.cudaMemcpyAsync(target.ctypes.data, source, target.nbytes, 2, stream.handle)

    module: Any = ModuleType("pycuda.driver")
    module.contexts = []
    module.Error, module.MemoryError = PyCudaError, PyCudaMemoryError
    module.init = lambda: None
    module.Device = functools.partial(Device, runtime, module.contexts)
    module.Stream, module.Event = functools.partial(Stream, runtime), Event
    module.mem_alloc = functools.partial(Allocation, runtime)
    module.device_attribute = SimpleNamespace(INTEGRATED="integrated")
    module.mem_get_info = lambda: (runtime.free_bytes, 2 * runtime.free_bytes)
    module.pagelocked_empty = np.empty
    module.memcpy_htod_async, module.memcpy_dtoh_async = copy_in, copy_out
    return module


class Engine:
    """``output = input * SCALE`` over (N,3,4,5), N from 1 to 4, in any of TensorRT's types."""

    num_io_tensors = 2

    def __init__(self, runtime: Runtime, dtype: str = "FLOAT") -> None:
        self.runtime, self.dtype = runtime, dtype
        self.contexts: list[Context] = []

    def get_tensor_name(self, index: int) -> str:
        return ("input", "output")[index]

    def get_tensor_mode(self, name: str) -> str:
        return name.upper()

    def get_tensor_shape(self, name: str) -> list[int]:
        return [-1, 3, 4, 5]

    def get_tensor_dtype(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(name=self.dtype)

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[list[int]]:
        return [[batch, 3, 4, 5] for batch in (1, 2, 4)]

    def create_execution_context(self) -> Context:
        self.contexts.append(Context(self))
        return self.contexts[-1]

    def create_engine_inspector(self) -> None:
        """An engine that says nothing of itself."""


class Context:
    """An execution context; it works on the addresses that it was given."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.shape = [-1, 3, 4, 5]
        self.addresses: dict[str, int] = {}
        self.launches = 0

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        fits = 1 <= shape[0] <= 4 and list(shape[1:]) == [3, 4, 5]
        self.shape = list(shape) if fits else self.shape
        return fits

    def get_tensor_shape(self, name: str) -> list[int]:
        return self.shape

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return address in self.engine.runtime.live

    def execute_async_v3(self, stream: int) -> bool:
        assert stream in self.engine.runtime.live
        self.launches += 1
        count = int(np.prod(self.shape))
        self.engine.runtime._queue(lambda: self._compute(count))
        return True

    def _compute(self, count: int) -> None:
        given, made = (
            np.ctypeslib.as_array((ctypes.c_float * count).from_address(self.addresses[name]))
            for name in ("input", "output")
        )
        made[:] = given * SCALE


class RuntimeCache:
    """Kernels by name; one of another release is refused, and nothing of it taken (IRuntimeCache.deserialize)."""

    HEAD = b"kernels of 1.7: "

    def __init__(self) -> None:
        self.kernels: set[str] = set()

    def deserialize(self, blob: bytes) -> bool:
        fits = blob.startswith(self.HEAD)
        if fits:
            self.kernels |= set(blob[len(self.HEAD) :].decode().split())
        return fits

    def serialize(self) -> bytes:
        return self.HEAD + " ".join(sorted(self.kernels)).encode()


class RuntimeConfig:
    """How an execution context is made."""

    cuda_graph_strategy: Any = None
    cache: RuntimeCache | None = None

    def create_runtime_cache(self) -> RuntimeCache:
        return RuntimeCache()

    def set_runtime_cache(self, cache: RuntimeCache) -> bool:
        self.cache = cache
        return True


class RtxEngine(Engine):
    """An engine of TensorRT-RTX: ``compiled`` counts the kernels that no runtime cache had."""

    compiled = 0

    def create_runtime_config(self) -> RuntimeConfig:
        return RuntimeConfig()

    def create_execution_context(self, config: RuntimeConfig | None = None) -> Context:
        cache = config.cache if config is not None and config.cache is not None else RuntimeCache()
        wanted = {"multiply", "copy"}
        self.compiled += len(wanted - cache.kernels)
        cache.kernels |= wanted
        return super().create_execution_context()


def tensorrt(engine: Engine | None) -> Any:
    """A module whose runtime opens ``engine``, or refuses where there is none."""
    severity = enum.Enum("Severity", "INTERNAL_ERROR ERROR WARNING INFO VERBOSE")

    class Logger:
        Severity = severity

    class Opener:
        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def deserialize_cuda_engine(self, content: bytes) -> Engine | None:
            if engine is None:
                self.logger.log(severity.ERROR, "incompatible device, expecting compute 8.9 got compute 8.6, rebuild")
            return engine

    module: Any = ModuleType("tensorrt")
    module.ILogger, module.Runtime = Logger, Opener
    module.TensorIOMode = SimpleNamespace(INPUT="INPUT", OUTPUT="OUTPUT")
    module.LayerInformationFormat = SimpleNamespace(JSON="json")
    module.CudaGraphStrategy = SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole")
    return module
