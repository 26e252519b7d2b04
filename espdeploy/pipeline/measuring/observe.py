"""One measurement: idle, the timed window, idle again, with every source read beside it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from espdeploy.accuracy.evaluate import evaluate
from espdeploy.artifacts import utc_now
from espdeploy.devices.detect import Machine
from espdeploy.devices.thermal import hottest_c
from espdeploy.monitors.sampler import Sampler
from espdeploy.pipeline.evaluating.evaluate import Scorable
from espdeploy.pipeline.measuring.assemble import ClockState, Observed
from espdeploy.pipeline.measuring.request import BenchRequest
from espdeploy.pipeline.measuring.sources import Sources, find_sources
from espdeploy.pipeline.measuring.subject import Subject
from espdeploy.pipeline.measuring.targets import Target
from espdeploy.protocols import Clock, Progress, Runner
from espdeploy.records import Accuracy, Thermal

_STOPPED = "stopped when every trial was done: idle power after the run was not measured"


@dataclass(frozen=True)
class Watch:
    """The clock that everything is timed on, and where progress goes."""

    clock: Clock
    progress: Progress


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where and under which clocks it is measured. ``root`` is the file system that sensors are read from."""

    machine: Machine
    root: Path
    clocks: ClockState
    simulated: bool = False


def observe(request: BenchRequest, target: Target, subject: Subject, setting: Setting, watch: Watch) -> Observed:
    """Measure once.

    Raises:
        EspdeployError: as timing does, or a source that failed during the run.
        KeyboardInterrupt: before one trial was complete.
    """
    started, spec = utc_now(), request.spec
    sources = find_sources(
        request.target.profile, root=setting.root, clock=watch.clock, spec=spec, wanted=request.power_source
    )
    with sources.opened():
        start_c = hottest_c(setting.root)
        with Sampler(sources.monitors, clock=watch.clock, period_s=sources.period_s) as sampler:
            idle = _Idle(sampler, sources, watch.clock, seconds=sources.idle_s)
            idle_before_w = idle.mean_w(measured=False)
            idle_util_pct = idle.gpu_util_pct()
            timed = subject.time(spec, watch.progress)
            idle_after_w = None if timed.measurement.interrupted else idle.mean_w(measured=True)
        end_c = hottest_c(setting.root)
    model, model_notes = subject.model()
    return Observed(
        started=started,
        profile=request.target.profile,
        machine=setting.machine,
        spec=dataclasses.replace(spec, sample_period_s=sources.period_s),
        model=model,
        facts=subject.facts,
        precision=target.precision,
        provenance=dict(target.provenance),
        timed=timed,
        sampler=sampler,
        sources=sources,
        clocks=setting.clocks,
        simulated=setting.simulated,
        idle_before_w=idle_before_w,
        idle_after_w=idle_after_w,
        idle_util_pct=idle_util_pct,
        thermal=Thermal(start_c=start_c, end_c=end_c, throttled=None),
        accuracy=None,
        command=request.command,
        cell=request.cell,
        notes=(*target.notes, *model_notes, *timed.notes, *((_STOPPED,) if idle.stopped else ())),
        stopped=idle.stopped,
    )


def scored(seen: Observed, request: BenchRequest, runner: Runner | None, of: Scorable | None, watch: Watch) -> Observed:
    """With the accuracy, where labels were given; a note says why it is not known where it is not in spite of them."""
    if seen.timed.measurement.interrupted or seen.stopped or runner is None or of is None:
        return seen
    try:
        evaluation = evaluate(runner, of.batches, of.classes, progress=watch.progress)
    except KeyboardInterrupt:  # the measurement is complete and is kept
        return dataclasses.replace(seen, stopped=True, notes=(*seen.notes, "the evaluation was interrupted"))
    if evaluation.miou_pct is None:
        return dataclasses.replace(seen, notes=(*seen.notes, f"{request.data} has no pixel of a class that counts"))
    data = f"{evaluation.images} images of {request.data}"
    accuracy = Accuracy(metric="miou_pct", value=evaluation.miou_pct, reference_value=None, data=data)
    return dataclasses.replace(seen, accuracy=accuracy)


class _Idle:
    """Mean power while nothing runs; without a power source there is nothing to wait for."""

    def __init__(self, sampler: Sampler, sources: Sources, clock: Clock, *, seconds: float) -> None:
        self._sampler, self._sources, self._clock, self._seconds = sampler, sources, clock, seconds
        self._last_ns: tuple[int, int] | None = None
        self.stopped = False

    def mean_w(self, *, measured: bool) -> float | None:
        """The mean over some seconds. Ctrl-C before the run ends everything; after it the measurement is complete."""
        if self._sources.power is None or self._seconds <= 0:
            return None
        start_ns = self._clock.now_ns()
        self._last_ns = (start_ns, start_ns)
        try:
            self._clock.sleep_s(self._seconds)
        except KeyboardInterrupt:
            if not measured:
                raise
            self.stopped = True
            return None
        self._last_ns = (start_ns, self._clock.now_ns())
        return self._mean(self._sources.power.power_channel)

    def gpu_util_pct(self) -> float | None:
        """The GPU's mean load in the last idle time; None where nothing tells."""
        return self._mean(self._sources.channel("gpu_util"))

    def _mean(self, channel: str | None) -> float | None:
        if channel is None or self._last_ns is None:
            return None
        return self._sampler.mean(channel, start_ns=self._last_ns[0], end_ns=self._last_ns[1])
