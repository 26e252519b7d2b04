"""PyTorch on the first CUDA device behind the Runner protocol: eager, as one CUDA graph, and compiled.

Sources: PyTorch's notes "CUDA semantics" (CUDA Graphs: run on a side stream before the capture, inputs and outputs
stay where they are; TF32 on Ampere and newer) and the references of ``torch.cuda.Event`` and ``torch.compile``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from espdeploy import shell
from espdeploy.backends import torch_failures
from espdeploy.backends.feeds import checked_feed
from espdeploy.backends.source import Source
from espdeploy.backends.tensorrt.steps import DEFAULT_ROOM, Steps
from espdeploy.backends.torch import TorchRunner
from espdeploy.backends.torch_inference import Inference
from espdeploy.backends.torch_module import module_shares_pct, placed, with_fp32_ends
from espdeploy.errors import ToolFailed, UsageError
from espdeploy.protocols import RunnerFacts
from espdeploy.specs import RunSpec

if TYPE_CHECKING:
    from typing_extensions import Self

    from espdeploy.protocols import Tensor


class TorchCudaRunner(TorchRunner):
    """A module in eager mode on the GPU: FP16 in channels-last, FP32 without TF32, cuDNN's kernels chosen by timing.

    Args:
        source: the module; it stays as it is, a copy goes to the GPU.
        spec: the runtime's name and the precision; ``threads`` mean nothing here.

    Raises:
        InputFileError: the source is a file; PyTorch runs networks by name.
        UsageError: a precision other than fp32 and fp16.
        MissingCapability: on entry: no PyTorch with CUDA, no driver or an old one, no GPU, or no memory on it.
    """

    name = "torch-cuda"
    precisions = ("fp32", "fp16")
    how = "cuda eager"
    for_files = "onnxruntime-cuda"
    cuda_graph: bool = False

    def __init__(self, source: Source, spec: RunSpec) -> None:
        super().__init__(source, spec)
        self._stack: contextlib.ExitStack | None = None
        self._open: _Open | None = None

    def __enter__(self) -> Self:
        torch = torch_failures.torch_with_gpu()
        with contextlib.ExitStack() as stack:
            stack.callback(torch.cuda.empty_cache)  # the last to go: what the module leaves behind
            flags = torch.backends.cudnn.flags
            stack.enter_context(flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=False))
            try:
                module = placed(self._source.module, device="cuda", precision=self._spec.precision)
            except RuntimeError as error:
                raise torch_failures.explained(torch, error) from error
            self._open = _Open(torch=torch, module=module, function=self._callable(torch, module))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._open = None
        stack, self._stack = self._stack, None
        if stack is not None:
            stack.close()

    def _callable(self, torch: ModuleType, module: Any) -> Callable[..., Any]:
        """What is called with the tensors on the device."""
        del torch  # the compiled one needs it
        return with_fp32_ends(module, self._spec.precision)

    @property
    def _opened(self) -> _Open:
        if self._open is None:
            raise RuntimeError("the runner is not entered")
        return self._open

    @property
    def facts(self) -> RunnerFacts:
        """What PyTorch says it runs."""
        layout = ", channels-last" if self._spec.precision == "fp16" else ""
        return RunnerFacts(
            runtime=self.name,
            runtime_version=str(self._opened.torch.__version__),
            provider=f"{self.how}{layout}",
            threads=None,
            precision_share_pct=module_shares_pct(self._opened.module),
        )

    def infer(self, feed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run once, copies included; the outputs outlive the next run.

        Raises:
            UsageError: a feed that the network does not take.
            MissingCapability: no memory left on the GPU, or no compiler for ``torch.compile``.
            ToolFailed: it does not run, or cannot be captured as a graph.
        """
        inference = self._inference(feed)
        try:
            inference.upload()
            inference.launch()
            inference.download()
            inference.timing.synchronize()
        except RuntimeError as error:
            raise torch_failures.explained(self._opened.torch, error) from error
        return inference.results()

    def stepper(self, feed: Mapping[str, Tensor]) -> Callable[[], object]:
        """:meth:`steps` on data that stays on the device."""
        return self.steps(feed)

    def steps(self, feed: Mapping[str, Tensor], *, transfers: bool = False, room: int = DEFAULT_ROOM) -> Steps:
        """A timed step with everything prepared: inputs on the device, kernels chosen, the graph captured, events made.

        Args:
            feed: the inputs.
            transfers: copy inputs to the device and outputs back in each step, timed apart.
            room: for how many calls the times are kept.

        Raises:
            UsageError, MissingCapability, ToolFailed: as :meth:`infer`.
        """
        inference = self._inference(feed)
        inference.upload()
        inference.timing.synchronize()
        timing: Any = inference.timing  # of a session, events and waiting are all that is used
        return Steps(
            timing,
            inference.launch,
            cuda_graph=self.cuda_graph,
            upload=inference.upload if transfers else None,
            download=inference.download if transfers else None,
            room=room,
        )

    def _inference(self, feed: Mapping[str, Tensor]) -> Inference:
        """The tensors for these shapes with ``feed`` in them, prepared where the shapes are new."""
        opened = self._opened
        arrays = checked_feed(feed, self.inputs)
        shapes = tuple(array.shape for array in arrays.values())
        if opened.inference is None or opened.inference.shapes != shapes:
            opened.inference = None
            try:
                opened.inference = self._prepared(Inference(opened.torch, opened.function, arrays.values()))
            except RuntimeError as error:
                raise torch_failures.explained(opened.torch, error) from error
        opened.inference.load(arrays.values())
        return opened.inference

    def _prepared(self, inference: Inference) -> Inference:
        """Run often enough that the next run is like all that follow."""
        inference.warm_up()
        return inference


