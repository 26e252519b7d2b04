"""Runs of an engine by the tool: one that times it, and one apart from it that times its layers."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from espdeploy.artifacts import check_replaceable
from espdeploy.backends.trtexec.argv import profile_argv, time_argv
from espdeploy.backends.trtexec.plan import ProfilePlan, TimePlan
from espdeploy.backends.trtexec.running import Run, Stages, follow, keep, nothing_to_watch
from espdeploy.backends.trtexec.tool import Tool
from espdeploy.errors import InputFileError, MissingCapability, ToolFailed
from espdeploy.protocols import Progress, no_progress

_BEYOND_S = 600.0  # for loading, which on a Nano takes a minute, and for iterations that take longer than asked
_STAGES: Stages = (
    (re.compile(r"Starting inference"), "timing with the tool"),
    (re.compile(r"=== Performance summary ==="), "reading its figures"),
)
#: as the tool of 8 and 10 tells which shapes a run has
_INPUT = re.compile(r"\] (?:Created i|I)nput binding for (?P<name>.+?) with dimensions (?P<shape>\d+(?:x\d+)*)\b")
_GRAPH_DROPPED = re.compile(
    r"--useCudaGraph flag has been ignored|without using CUDA graph launch|CUDA graph option has been disabled"
)
_SAID = {"cuda_graph": "CUDA Graph", "spin_wait": "Spin-wait", "transfers": "Data transfers"}


def time_engine(
    tool: Tool, plan: TimePlan, progress: Progress = no_progress, *, watch: Callable[[str], None] = nothing_to_watch
) -> Run:
    """Time an engine; the rows are in ``plan.times_json``, the summary in the output. ``watch`` is given each line.

    Raises:
        UsageError: the plan cannot be followed.
        InputFileError: the engine is absent, damaged, or of another release or GPU.
        MissingCapability: no GPU, no memory, or an engine that cannot be launched as asked.
        ToolFailed: the tool failed, or ran in another way than asked.
    """
    argv = time_argv(tool, plan)
    _check_engine(plan.engine)
    check_replaceable(plan.times_json)
    with tempfile.TemporaryDirectory(prefix="espdeploy-") as folder:
        times = Path(folder) / "times.json"
        written = time_argv(tool, replace(plan, times_json=times))
        done = follow(tool, written, plan, timeout_s=_timeout_s(plan), stages=_STAGES, progress=progress, watch=watch)
        _check_launched(plan, done)
        _keep_figures(tool, times, plan.times_json)
    return replace(done, argv=tuple(argv))


def is_start(line: str) -> bool:
    """Whether the tool's line says that inference begins now: its rows count their times from here."""
    return _STAGES[0][0].search(line) is not None


def input_shapes(output: str) -> dict[str, tuple[int, ...]]:
    """The inputs' shapes in a run, by name, as far as the tool told them."""
    return {
        match["name"]: tuple(int(extent) for extent in match["shape"].split("x")) for match in _INPUT.finditer(output)
    }


def profile_engine(tool: Tool, plan: ProfilePlan, progress: Progress = no_progress) -> Run:
    """Time an engine's layers; their times are in ``plan.profile_json``, their kinds in ``plan.layer_info``.

    Raises:
        as :func:`time_engine`.
    """
    argv = profile_argv(tool, plan)
    _check_engine(plan.engine)
    for place in (plan.profile_json, plan.layer_info):
        if place is not None:
            check_replaceable(place)
    with tempfile.TemporaryDirectory(prefix="espdeploy-") as folder:
        profile, layers = Path(folder) / "profile.json", Path(folder) / "layers.json"
        actual = replace(plan, profile_json=profile, layer_info=layers if plan.layer_info else None)
        written = profile_argv(tool, actual)
        done = follow(tool, written, plan, timeout_s=2 * _timeout_s(plan), stages=_STAGES, progress=progress)
        _keep_figures(tool, profile, plan.profile_json)
        if plan.layer_info is not None:
            _keep_figures(tool, layers, plan.layer_info)
    return replace(done, argv=tuple(argv))


def _timeout_s(plan: TimePlan | ProfilePlan) -> float:
    return _BEYOND_S + plan.warmup_ms / 1000 + plan.duration_s + plan.iterations


def _check_engine(engine: Path) -> None:
    if not engine.is_file() or not os.access(engine, os.R_OK):
        what = "may not be read" if engine.is_file() else "is not a file" if engine.exists() else "does not exist"
        raise InputFileError(f"{engine} {what}", do="give an engine that espdeploy build wrote")


def _check_launched(plan: TimePlan, done: Run) -> None:
    """What the tool says that it did is what was asked: it drops a CUDA graph with no more than a warning."""
    if plan.cuda_graph and _GRAPH_DROPPED.search(done.output):
        raise MissingCapability(
            f"{plan.engine} cannot be launched as a CUDA graph",
            why="it holds operations that may not be captured",
            do="time it without a CUDA graph",
        )
    for name, label in _SAID.items():
        said = re.search(rf"\] {label}: (Enabled|Disabled)", done.output)
        if said is not None and (said[1] == "Enabled") != getattr(plan, name):
            raise ToolFailed(
                f"{Path(done.argv[0]).name} ran with {label.lower()} {said[1].lower()}, which was not asked for",
                do="espdeploy doctor shows its release; the figures of this run are thrown away",
            )


def _keep_figures(tool: Tool, written: Path, final: Path) -> None:
    if not keep(written, final):
        raise ToolFailed(f"{tool.label} passed, and wrote no {final.name}", do="check that its folder can be written")
