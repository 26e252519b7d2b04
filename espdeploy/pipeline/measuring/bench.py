"""``espdeploy bench``: one measurement from the request to the stored record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from espdeploy import store
from espdeploy.accuracy.evaluate import evaluate
from espdeploy.artifacts import utc_now
from espdeploy.bench.loop import measure, timer_overhead_us
from espdeploy.devices.detect import Machine
from espdeploy.devices.thermal import hottest_c
from espdeploy.errors import UsageError
from espdeploy.monitors import rapl
from espdeploy.monitors.process import ProcessMonitor
from espdeploy.monitors.sampler import Sampler
from espdeploy.monitors.sources import Unavailable
from espdeploy.pipeline.engine_files.opening import check_is_here, check_precision, choose_runtime
from espdeploy.pipeline.evaluating.evaluate import Scorable, scorable
from espdeploy.pipeline.measuring.assemble import Observed, Sources, record_of
from espdeploy.pipeline.measuring.feeds import feeds
from espdeploy.pipeline.measuring.targets import Target, TargetRequest, concrete_inputs, describe, resolve
from espdeploy.protocols import Clock, Progress, Runner, SystemClock
from espdeploy.records import Accuracy, Record, Thermal
from espdeploy.specs import BenchSpec


@dataclass(frozen=True, kw_only=True)
class BenchRequest:
    """What is to be measured, how, and the command line that asks for it."""

    target: TargetRequest
    spec: BenchSpec
    frequencies: str | None = None
    power_mode: str | None = None
    data: Path | None = None
    labels: Path | None = None
    command: str | None = None


@dataclass(frozen=True, kw_only=True)
class Benched:
    """The record and the file that holds it."""

    record: Record
    path: Path


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a dry run: what would be done, and the command where one would be started."""

    what: str
    command: str = ""


def check(request: BenchRequest) -> None:
    """Refuse impossible combinations before anything slow or anything that touches the device.

    Raises:
        UsageError: clocks or power modes for a device without them, labels without images.
        MissingCapability: a precision or runtime that the device does not have.
    """
    profile = request.target.profile
    for flag, value in (("--freq", request.frequencies), ("--power-mode", request.power_mode)):
        if value is not None and profile.gpu is None:
            raise UsageError(
                f"{flag} {value} cannot be set on {profile.name}", why=f"{profile.name} has no GPU clocks to set"
            )
    if request.labels is not None and request.data is None:
        raise UsageError("--labels needs the images that they belong to", do="add --data DIR")
    if request.target.precision is not None:
        check_precision(profile, request.target.precision)


def plan(request: BenchRequest, results: Path) -> list[Step]:
    """The steps of this request in order, without doing any."""
    check(request)
    target, profile = request.target, request.target.profile
    precision = target.precision or ("fp32" if target.model else "its own precision")
    runtime = choose_runtime(profile, target.runtime, target.precision or "fp32")
    named = target.model.name if target.model else str(target.engine)
    steps = [Step(what=f"check that this machine is the {profile.name}, and that {results} can be written")]
    if target.model and not target.model.is_onnx and runtime != "torch":
        steps.append(Step(what=f"export {named} at opset {profile.opset}, unless the cache has it"))
    steps.append(Step(what=f"open {named} in {runtime} at {precision}, and read back what really runs"))
    steps.append(
        Step(what=f"warm up for {request.spec.warmup_min_s:g} to {request.spec.warmup_max_s:g} s, until steady")
    )
    steps.append(
        Step(what=f"time at least {request.spec.trials} inferences, sampling every {request.spec.sample_period_s:g} s")
    )
    if request.data:
        steps.append(Step(what=f"evaluate on {request.data}"))
    steps.append(Step(what=f"write the record to {results}"))
    return steps


def benchmark(request: BenchRequest, results: Path, progress: Progress, clock: Clock | None = None) -> Benched:
    """Measure, judge and store.

    Raises:
        EspdeployError: as resolving, opening and running do; nothing is stored then.
        KeyboardInterrupt: before one trial was complete.
    """
    check(request)
    machine = check_is_here(request.target.profile)
    store.probe_writable(results)
    target = resolve(request.target, progress)
    started = utc_now()
    with target.runner:
        observed = _observe(request, target, machine, started=started, watch=_Watch(clock or SystemClock(), progress))
    record = record_of(observed)
    return Benched(record=record, path=store.append(record, results))