class TorchCudaGraphRunner(TorchCudaRunner):
    """A module on the GPU, captured once and launched as one CUDA graph.

    Raises:
        InputFileError, MissingCapability: as :class:`TorchCudaRunner`.
        UsageError: as that, and where ``spec`` wants no CUDA graph.
        ToolFailed: on the first run: it cannot be captured.
    """

    name = "torch-cuda-graph"
    how = "cuda graph"
    cuda_graph = True

    def __init__(self, source: Source, spec: RunSpec) -> None:
        super().__init__(source, spec)
        if not spec.cuda_graph:
            raise UsageError(f"{self.name} without a CUDA graph is torch-cuda", do="--runtime torch-cuda")

    def _prepared(self, inference: Inference) -> Inference:
        inference.warm_up()
        try:
            inference.capture()
        except RuntimeError as error:
            known = torch_failures.explained(self._opened.torch, error)
            if not isinstance(known, ToolFailed):
                raise known from error
            raise ToolFailed(
                "the network cannot be launched as a CUDA graph",
                why=f"{known.why}; what waits for the GPU, or branches on its data, cannot be captured",
                do="--runtime torch-cuda",
            ) from error
        return inference


class TorchCudaCompileRunner(TorchCudaRunner):
    """A module through ``torch.compile`` on the GPU, its kernels tuned; it launches them as CUDA graphs by itself.

    Raises:
        InputFileError, UsageError, MissingCapability: as :class:`TorchCudaRunner`.
    """

    name = "torch-cuda-compile"

    def __init__(self, source: Source, spec: RunSpec) -> None:
        super().__init__(source, spec)
        self.cuda_graph = spec.cuda_graph
        self._mode = "max-autotune" if spec.cuda_graph else "max-autotune-no-cudagraphs"
        self.how = f"cuda torch.compile, {self._mode}"

    def _callable(self, torch: ModuleType, module: Any) -> Callable[..., Any]:
        function = super()._callable(torch, module)
        compiled: Callable[..., Any] = torch.compile(function, dynamic=False, mode=self._mode)
        return compiled

    def _prepared(self, inference: Inference) -> Inference:
        with shell.captured_output():  # the tuner prints what it tries
            inference.warm_up()
        return inference


class _Open:
    """What lives between enter and exit."""

    def __init__(self, *, torch: ModuleType, module: Any, function: Callable[..., Any]) -> None:
        self.torch, self.module, self.function = torch, module, function
        self.inference: Inference | None = None
