"""How an opened target is timed: by our own loop, or by the vendor's tool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from espdeploy.bench import warmup
from espdeploy.bench.loop import Measurement, measure, timer_overhead_us
from espdeploy.protocols import Clock, Progress, Runner
from espdeploy.records import Launch
from espdeploy.specs import BenchSpec

if TYPE_CHECKING:
    from espdeploy.protocols import Tensor


class GpuTimes(Protocol):
    """What events on the GPU said of the last calls, oldest first, in ms."""

    @property
    def compute_ms(self) -> tuple[float, ...]:
        """Between the events before and after the launch."""

    @property
    def enqueue_ms(self) -> tuple[float, ...]:
        """The processor's time in the launch."""

    @property
    def upload_ms(self) -> tuple[float, ...] | None:
        """Copies to the device; None without."""

    @property
    def download_ms(self) -> tuple[float, ...] | None:
        """Copies to the host; None without."""


@runtime_checkable
class TimedOnGpu(Protocol):
    """A step whose inferences the GPU itself times."""

    cuda_graph: bool

    def __call__(self) -> None:
        """One inference."""

    def times(self) -> GpuTimes:
        """The last calls."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """How the times were taken, as far as it makes records comparable or not."""

    clock: str = "perf_counter_ns"
    warmup_rule: str = warmup.RULE
    cuda_graph: bool | None = None
    spin_wait: bool | None = None
    transfers: str | None = None


@dataclass(frozen=True, kw_only=True)
class Timed:
    """Every trial, and what the GPU said of them. ``timer_us`` is an empty step's time; None for a tool's."""

    measurement: Measurement
    way: Way
    compute_ms: tuple[float, ...] | None = None
    launch: Launch | None = None
    timer_us: float | None = None
    notes: tuple[str, ...] = ()


def time_runner(
    runner: Runner, feed: Mapping[str, Tensor], *, spec: BenchSpec, clock: Clock, progress: Progress
) -> Timed:
    """Time an entered runner in our own loop.

    Raises:
        EspdeployError: as the runner's step does.
        KeyboardInterrupt: before one trial was complete.
    """
    step = runner.stepper(feed)
    timer_us = timer_overhead_us(clock)
    measurement = measure(step, spec=spec, clock=clock, progress=progress, min_window_s=spec.duration_min_s)
    if not isinstance(step, TimedOnGpu):
        return Timed(measurement=measurement, way=Way(), timer_us=timer_us)
    times = step.times()
    kept = min(measurement.trials, len(times.compute_ms))
    return Timed(
        measurement=measurement,
        way=Way(cuda_graph=step.cuda_graph, spin_wait=spec.spin_wait, transfers="excluded"),
        compute_ms=times.compute_ms[-kept:],
        launch=launch_of(times, kept),
        timer_us=timer_us,
    )


def launch_of(times: GpuTimes, kept: int) -> Launch | None:
    """The medians of the last ``kept`` calls; None where the launch was not timed."""
    if not times.enqueue_ms or not times.compute_ms:
        return None
    enqueue_ms = median(times.enqueue_ms[-kept:])
    return Launch(
        enqueue_p50_ms=enqueue_ms,
        enqueue_ratio=enqueue_ms / median(times.compute_ms[-kept:]),
        upload_p50_ms=median(times.upload_ms[-kept:]) if times.upload_ms else None,
        download_p50_ms=median(times.download_ms[-kept:]) if times.download_ms else None,
    )
