"""PyTorch on the CPU behind the Runner protocol: eager, which other runtimes are held against, and compiled."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from espdeploy import lazy
from espdeploy.artifacts import ModelCard
from espdeploy.backends import torch_failures
from espdeploy.backends.feeds import checked_feed
from espdeploy.backends.source import Source
from espdeploy.backends.torch_module import checked_module, module_shares_pct, named_outputs
from espdeploy.protocols import RunnerFacts, TensorInfo
from espdeploy.specs import RunSpec

if TYPE_CHECKING:
    from typing_extensions import Self

    from espdeploy.protocols import Tensor

_INPUT = "input"
#: weights are constants, so that the compiler may fold and reorder them
_COMPILED_FOR_INFERENCE = {"freezing": True}


class TorchRunner:
    """A module in eager mode on the CPU. Its thread count is PyTorch's global one, set on entry and put back.

    Raises:
        InputFileError: the source is a file; PyTorch runs networks by name.
        UsageError: a precision other than fp32.
    """

    name: ClassVar[str] = "torch"
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)
    how: str = "cpu eager"
    #: what takes ONNX files on the same hardware
    for_files: ClassVar[str] = "onnxruntime"

    def __init__(self, source: Source, spec: RunSpec) -> None:
        self._source = checked_module(source, spec, precisions=self.precisions, for_files=self.for_files)
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
            provider=self.how,
            threads=int(torch.get_num_threads()),
            precision_share_pct=module_shares_pct(self._source.module),
        )

    @property
    def card(self) -> ModelCard | None:
        """What the network's builder said about it."""
        return self._source.card

    @functools.cached_property
    def _function(self) -> Callable[..., Any]:
        """What is called with one tensor for each input."""
        return self._source.module

    def infer(self, feed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run once."""
        try:
            result = self._step(feed)()
        except RuntimeError as error:
            raise torch_failures.explained(lazy.require("torch", extra="export"), error) from error
        return {name: item.numpy() for name, item in named_outputs(result).items()}

    def stepper(self, feed: Mapping[str, Tensor]) -> Callable[[], object]:
        """The module's forward on one tensor for each input, gradients off."""
        return self._step(feed)

    def _step(self, feed: Mapping[str, Tensor]) -> Callable[[], object]:
        torch = lazy.require("torch", extra="export")
        tensors = [torch.from_numpy(array) for array in checked_feed(feed, self.inputs).values()]
        function = self._function

        def step() -> object:
            with torch.inference_mode():
                return function(*tensors)

        return step


class TorchCompileRunner(TorchRunner):
    """A module through ``torch.compile`` on the CPU, for inputs of fixed shapes.

    Raises:
        InputFileError, UsageError: as :class:`TorchRunner`.
        MissingCapability: on the first run: there is no C++ compiler.
    """

    name = "torch-compile"
    how = "cpu torch.compile, weights frozen"

    @functools.cached_property
    def _function(self) -> Callable[..., Any]:
        torch = lazy.require("torch", extra="export")
        compiled: Callable[..., Any] = torch.compile(
            self._source.module, dynamic=False, options=_COMPILED_FOR_INFERENCE
        )
        return compiled

    def stepper(self, feed: Mapping[str, Tensor]) -> Callable[[], object]:
        """As of :class:`TorchRunner`; compiled before it returns."""
        self.infer(feed)
        return self._step(feed)
