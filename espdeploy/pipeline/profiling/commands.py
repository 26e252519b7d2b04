"""The commands of a profile: what runs below the profiler, and how the profiler is called."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from espdeploy.backends.trtexec.argv import time_argv
from espdeploy.backends.trtexec.plan import TimePlan
from espdeploy.backends.trtexec.tool import Tool
from espdeploy.pipeline.profiling.tools import NCU, NSYS, NVPROF
from espdeploy.profilers.ncu import argv as ncu
from espdeploy.profilers.nsys import argv as nsys
from espdeploy.profilers.nvprof import argv as nvprof
from espdeploy.specs import DeviceProfile, ImageSize

SUMMARY, COUNTERS, TIMELINE = "summary", "counters", "timeline"


@dataclass(frozen=True, kw_only=True)
class Below:
    """What runs below a profiler: an engine or ONNX file, inferred so often, without CUDA graphs that hide kernels."""

    path: Path
    profile: DeviceProfile
    inferences: int
    tool: Tool | None = None
    runtime: str | None = None
    precision: str | None = None
    size: ImageSize | None = None

    def argv(self, folder: Path) -> tuple[str, ...]:
        """NVIDIA's tool where that runs the engine, else espdeploy itself."""
        if self.tool is not None:
            plan = TimePlan(
                engine=self.path,
                times_json=folder / "times.json",
                warmup_ms=0,
                duration_s=0,
                iterations=self.inferences,
                cuda_graph=False,
                spin_wait=False,
                transfers=False,
            )
            return tuple(time_argv(self.tool, plan))
        options = {"--runtime": self.runtime, "--precision": self.precision, "--size": self.size}
        given = [text for name, value in options.items() if value is not None for text in (name, str(value))]
        own = ["profile", str(self.path), "--device", self.profile.name, *given]
        return (sys.executable, "-m", "espdeploy", *own, "--as-application", str(self.inferences))


@dataclass(frozen=True, kw_only=True)
class Command:
    """One run of a profiler, and the file that it leaves to be read."""

    what: str
    argv: tuple[str, ...]
    output: Path
    environment: Mapping[str, str]


def summary(tool: str, below: Below, folder: Path, *, program: str) -> Command:
    """Times of all kernels: by nsys the timeline itself."""
    if tool == NSYS:
        plan = nsys.RecordPlan(program=below.argv(folder), output=folder / TIMELINE, nsys=program)
        return Command(
            what="record the timeline",
            argv=nsys.record_argv(plan),
            output=folder / f"{TIMELINE}.sqlite",
            environment=nsys.ENVIRONMENT,
        )
    log = folder / f"{SUMMARY}.csv"
    argv = nvprof.command(nvprof.NvprofPlan(application=below.argv(folder), log=log), program=program)
    return Command(what="take the times of all kernels", argv=argv, output=log, environment={})


def counters(tool: str, below: Below, folder: Path, *, kernels: Sequence[str], program: str) -> Command:
    """Counters of these kernels, or of all where none are named; each is run again and again for it.

    Raises:
        UsageError: as the tools' own commands.
    """
    log = folder / f"{COUNTERS}.csv"
    if tool == NVPROF:
        told = nvprof.NvprofPlan(
            application=below.argv(folder), log=log, metrics=nvprof.PAPER_METRICS, kernels=tuple(kernels)
        )
        argv = nvprof.command(told, program=program)
        return Command(what="count, in a run apart", argv=argv, output=log, environment={})
    capability = below.profile.gpu.compute_capability if below.profile.gpu is not None else None
    plan = ncu.NcuPlan(application=below.argv(folder), log=log, compute_capability=capability, kernels=tuple(kernels))
    return Command(
        what="count, in a run apart", argv=ncu.command(plan, program=program), output=log, environment=ncu.ENVIRONMENT
    )


def surroundings(command: Command) -> dict[str, str]:
    """The variables that the run needs beside our own; a child must find espdeploy where we were found."""
    paths = [str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")]
    return {**command.environment, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


__all__ = ["COUNTERS", "NCU", "SUMMARY", "TIMELINE", "Below", "Command", "counters", "summary", "surroundings"]
