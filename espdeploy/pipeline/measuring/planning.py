"""``bench --dry-run``: each step and command that would touch the device, in order, with nothing done."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from espdeploy.backends.registry import TAKES_MODULES
from espdeploy.backends.trtexec.argv import time_argv
from espdeploy.backends.trtexec.find import find
from espdeploy.devices.clocks import parse_frequencies, plan_steps, resolve_frequencies
from espdeploy.errors import EspdeployError
from espdeploy.pipeline.building.builders import TRTEXEC, choose_builder
from espdeploy.pipeline.engine_files.opening import choose_runtime
from espdeploy.pipeline.engine_files.passport import read_passport
from espdeploy.pipeline.machine import system_root
from espdeploy.pipeline.measuring import frequencies
from espdeploy.pipeline.measuring.request import BenchRequest, Step
from espdeploy.pipeline.measuring.subject import asked_shapes
from espdeploy.pipeline.measuring.tool_timing import time_plan


def steps(request: BenchRequest, results: Path) -> list[Step]:
    """The steps of a request that was checked."""
    profile = request.target.profile
    found = [Step(what=f"check that this machine is the {profile.name}, and that {results} can be written")]
    found += _until_open(request)
    found += _measuring(request)
    if request.frequencies is not None or request.power_mode is not None:
        found.append(Step(what="put clocks and power mode back as they were"))
    found.append(Step(what=f"write the record to {results}"))
    return found


def _measuring(request: BenchRequest) -> Iterator[Step]:
    """Clocks and timing in the order in which they come."""
    profile, strict, root = request.target.profile, request.freq_strict, system_root()
    wanted = parse_frequencies(request.frequencies) if request.frequencies else ()
    locks = resolve_frequencies(profile, wanted, request.power_mode, root=root, strict=strict)
    order = frequencies.order([lock.requested_mhz for lock in locks])
    steps = dict.fromkeys(order)
    planned = []
    if steps or request.power_mode is not None:
        planned = plan_steps(profile, tuple(steps), request.power_mode, root=root, strict=strict)
    if len(order) > len(steps):  # the first comes once more at the end
        planned.append(plan_steps(profile, order[-2:], request.power_mode, root=root, strict=strict)[-1])
    clocks = [Step(what=step.what, command=step.command) for step in planned]
    before = len(clocks) - len(order)  # the power mode
    yield from clocks[: before + 1]
    yield from _timing(request)
    for clock in clocks[before + 1 :]:
        yield Step(what="rest until the device is as cool as at the start")
        yield clock
        yield Step(what="warm up and time again, in the same way")


def _until_open(request: BenchRequest) -> Iterator[Step]:
    target, profile = request.target, request.target.profile
    precision = target.precision or ("fp32" if target.model else "its own precision")
    builder = choose_builder_quietly(request)
    runtime = builder or choose_runtime(profile, target.runtime, target.precision or "fp32")
    named = target.model.name if target.model else str(target.engine)
    if target.model and not target.model.is_onnx and runtime not in TAKES_MODULES:
        yield Step(what=f"export {named} at opset {profile.opset}, unless the cache has it")
    if builder is not None and (target.model or str(target.engine).endswith(".onnx")):
        yield Step(what=f"build an engine of it with {builder} at {precision}, unless the cache has it")
    yield Step(what=f"open {named} in {runtime} at {precision}, and read back what really runs")


def choose_builder_quietly(request: BenchRequest) -> str | None:
    """The builder as it would be chosen; the device's first where none is here, for a plan needs none."""
    profile = request.target.profile
    try:
        return choose_builder(profile, request.target.runtime)
    except EspdeployError:
        return profile.runtimes[0]


def _timing(request: BenchRequest) -> Iterator[Step]:
    spec = request.spec
    if choose_builder_quietly(request) == TRTEXEC:
        yield Step(what="let the tool warm up and time the engine, sampling beside it", command=_tool_command(request))
    else:
        yield Step(what=f"warm up for {spec.warmup_min_s:g} to {spec.warmup_max_s:g} s, until steady")
        yield Step(what=f"time at least {spec.trials} inferences, sampling every {spec.sample_period_s:g} s")
    if request.data:
        yield Step(what=f"evaluate on {request.data}")
    if request.cross_check:
        yield Step(what="time the engine the other way too, and compare the medians of GPU compute")


def _tool_command(request: BenchRequest) -> str:
    file = request.target.engine
    passport = read_passport(file) if file is not None else None
    engine = file if file is not None and (passport is not None or file.suffix != ".onnx") else Path("ENGINE")
    plan = time_plan(
        request.spec,
        engine,
        Path("TIMES.json"),
        shapes=asked_shapes(passport, request.target.batch),
        dla_core=passport.dla_core if passport else None,
    )
    try:
        return shlex.join(time_argv(find(TRTEXEC, root=system_root()), plan))
    except EspdeployError:
        return ""  # no tool on this machine, so no command that would be true
