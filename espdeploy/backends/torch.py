"""PyTorch in eager mode behind the Runner protocol: the reference that the other runtimes are held against."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from espdeploy import lazy
from espdeploy.artifacts import ModelCard
from espdeploy.backends.feeds import checked_feed
from espdeploy.backends.onnx_precision import shares_pct
from espdeploy.backends.source import ModuleSource, Source
from espdeploy.errors import InputFileError, ToolFailed, UsageError
from espdeploy.protocols import RunnerFacts, TensorInfo
from espdeploy.specs import RunSpec

if TYPE_CHECKING:
    from typing_extensions import Self

    from espdeploy.protocols import Tensor

_INPUT, _OUTPUT = "input", "output"
_PRECISIONS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}


class TorchRunner:
    """A module in eager mode on the CPU. Its thread count is PyTorch's global one, set on entry and put back.

    Raises:
        InputFileError: the source is a file; PyTorch runs networks by name.
        UsageError: a precision other than fp32.
    """

    name = "torch"

    def __init__(self, source: Source, spec: RunSpec) -> None:
        if not isinstance(source, ModuleSource):
            raise InputFileError(
                "the torch runtime runs networks of the zoo and factories, not ONNX files",
                do="name the network with --model, or choose --runtime onnxruntime",
            )
        if spec.precision != "fp32":
            raise UsageError(f"the torch runtime runs fp32, not {spec.precision}")
        self._source = source
        self._spec = spec
        self._threads_before: int | None = None

    def __enter__(self) -> Self:
        torch = lazy.require("torch", extra="export")
        self._threads_before = torch.get_num_threads()
        torch.set_num_threads(self._spec.threads)
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._threads_before is not None:
            lazy.require("torch", extra="export").set_num_threads(self._threads_before)

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """The inputs that the source names; without names the one image, N,C,H,W."""
        shape = self._source.input_shape or ()
        return self._source.inputs or (TensorInfo(name=_INPUT, shape=shape, dtype="float32"),)

    @functools.cached_property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """The outputs, found by one run."""
        import numpy as np

        result = self.infer({item.name: np.zeros(item.extents(1), dtype=item.dtype) for item in self.inputs})
        return tuple(TensorInfo(name=name, shape=item.shape, dtype=item.dtype.name) for name, item in result.items())

    @functools.cached_property
    def facts(self) -> RunnerFacts:
        """What PyTorch says it runs."""
        torch = lazy.require("torch", extra="export")
        return RunnerFacts(
            runtime=self.name,
            runtime_version=str(torch.__version__),
            provider="cpu eager",
            threads=int(torch.get_num_threads()),
            precision_share_pct=_convolution_shares(self._source.module),
        )

    @property
    def card(self) -> ModelCard | None:
        """What the network's builder said about it."""
        return self._source.card

    def infer(self, feed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run once."""
        try:
            result = self.stepper(feed)()
        except RuntimeError as error:
            raise ToolFailed("PyTorch failed while running the network", why=str(error).splitlines()[0]) from error
        items: list[Any] = list(result) if isinstance(result, (tuple, list)) else [result]
        names = [_OUTPUT] if len(items) == 1 else [f"{_OUTPUT}_{index}" for index in range(len(items))]
        return {name: item.numpy() for name, item in zip(names, items, strict=True)}

    def stepper(self, feed: Mapping[str, Tensor]) -> Callable[[], object]:
        """The module's forward on one tensor for each input, gradients off."""
        torch = lazy.require("torch", extra="export")
        tensors = [torch.from_numpy(array) for array in checked_feed(feed, self.inputs).values()]
        module = self._source.module

        def step() -> object:
            with torch.inference_mode():
                return module(*tensors)

        return step


def _convolution_shares(module: Any) -> Mapping[str, float] | None:
    from torch.nn.modules.conv import _ConvNd

    counts: Counter[str] = Counter()
    for layer in module.modules():
        if isinstance(layer, _ConvNd):
            dtype = str(layer.weight.dtype).removeprefix("torch.")
            counts[_PRECISIONS.get(dtype, dtype)] += 1
    return shares_pct(counts)
