"""The inputs and outputs of a session of ONNX Runtime in memory of ours, bound once for inputs of fixed shapes."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from espdeploy.backends.onnxruntime import tensor_info
from espdeploy.backends.tensorrt.cuda import Buffer, Session

if TYPE_CHECKING:
    import numpy as np

    from espdeploy.protocols import Tensor

_DEVICE_ID = 0
#: leave the waiting to the caller, who does it once, after the last event
_NO_WAITING = "disable_synchronize_execution_providers"
#: which CUDA graph a run belongs to, for CUDA and TensorRT and for TensorRT-RTX; the first two know a number for none
_GRAPH_IDS, _NO_GRAPH = ("gpu_graph_id", "cuda_graph_annotation_id"), -1


@dataclass(frozen=True, kw_only=True)
class Bound:
    """One tensor with its room on both sides."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    buffer: Buffer

    @property
    def size_bytes(self) -> int:
        """What it takes."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def view(self) -> Tensor:
        """The host's side as an array; it lives as long as the session."""
        view: Tensor = self.buffer.host[: self.size_bytes].view(self.dtype).reshape(self.shape)
        return view


class Binding:
    """All tensors of a session for inputs of these shapes. Buffers are given back with the session of CUDA.

    Args:
        runtime: ONNX Runtime.
        session: its session.
        gpu: gives the memory, and the stream that the session works on.
        arrays: the inputs by name.
        graph: the number of the CUDA graph that these shapes get; None: no graphs.
        device: where ``gpu`` has its memory, in ONNX Runtime's word.

    Raises:
        MissingCapability: the device has no room.
    """

    def __init__(
        self,
        runtime: ModuleType,
        session: Any,
        gpu: Session,
        arrays: Mapping[str, Tensor],
        *,
        graph: int | None,
        device: str = "cuda",
    ) -> None:
        self._gpu, self._device = gpu, device
        self.shapes = {name: array.shape for name, array in arrays.items()}
        self._inputs = {name: self._room(array.shape, array.dtype) for name, array in arrays.items()}
        self._outputs = self._found_outputs(session, _options(runtime, None if graph is None else _NO_GRAPH), arrays)
        binding = self._with_inputs(session)
        for name, item in self._outputs.items():
            binding.bind_output(name, self._device, _DEVICE_ID, item.dtype.type, item.shape, item.buffer.device)
        #: puts one inference onto the stream
        self.launch = functools.partial(session.run_with_iobinding, binding, _options(runtime, graph))

    def load(self, arrays: Mapping[str, Tensor]) -> None:
        """Put the values into the host's side."""
        for name, array in arrays.items():
            self._inputs[name].view[...] = array

    def upload(self) -> None:
        """Copy all inputs to the device, in stream order."""
        for item in self._inputs.values():
            self._gpu.upload(item.buffer, item.size_bytes)

    def download(self) -> None:
        """Copy all outputs to the host, in stream order."""
        for item in self._outputs.values():
            self._gpu.download(item.buffer, item.size_bytes)

    def results(self) -> dict[str, Tensor]:
        """Copies of the outputs on the host's side."""
        return {name: item.view.copy() for name, item in self._outputs.items()}

    def _room(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Bound:
        size_bytes = math.prod(shape) * dtype.itemsize
        return Bound(shape=shape, dtype=dtype, buffer=self._gpu.allocate(size_bytes))

    def _with_inputs(self, session: Any) -> Any:
        binding = session.io_binding()
        for name, item in self._inputs.items():
            binding.bind_input(name, self._device, _DEVICE_ID, item.dtype.type, item.shape, item.buffer.device)
        return binding

    def _found_outputs(self, session: Any, options: Any, arrays: Mapping[str, Tensor]) -> dict[str, Bound]:
        """Room for what one run returns: the shapes in the graph may be open."""
        import numpy as np

        self.load(arrays)
        self.upload()
        binding = self._with_inputs(session)
        infos = [tensor_info(item) for item in session.get_outputs()]
        for info in infos:
            binding.bind_output(info.name, self._device, _DEVICE_ID)
        session.run_with_iobinding(binding, options)
        self._gpu.synchronize()
        return {
            info.name: self._room(tuple(value.shape()), np.dtype(info.dtype))
            for info, value in zip(infos, binding.get_outputs(), strict=True)
        }


def _options(runtime: ModuleType, graph: int | None) -> Any:
    options = runtime.RunOptions()
    options.add_run_config_entry(_NO_WAITING, "1")
    if graph is not None:
        for key in _GRAPH_IDS:
            options.add_run_config_entry(key, str(graph))
    return options