@dataclass(frozen=True)
class _Watch:
    """The clock that everything is timed on, and where progress goes."""

    clock: Clock
    progress: Progress


def _observe(request: BenchRequest, target: Target, machine: Machine, *, started: str, watch: _Watch) -> Observed:
    runner, clock, spec = target.runner, watch.clock, request.spec
    inputs = concrete_inputs(runner.inputs, runner.card, request.target)
    model, model_notes = describe(runner, target, inputs[0].extents(1))
    scored = scorable(runner, request.data, request.labels) if request.data else None
    sources = _sources(clock)
    # zeros or noise can run faster, and draw less power, than real data
    fed = feeds(inputs, runner.card, count=1, batch=1)[0]
    runner.infer(fed)  # a network that cannot run says so here, in its runtime's words and not in the timed loop
    step = runner.stepper(fed)
    timer_us = timer_overhead_us(clock)
    start_c = hottest_c()
    with Sampler(sources.monitors, clock=clock, period_s=spec.sample_period_s) as sampler:
        idle_before_w = _idle_w(sampler, sources, spec, clock, measured=False)
        measurement = measure(step, spec=spec, clock=clock, progress=watch.progress, min_window_s=spec.duration_min_s)
        idle_after_w = None if measurement.interrupted else _idle_w(sampler, sources, spec, clock, measured=True)
    end_c = hottest_c()
    scored = None if measurement.interrupted else scored
    accuracy, accuracy_notes = _accuracy(request, runner, scored, watch.progress)
    return Observed(
        started=started,
        profile=request.target.profile,
        machine=machine,
        spec=spec,
        model=model,
        facts=runner.facts,
        precision=target.precision,
        provenance=dict(target.provenance),
        measurement=measurement,
        sampler=sampler,
        sources=sources,
        idle_before_w=idle_before_w,
        idle_after_w=idle_after_w,
        thermal=Thermal(start_c=start_c, end_c=end_c, throttled=None),
        timer_us=timer_us,
        accuracy=accuracy,
        command=request.command,
        notes=(*target.notes, *model_notes, *accuracy_notes),
    )


def _sources(clock: Clock) -> Sources:
    found = rapl.find(clock=clock)
    process = ProcessMonitor(clock=clock)
    if isinstance(found, Unavailable):
        why = f"power was not measured: {found.reason}; {found.do}"
        return Sources(monitors=(process,), power=None, power_note=why)
    return Sources(monitors=(process, found), power=found, power_note=None)


def _idle_w(sampler: Sampler, sources: Sources, spec: BenchSpec, clock: Clock, *, measured: bool) -> float | None:
    """Mean power while nothing runs; without a power source there is nothing to wait for."""
    if sources.power is None or spec.idle_s <= 0:
        return None
    start_ns = clock.now_ns()
    try:
        clock.sleep_s(spec.idle_s)
    except KeyboardInterrupt:  # before the run nothing is lost; after it the measurement is complete
        if not measured:
            raise
        return None
    return sampler.mean(sources.power.power_channel, start_ns=start_ns, end_ns=clock.now_ns())


def _accuracy(
    request: BenchRequest, runner: Runner, scored: Scorable | None, progress: Progress
) -> tuple[Accuracy | None, tuple[str, ...]]:
    """The accuracy where labels were given, and why it is not known where it is not in spite of them."""
    if scored is None:
        return None, ()
    try:
        evaluation = evaluate(runner, scored.batches, scored.classes, progress=progress)
    except KeyboardInterrupt:  # the measurement is complete and is kept
        return None, ("the evaluation was interrupted",)
    if evaluation.miou_pct is None:
        return None, (f"{request.data} has no pixel of a class that counts",)
    data = f"{evaluation.images} images of {request.data}"
    return Accuracy(metric="miou_pct", value=evaluation.miou_pct, reference_value=None, data=data), ()
