"""``bench --cross-check``: the same engine timed by our runner and by NVIDIA's tool, in one session."""

from __future__ import annotations

import dataclasses
from statistics import median

from espdeploy import lazy
from espdeploy.backends.tensorrt.api import RTX
from espdeploy.backends.trtexec.find import find
from espdeploy.backends.trtexec.tool import TENSORRT_RTX, TRTEXEC, dotted
from espdeploy.bench.crosscheck import compared
from espdeploy.errors import MissingCapability, UsageError
from espdeploy.pipeline.engine_files.opening import open_file
from espdeploy.pipeline.machine import system_root
from espdeploy.pipeline.measuring.observe import Watch
from espdeploy.pipeline.measuring.request import BenchRequest
from espdeploy.pipeline.measuring.subject import RunnerSubject, asked_shapes
from espdeploy.pipeline.measuring.targets import Target
from espdeploy.pipeline.measuring.tool_timing import time_with_tool
from espdeploy.protocols import no_progress
from espdeploy.records import CrossCheck, Record
from espdeploy.specs import DeviceProfile

#: the runtime that opens an engine in our own loop, by the tool that would time it
_RUNTIMES = {TRTEXEC: "tensorrt", TENSORRT_RTX: RTX}


def check_possible(profile: DeviceProfile) -> None:
    """Refuse a cross-check where no vendor's tool times engines.

    Raises:
        UsageError: the device has no such tool.
    """
    if profile.gpu is None and profile.kind == "cpu":
        raise UsageError(
            f"--cross-check compares with TensorRT's own tool, which does not run on {profile.name}",
            do="leave it away, or choose a device with an NVIDIA GPU",
        )


def check_here(target: Target) -> None:
    """Refuse a cross-check whose other way of timing is not on this machine, before the first way is tried.

    Raises:
        MissingCapability: the Python package of what the tool runs, or the tool itself, is not here.
    """
    if target.tool is None:
        runtime = target.passport.runtime if target.passport is not None else ""
        kind = next((kind for kind, own in _RUNTIMES.items() if own == runtime), None)
        if kind is not None:
            find(kind, root=system_root())
        return
    package = _RUNTIMES[target.tool.kind]
    if not lazy.available(package):
        raise MissingCapability(
            f"--cross-check needs the Python package {package} beside {target.tool.kind}",
            why="the engine is timed in espdeploy's own loop too, and JetPack 4 has that package for Python 3.6 alone",
            do="leave --cross-check away",
        )


def check_against_tool(request: BenchRequest, target: Target, record: Record, watch: Watch) -> CrossCheck:
    """Time the engine the other way and compare medians of GPU compute.

    Raises:
        MissingCapability: the other way is not on this machine, or there is no engine for it.
        EspdeployError: as either way of timing does.
    """
    if record.gpu_latency_ms is None or target.path is None:
        raise MissingCapability(
            f"{record.engine.runtime} tells no time on the GPU, so there is nothing to cross-check",
            do="leave --cross-check away, or bench an engine of TensorRT",
        )
    if target.tool is None:
        return _by_tool(request, target, record, watch)
    return _by_runner(request, target, record, watch)


def _by_tool(request: BenchRequest, target: Target, record: Record, watch: Watch) -> CrossCheck:
    if target.path is None or record.engine.runtime not in _RUNTIMES.values():
        raise MissingCapability(
            f"no vendor's tool times what {record.engine.runtime} runs", do="bench an engine of TensorRT"
        )
    kind = next(kind for kind, runtime in _RUNTIMES.items() if runtime == record.engine.runtime)
    tool = find(kind, root=system_root())
    spec = dataclasses.replace(request.spec, cuda_graph=bool(record.protocol.cuda_graph))
    passport = target.passport
    done = time_with_tool(
        tool,
        target.path,
        spec=spec,
        clock=watch.clock,
        progress=watch.progress,
        shapes=asked_shapes(passport, request.target.batch),
        dla_core=passport.dla_core if passport else None,
    )
    median_ms = median(done.timed.compute_ms or ())
    return compared(record, tool=f"{kind} {dotted(tool.version)}", median_ms=median_ms)


def _by_runner(request: BenchRequest, target: Target, record: Record, watch: Watch) -> CrossCheck:
    if target.path is None or target.tool is None:
        raise MissingCapability("there is no engine to cross-check", do="bench an engine of TensorRT")
    runtime = _RUNTIMES[target.tool.kind]
    profile = dataclasses.replace(request.target.profile, runtimes=(*request.target.profile.runtimes, runtime))
    opened = open_file(
        target.path, profile, runtime=runtime, precision=None, threads=None, cuda_graph=request.spec.cuda_graph
    )
    asked = dataclasses.replace(request.target, profile=profile)
    with opened.runner as runner:
        subject = RunnerSubject(asked, dataclasses.replace(target, runner=runner, tool=None), runner, watch.clock)
        timed = subject.time(request.spec, no_progress)
    if timed.compute_ms is None:
        raise MissingCapability(f"{runtime} tells no time on the GPU", do="leave --cross-check away")
    median_ms = median(timed.compute_ms)
    return compared(record, tool=f"{runtime} {subject.facts.runtime_version} in Python", median_ms=median_ms)
