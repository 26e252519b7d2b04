"""The seams between stages: what a runtime, a monitor, a data source and a clock must offer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Self

    from espdeploy.artifacts import ModelCard

    Tensor = NDArray[np.generic]

#: ONNX dimension: a fixed extent, or a name (dynamic).
Dim = int | str
#: the name of the dynamic extent that counts the inputs of one inference
BATCH = "batch"


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """Name, shape (N,C,H,W for images; a string is a dynamic extent) and NumPy dtype name of a tensor."""

    name: str
    shape: tuple[Dim, ...]
    dtype: str

    def extents(self, batch: int) -> tuple[int, ...]:
        """The shape with ``batch`` for each dynamic extent."""
        return tuple(extent if isinstance(extent, int) else batch for extent in self.shape)


@dataclass(frozen=True, kw_only=True)
class RunnerFacts:
    """What really runs, read back from the runtime after it opened the engine."""

    runtime: str
    runtime_version: str
    provider: str
    threads: int | None
    #: share of convolution layers computed in each precision, in percent; None where unknown
    precision_share_pct: Mapping[str, float] | None


class Runner(Protocol):
    """An engine that is ready to run. A context manager: resources live between enter and exit."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc_info: object) -> None: ...

    @property
    def inputs(self) -> Sequence[TensorInfo]:
        """The inputs, in the engine's order."""

    @property
    def outputs(self) -> Sequence[TensorInfo]:
        """The outputs, in the engine's order."""

    @property
    def facts(self) -> RunnerFacts:
        """What really runs. Valid between enter and exit."""

    @property
    def card(self) -> ModelCard | None:
        """What the engine says about itself; None where it carries no metadata."""

    def infer(self, feed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run once; input and output tensors by name."""

    def stepper(self, feed: Mapping[str, Tensor]) -> Callable[[], object]:
        """A call without arguments that runs exactly one inference on ``feed`` and returns when it is done.

        This is what is timed: everything that can be prepared is prepared here, once.
        """


class Monitor(Protocol):
    """A source of readings beside the run. ``read`` is cheap and never blocks for long."""

    @property
    def name(self) -> str:
        """The source, as stored in the record, for example ``psutil`` or ``rapl``."""

    def read(self) -> Mapping[str, float | None]:
        """The current values by channel; units stand in the channel's name. None: not known now."""


class Clock(Protocol):
    """One monotonic clock for bench and monitors, passed in so that tests use a fake one."""

    def now_ns(self) -> int:
        """Nanoseconds since an arbitrary point."""

    def sleep_s(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The machine's monotonic clock."""

    now_ns = staticmethod(time.perf_counter_ns)
    sleep_s = staticmethod(time.sleep)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One image, ready for a network, with its label map where there is one."""

    name: str
    image: Tensor  # float32 (1, 3, H, W)
    label: Tensor | None  # uint8 (H, W), in the label's own size


class Batches(Protocol):
    """A finite, repeatable stream of samples."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Sample]: ...


class Progress(Protocol):
    """Where long work tells how far it is; the command line draws it, everything else ignores it."""

    def __call__(self, done: int, total: int | None, text: str) -> None:
        """``done`` of ``total`` steps (None: unknown) of what ``text`` names."""


def no_progress(done: int, total: int | None, text: str) -> None:
    """Progress for callers that do not want any."""
