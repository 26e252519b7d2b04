"""A module on tensors that stay where they are: page-locked on the host, and on the GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from espdeploy.backends import torch_failures
from espdeploy.backends.torch_module import named_outputs

if TYPE_CHECKING:
    from espdeploy.protocols import Tensor

#: the first runs choose kernels and take memory; ``torch.compile`` records its graphs in the second and third
_WARMUP_RUNS = 4


class Timing:
    """Events on PyTorch's current stream, as :class:`espdeploy.backends.tensorrt.steps.Steps` takes them."""

    def __init__(self, torch: ModuleType) -> None:
        self._torch = torch
        self._wait = torch.cuda.synchronize

    def event(self) -> Any:
        """A point in time; recorded once, since PyTorch makes the event of CUDA's only then."""
        event = self._torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def recorder(self, event: Any) -> Callable[[], object]:
        """A call that records the event."""
        record: Callable[[], object] = event.record
        return record

    def elapsed_ms(self, start: Any, end: Any) -> float:
        """The time between two events that have happened."""
        return float(start.elapsed_time(end))

    def synchronize(self) -> None:
        """Wait until the GPU has done everything.

        Raises:
            MissingCapability, ToolFailed: something on it failed.
        """
        try:
            self._wait()
        except RuntimeError as error:
            raise torch_failures.explained(self._torch, error) from error


class Inference:
    """One inference on inputs of fixed shapes.

    Args:
        torch: PyTorch.
        function: what is called with the tensors on the GPU.
        arrays: one for each input, for its shape and type.
    """

    def __init__(self, torch: ModuleType, function: Callable[..., Any], arrays: Iterable[Tensor]) -> None:
        self._torch, self._function = torch, function
        self._hosts = [torch.from_numpy(array).pin_memory() for array in arrays]
        self._inputs = [host.to("cuda") for host in self._hosts]
        self._result: Any = None
        self._returned: dict[str, Any] = {}
        self.timing = Timing(torch)
        self.launch: Callable[[], object] = self._call
        self.shapes = tuple(tuple(host.shape) for host in self._hosts)

    def load(self, arrays: Iterable[Tensor]) -> None:
        """Put the values into the host's side."""
        for host, array in zip(self._hosts, arrays, strict=True):
            host.copy_(self._torch.from_numpy(array))

    def upload(self) -> None:
        """Copy all inputs to the GPU, in stream order."""
        for host, device in zip(self._hosts, self._inputs, strict=True):
            device.copy_(host, non_blocking=True)

    def download(self) -> None:
        """Copy all outputs to the host, in stream order."""
        for name, device in named_outputs(self._result).items():
            self._returned[name].copy_(device, non_blocking=True)

    def results(self) -> dict[str, Tensor]:
        """Copies of the outputs on the host's side."""
        return {name: host.numpy().copy() for name, host in self._returned.items()}

    def warm_up(self) -> None:
        """Run a few times, and make room for what comes back."""
        for _ in range(_WARMUP_RUNS):
            self.launch()
        self.timing.synchronize()
        self._returned = {
            name: self._torch.empty(item.shape, dtype=item.dtype, pin_memory=True)
            for name, item in named_outputs(self._result).items()
        }

    def capture(self) -> None:
        """Make every launch from now on that of one CUDA graph.

        Raises:
            RuntimeError: the work cannot be captured.
        """
        cuda = self._torch.cuda
        here, side = cuda.current_stream(), cuda.Stream()
        side.wait_stream(here)
        with cuda.stream(side):
            self._call()
        here.wait_stream(side)
        graph = cuda.CUDAGraph()
        with self._torch.inference_mode(), cuda.graph(graph):
            self._result = self._function(*self._inputs)
        self.launch = graph.replay

    def _call(self) -> None:
        with self._torch.inference_mode():
            self._result = self._function(*self._inputs)
