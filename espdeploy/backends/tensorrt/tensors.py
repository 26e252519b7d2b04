"""The inputs and outputs of an engine, and the memory that they have on both sides."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from espdeploy.backends.tensorrt.api import Api
from espdeploy.backends.tensorrt.cuda import Buffer, Session
from espdeploy.errors import ToolFailed, UsageError
from espdeploy.protocols import BATCH, Dim, TensorInfo

if TYPE_CHECKING:
    from espdeploy.protocols import Tensor

#: NVIDIA's names of data types -> NumPy's; the rest has none
_DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}
_DYNAMIC = -1
_PROFILE = 0


@dataclass(frozen=True, kw_only=True)
class Binding:
    """One tensor of an engine with its room, which is for the largest shape that the engine takes."""

    info: TensorInfo
    is_input: bool
    buffer: Buffer

    def view(self, shape: tuple[int, ...]) -> Tensor:
        """The host's side as an array; it lives as long as the session."""
        import numpy as np

        dtype = np.dtype(self.info.dtype)
        view: Tensor = self.buffer.host[: math.prod(shape) * dtype.itemsize].view(dtype).reshape(shape)
        return view


class Tensors:
    """All tensors of one execution context, allocated once and bound once.

    Raises:
        MissingCapability: the device has no room for them.
        ToolFailed: the context does not take an address.
    """

    def __init__(self, api: Api, engine: Any, context: Any, session: Session) -> None:
        self._context, self._session = context, session
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        is_input = {name: engine.get_tensor_mode(name) == api.module.TensorIOMode.INPUT for name in names}
        self.infos = {name: _info(engine, name) for name in names}
        largest = {}
        for name in names:
            if is_input[name]:
                largest[name] = _largest(engine, name)
                context.set_input_shape(name, largest[name])
        self.bindings: dict[str, Binding] = {}
        for name in names:
            shape = largest.get(name) or tuple(context.get_tensor_shape(name))
            if _DYNAMIC in shape:
                raise ToolFailed(f'the size of output "{name}" depends on the data', do="--runtime onnxruntime")
            buffer = session.allocate(math.prod(shape) * _item_size(self.infos[name]))
            self.bindings[name] = Binding(info=self.infos[name], is_input=is_input[name], buffer=buffer)
            if not context.set_tensor_address(name, buffer.device):
                raise ToolFailed(f'TensorRT does not take the address of tensor "{name}"')

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """The inputs, in the engine's order."""
        return tuple(item.info for item in self.bindings.values() if item.is_input)

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """The outputs, in the engine's order."""
        return tuple(item.info for item in self.bindings.values() if not item.is_input)

    def load(self, feed: Mapping[str, Tensor]) -> None:
        """Set the shapes, and put the values into the host's side.

        Raises:
            UsageError: a shape that the engine was not built for.
        """
        for name, array in feed.items():
            if not self._context.set_input_shape(name, array.shape):
                raise UsageError(
                    f'the engine does not take the shape {list(array.shape)} for "{name}"',
                    why="it was built for another range of shapes",
                    do="build it again with that shape in the range, or feed one in it",
                )
            self.bindings[name].view(array.shape)[...] = array

    def upload(self) -> None:
        """Copy all inputs to the device, in stream order."""
        for binding, shape in self._of_kind(is_input=True):
            self._session.upload(binding.buffer, math.prod(shape) * _item_size(binding.info))

    def download(self) -> None:
        """Copy all outputs to the host, in stream order."""
        for binding, shape in self._of_kind(is_input=False):
            self._session.download(binding.buffer, math.prod(shape) * _item_size(binding.info))

    def results(self) -> dict[str, Tensor]:
        """Copies of the outputs on the host's side."""
        return {binding.info.name: binding.view(shape).copy() for binding, shape in self._of_kind(is_input=False)}

    def _of_kind(self, *, is_input: bool) -> Iterator[tuple[Binding, tuple[int, ...]]]:
        for name, binding in self.bindings.items():
            if binding.is_input == is_input:
                yield binding, tuple(self._context.get_tensor_shape(name))


def _info(engine: Any, name: str) -> TensorInfo:
    declared = tuple(engine.get_tensor_shape(name))
    shape: tuple[Dim, ...] = tuple(
        (BATCH if axis == 0 else f"dynamic_{axis}") if extent == _DYNAMIC else int(extent)
        for axis, extent in enumerate(declared)
    )
    kind = engine.get_tensor_dtype(name).name
    return TensorInfo(name=name, shape=shape, dtype=_DTYPES.get(kind, kind.lower()))


def _largest(engine: Any, name: str) -> tuple[int, ...]:
    declared = tuple(engine.get_tensor_shape(name))
    if _DYNAMIC not in declared:
        return declared
    return tuple(engine.get_tensor_profile_shape(name, _PROFILE)[2])


def _item_size(info: TensorInfo) -> int:
    import numpy as np

    try:
        return np.dtype(info.dtype).itemsize
    except TypeError as error:
        raise UsageError(
            f'the tensor "{info.name}" holds {info.dtype}, which NumPy has no type for',
            do="export the network with inputs and outputs of float32",
        ) from error
