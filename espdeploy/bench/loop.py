"""The timed loop: warm up, then take the time of every single inference with nothing else in between."""

from __future__ import annotations

import contextlib
import gc
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from espdeploy.bench.warmup import Warmup, warm_up
from espdeploy.errors import UsageError
from espdeploy.protocols import Clock, Progress, no_progress
from espdeploy.records import Series
from espdeploy.specs import BenchSpec
from espdeploy.units import NS_PER_MS, NS_PER_S

_REPORT_EVERY_NS = NS_PER_S // 2
_OVERHEAD_STEPS = 2001
_NS_PER_US = 1_000
_BYTES_PER_TIME = 8


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Every trial of one measured window, in order, on the clock that was passed in."""

    start_ns: Sequence[int]
    duration_ns: Sequence[int]
    warmup: Warmup
    interrupted: bool = False

    @property
    def trials(self) -> int:
        """The number of timed inferences."""
        return len(self.start_ns)

    @property
    def window_start_ns(self) -> int:
        """When the first timed inference started."""
        return self.start_ns[0]

    @property
    def window_end_ns(self) -> int:
        """When the last timed inference was done."""
        return self.start_ns[-1] + self.duration_ns[-1]

    @property
    def window_s(self) -> float:
        """Wall time from the first start to the last end."""
        return (self.window_end_ns - self.window_start_ns) / NS_PER_S

    @property
    def times_ms(self) -> list[float]:
        """The duration of each trial."""
        return [duration / NS_PER_MS for duration in self.duration_ns]

    def fps(self, *, batch: int) -> float:
        """Images per second of wall time over the whole window, ``batch`` of them in each trial."""
        return self.trials * batch / self.window_s

    def trace(self) -> Series:
        """Every raw time in ms against the trial's start; 0 s is the first trial's."""
        zero_ns = self.window_start_ns
        return Series(
            t_s=[(start - zero_ns) / NS_PER_S for start in self.start_ns],
            values=list(self.times_ms),
        )


def measure(
    step: Callable[[], object],
    *,
    spec: BenchSpec,
    clock: Clock,
    progress: Progress = no_progress,
    min_window_s: float = 0.0,
) -> Measurement:
    """Warm up, then time at least ``spec.trials`` calls of ``step``, which returns when the inference is done.

    More trials are added where they do not fill ``min_window_s``, for sensors that need a longer window.
    The garbage collector is off from before the warm-up until the end, and as it was afterwards, however
    this ends. Ctrl-C in the measured phase keeps the trials that were complete (``interrupted``).

    Raises:
        UsageError: no trials, or a warm-up limit below its minimum.
        KeyboardInterrupt: before one trial was complete: nothing was measured.
    """
    _check(spec)
    with _collector_off():
        warmed = warm_up(step, spec=spec, clock=clock, progress=progress)
        gc.collect()
        times = _Times(trials=spec.trials, min_window_ns=round(min_window_s * NS_PER_S))
        interrupted = _run_timed(step, times, clock=clock, progress=progress)
    return Measurement(
        start_ns=times.start_ns[: times.done],
        duration_ns=times.duration_ns(),
        warmup=warmed,
        interrupted=interrupted,
    )


def timer_overhead_us(clock: Clock) -> float:
    """What one timed empty step takes: the median of 2001 of them, by the same loop that times inferences."""
    times = _Times(trials=_OVERHEAD_STEPS, min_window_ns=0)
    with _collector_off():
        _run_timed(_nothing, times, clock=clock, progress=no_progress)
    return median(times.duration_ns()) / _NS_PER_US


class _Times:
    """Room for the times, laid out before the first trial so that storing one never allocates."""

    def __init__(self, *, trials: int, min_window_ns: int) -> None:
        self.trials = trials
        self.min_window_ns = min_window_ns
        self.start_ns = array("q", bytes(_BYTES_PER_TIME * trials))
        self.end_ns = array("q", bytes(_BYTES_PER_TIME * trials))
        self.done = 0

    def grow(self) -> None:
        """Make room for as many trials again."""
        self.start_ns.frombytes(bytes(_BYTES_PER_TIME * self.trials))
        self.end_ns.frombytes(bytes(_BYTES_PER_TIME * self.trials))

    def duration_ns(self) -> array[int]:
        """How long each complete trial took."""
        done = slice(self.done)
        return array("q", (end - start for start, end in zip(self.start_ns[done], self.end_ns[done], strict=True)))

    @property
    def enough(self) -> bool:
        """Whether both the trials and the window are what was asked for."""
        return self.done >= self.trials and self.end_ns[self.done - 1] - self.start_ns[0] >= self.min_window_ns


def _run_timed(step: Callable[[], object], times: _Times, *, clock: Clock, progress: Progress) -> bool:
    """Fill ``times``; whether Ctrl-C ended it early.

    Between the two readings of the clock there is the step and nothing else. Storing, growing and telling
    about progress (twice a second at most) come after the second reading.
    """
    now_ns = clock.now_ns
    report_ns = now_ns() + _REPORT_EVERY_NS
    try:
        while not times.enough:
            if times.done == len(times.start_ns):
                times.grow()
            start = now_ns()
            step()
            end = now_ns()
            times.start_ns[times.done] = start
            times.end_ns[times.done] = end
            times.done += 1
            if end >= report_ns:
                progress(times.done, times.trials, "measuring")
                report_ns = now_ns() + _REPORT_EVERY_NS
    except KeyboardInterrupt:
        if times.done == 0:
            raise
        return True
    return False


@contextlib.contextmanager
def _collector_off() -> Iterator[None]:
    """No garbage collection inside; afterwards as it was."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _nothing() -> None:
    """The empty step."""


def _check(spec: BenchSpec) -> None:
    if spec.trials < 1:
        raise UsageError(f"{spec.trials} trials measure nothing", do="give --trials 200")
    if not 0 <= spec.warmup_min_s <= spec.warmup_max_s:
        raise UsageError(
            f"a warm-up of at least {spec.warmup_min_s:g} s and at most {spec.warmup_max_s:g} s is impossible",
            do="give a --warmup-s between 0 and the longest warm-up",
        )
