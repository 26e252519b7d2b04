"""An engine built by the tool: written under a temporary name, proven whole, and only then given its own."""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from espdeploy.artifacts import atomic_path, check_replaceable
from espdeploy.backends.trtexec.argv import build_argv
from espdeploy.backends.trtexec.checks import check_calibration_cache
from espdeploy.backends.trtexec.failures import diagnose
from espdeploy.backends.trtexec.machine_failures import cannot_save
from espdeploy.backends.trtexec.plan import BuildPlan
from espdeploy.backends.trtexec.running import Run, Stages, follow, keep
from espdeploy.backends.trtexec.tool import Tool
from espdeploy.errors import InputFileError
from espdeploy.protocols import Progress, no_progress

#: a build on a Nano takes half an hour for networks of this kind; four hours is a build that will not end
BUILD_TIMEOUT_S = 4 * 3600.0
_BYTES_PER_MIB = 1 << 20
#: of all lines, those that tell of a precision which is not there, while the build goes on as if it were
_TELLS = re.compile(r"support requested on hardware without native|Calibrator is not being used")
_CREATED = re.compile(r"Created engine with size: (?P<mib>[\d.]+(?:e[+-]?\d+)?) MiB")
_LOADED = re.compile(r"Loaded engine size: (?P<mib>\d+) M(?:i)?B")


@dataclass(frozen=True, kw_only=True)
class BuildLog:
    """What a build left: the command with the final names, how long it took, what the tool warned of and printed.

    ``layer_info_path`` is None where none was asked for, or the tool wrote none.
    """

    argv: tuple[str, ...]
    build_s: float
    warnings: tuple[str, ...]
    layer_info_path: Path | None
    output: str


def build(
    tool: Tool, plan: BuildPlan, progress: Progress = no_progress, *, timeout_s: float = BUILD_TIMEOUT_S
) -> BuildLog:
    """Build the engine of a plan.

    Raises:
        UsageError: the plan cannot be followed by this tool, or the engine's place is no file.
        InputFileError: the network or the calibration cache cannot be read, or holds what TensorRT does not take.
        MissingCapability: no GPU, no memory, no room, or hardware without that precision.
        ToolFailed: the tool failed in another way, or did not end.
    """
    _check_files(plan)
    argv = build_argv(tool, plan)
    with atomic_path(plan.engine) as engine, tempfile.TemporaryDirectory(prefix="espdeploy-") as folder:
        layers = Path(folder) / "layers.json"
        actual = replace(plan, engine=engine, layer_info=layers if plan.layer_info else None)
        done = follow(
            tool,
            build_argv(tool, actual),
            plan,
            timeout_s=timeout_s,
            stages=_stages(plan),
            progress=progress,
            watch=_Watch(tool, plan),
        )
        _check_whole(plan, engine, done)
        kept = plan.layer_info is not None and keep(layers, plan.layer_info)
    return BuildLog(
        argv=tuple(argv),
        build_s=done.wall_s,
        warnings=done.warnings,
        layer_info_path=plan.layer_info if kept else None,
        output=done.output,
    )


def _check_files(plan: BuildPlan) -> None:
    check_replaceable(plan.engine)
    if plan.layer_info is not None:
        check_replaceable(plan.layer_info)
    if not plan.onnx.is_file() or not os.access(plan.onnx, os.R_OK):
        what = "may not be read" if plan.onnx.is_file() else "is not a file" if plan.onnx.exists() else "does not exist"
        raise InputFileError(f"{plan.onnx} {what}", do="give an ONNX file (espdeploy export writes one)")
    if plan.calibration_cache is not None:
        check_calibration_cache(plan.calibration_cache)


def _stages(plan: BuildPlan) -> Stages:
    """Lines of trtexec 8.2 to 11 that begin something new; between the second and the third lie the minutes."""
    return (
        (re.compile(r"Start parsing network model"), f"reading {plan.onnx.name}"),
        (re.compile(r"Finish(?:ed)? parsing network model"), "choosing kernels"),
        (re.compile(r"Detected \d+ inputs? and \d+ output"), "putting the engine together"),
        (re.compile(r"Engine built in"), f"saving {plan.engine.name}"),
    )


class _Watch:
    """Ends a build as soon as a line tells that its precision will not be what was asked for."""

    def __init__(self, tool: Tool, plan: BuildPlan) -> None:
        self._tool = tool
        self._plan = plan

    def __call__(self, line: str) -> None:
        if _TELLS.search(line):
            known = diagnose(line, tool=self._tool, plan=self._plan)
            if known is not None:
                raise known.error


def _check_whole(plan: BuildPlan, engine: Path, done: Run) -> None:
    """The file is as large as the tool says that the engine is.

    Up to TensorRT 10 trtexec looks at its stream before what it wrote has reached the disk (sampleEngines.cpp), so a
    full disk may end with ``PASSED`` and half an engine. From 8.6 on it says the size exactly, before in whole MiB.
    """
    sizes = [float(match["mib"]) for match in _CREATED.finditer(done.output)]
    sizes += [float(match["mib"]) for match in _LOADED.finditer(done.output)]
    needed = int(max(sizes, default=0.0) * (1 - 1e-5) * _BYTES_PER_MIB)  # printed with six digits
    size = engine.stat().st_size if engine.exists() else 0
    if size == 0 or size < needed:
        raise cannot_save(plan)
