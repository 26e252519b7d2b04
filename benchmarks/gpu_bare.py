"""An engine in the shortest loop that NVIDIA's own Python API allows: what `gpu.py` holds espdeploy's runner against.

Nothing of espdeploy is used here. TensorRT's launch is captured as a CUDA graph; TensorRT-RTX captures by itself.
"""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np

PACKAGES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}


def ok(answer: tuple[Any, ...]) -> Any:
    """The value of a call into CUDA that must succeed."""
    error, *values = answer
    assert int(error) == 0, error
    return values[0] if values else None


class BareEngine:
    """An engine on the first device with its memory; ``times_ms(n)`` launches it n times."""

    def __init__(self, kind: str, path: Path, image: np.ndarray) -> None:
        self._cuda = importlib.import_module("cuda.bindings.runtime")
        module = importlib.import_module(PACKAGES[kind])
        self._runtime = module.Runtime(module.Logger(module.Logger.ERROR))
        self._engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        self._context = self._made_context(kind, module)
        self._stream = ok(self._cuda.cudaStreamCreateWithFlags(self._cuda.cudaStreamNonBlocking))
        self._bind(module, np.ascontiguousarray(image))
        self._graph = self._captured() if kind == "tensorrt" else None

    def times_ms(self, calls: int) -> list[float]:
        """The time on the GPU of each launch; the loop waits for one before it makes the next."""
        cuda, stream = self._cuda, self._stream
        events = [(ok(cuda.cudaEventCreate()), ok(cuda.cudaEventCreate())) for _ in range(calls)]
        for before, after in events:
            cuda.cudaEventRecord(before, stream)
            if self._graph is None:
                self._context.execute_async_v3(int(stream))
            else:
                cuda.cudaGraphLaunch(self._graph, stream)
            cuda.cudaEventRecord(after, stream)
            cuda.cudaStreamSynchronize(stream)
        found = [float(ok(cuda.cudaEventElapsedTime(before, after))) for before, after in events]
        for pair in events:
            for event in pair:
                cuda.cudaEventDestroy(event)
        return found

    def _made_context(self, kind: str, module: Any) -> Any:
        if kind == "tensorrt":
            return self._engine.create_execution_context()
        config = self._engine.create_runtime_config()
        config.cuda_graph_strategy = module.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        return self._engine.create_execution_context(config)

    def _bind(self, module: Any, image: np.ndarray) -> None:
        cuda = self._cuda
        for index in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(index)
            is_input = self._engine.get_tensor_mode(name) == module.TensorIOMode.INPUT
            item_bytes = np.dtype(module.nptype(self._engine.get_tensor_dtype(name))).itemsize
            size = math.prod(self._engine.get_tensor_shape(name)) * item_bytes
            address = ok(cuda.cudaMalloc(size))
            self._context.set_tensor_address(name, int(address))
            if is_input:
                assert size == image.nbytes, (name, size, image.nbytes)
                ok(cuda.cudaMemcpy(address, image.ctypes.data, size, cuda.cudaMemcpyKind.cudaMemcpyHostToDevice))

    def _captured(self) -> Any:
        cuda, stream = self._cuda, self._stream
        self._context.execute_async_v3(int(stream))  # once outside, as NVIDIA's guide asks for
        ok(cuda.cudaStreamSynchronize(stream))
        ok(cuda.cudaStreamBeginCapture(stream, cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal))
        self._context.execute_async_v3(int(stream))
        graph = ok(cuda.cudaStreamEndCapture(stream))
        return ok(cuda.cudaGraphInstantiate(graph, 0))
