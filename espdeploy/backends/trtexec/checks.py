"""What a tool cannot do is refused before it runs for minutes; each rule names the release that can."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from espdeploy.backends.trtexec.plan import BuildPlan, InputShape
from espdeploy.backends.trtexec.tool import (
    LEVELS_FROM,
    TRTEXEC,
    TYPED_FROM,
    TYPED_OFFERED_FROM,
    Tool,
    Version,
    dotted,
)
from espdeploy.errors import InputFileError, MissingCapability, UsageError
from espdeploy.specs import ShapeRange, shape_text

PRECISIONS = ("fp32", "fp16", "int8", "mixed")
_QUANTIZED = ("int8", "mixed")
_LEVELS = range(6)
_CAPABILITY = re.compile(r"(\d{1,2})\.(\d)")

#: The highest ONNX opset that a release reads (docs/operators.md of onnx-tensorrt at each tag, and TensorRT's ONNX
#: opset guide). A release between two of them reads no more than the later one.
_OPSETS: tuple[tuple[Version, int], ...] = (((8, 2), 13), ((8, 5), 17), ((9, 2), 19), ((10, 15), 24), ((11,), 25))


def check_build(tool: Tool, plan: BuildPlan) -> None:
    """Refuse a plan that this tool cannot follow.

    Raises:
        UsageError: an impossible combination, or a value out of range.
        MissingCapability: this release lacks what is asked for; the message names one that has it.
    """
    if plan.precision not in PRECISIONS:
        raise UsageError(f'"{plan.precision}" is no precision for {tool.kind}', do=f"choose one of {_list(PRECISIONS)}")
    if plan.workspace_mb < 1:
        raise UsageError(f"a workspace of {plan.workspace_mb:g} MB is none", do="give 256 MB or more")
    _check_precision(tool, plan)
    _check_opset(tool, plan)
    _check_dla(tool, plan)
    _check_level(tool, plan.optimization_level)
    _check_target(tool, plan)
    _check_ranges(plan.inputs)


def check_calibration_cache(path: Path) -> None:
    """Refuse a file that the tool would pass over: it calibrates on random numbers then, and says nothing.

    Its calibrator is an EntropyCalibrator2, and TensorRT ignores a cache whose header names another algorithm
    (samples/common/sampleEngines.cpp, class RndInt8Calibrator).

    Raises:
        InputFileError: the file is absent, unreadable, or no cache of that algorithm.
    """
    mend = "espdeploy calibrate F.onnx --data DIR --trt-cache FILE writes one"
    try:
        with path.open("rb") as stream:
            header = stream.readline(200).decode("ascii", "replace").strip()
    except OSError as error:
        raise InputFileError(f"cannot read the calibration cache {path}: {error.strerror}", do=mend) from error
    if not re.fullmatch(r"TRT-\d+-EntropyCalibration2", header):
        why = f'its first line is "{header[:60]}", not TRT-<version>-EntropyCalibration2'
        raise InputFileError(f"{path} is no calibration cache that trtexec reads", why=why, do=mend)


def check_graph_on_dla(dla_core: int | None, *, cuda_graph: bool) -> None:
    """CUDA graphs and DLA do not go together: trtexec 10 drops the graph with a warning (AllOptions::parse).

    Raises:
        UsageError: both were asked for.
    """
    if dla_core is not None and cuda_graph:
        raise UsageError(
            "an engine on the DLA cannot be launched as a CUDA graph",
            why="the DLA's part of the work cannot be captured",
            do="time it without a CUDA graph",
        )


def check_one_shape_on_dla(ranges: Sequence[ShapeRange]) -> None:
    """The DLA computes at the extents that it was built for (Developer Guide, "Working with DLA": restrictions).

    Raises:
        UsageError: a range holds more than one shape.
    """
    several = next((item for item in ranges if not item.is_fixed), None)
    if several is not None:
        raise UsageError(
            f"the DLA cannot range over shapes ({several})",
            why="what it runs is compiled for one shape",
            do=f"give one: --shapes {several.name}={shape_text(several.usual)}, or leave --dla away",
        )


def check_shapes(inputs: tuple[ShapeRange, ...] | tuple[InputShape, ...]) -> None:
    """Refuse names that the tool's grammar of shapes cannot hold: it splits at commas.

    Raises:
        UsageError: such a name.
    """
    for item in inputs:
        if not item.name or "," in item.name or "'" in item.name:
            raise UsageError(
                f'the input "{item.name}" cannot be named on the command line of trtexec',
                why="it splits shapes at commas, and drops quotes",
                do="rename the input in the network, and export it again",
            )


def _check_precision(tool: Tool, plan: BuildPlan) -> None:
    if tool.typed:
        if plan.calibration_cache is not None:
            raise UsageError(
                f"{tool.label} reads no calibration cache",
                why=_WHY_TYPED,
                do=f"build from a graph with Q/DQ pairs, or with {TRTEXEC} 8.2 to 10",
            )
        if plan.precision != "fp32" and not plan.typed_graph:
            raise UsageError(
                f"{tool.label} cannot build {plan.precision} from an FP32 graph",
                why=_WHY_TYPED,
                do=f"convert the graph to {plan.precision} first (espdeploy build does), or use {TRTEXEC} 8.2 to 10",
            )
        return
    if plan.typed_graph and plan.calibration_cache is not None:
        raise UsageError(
            f"{plan.onnx} holds its own scales, and {plan.calibration_cache} would be ignored",
            do="leave the calibration cache out, or build the FP32 graph with it",
        )
    if plan.precision == "mixed" and not plan.typed_graph:
        raise UsageError(
            "mixed precision stands in the graph, and this one is FP32",
            do="convert the graph first, or choose int8 or fp16",
        )
    if plan.precision == "int8" and not plan.typed_graph and plan.calibration_cache is None:
        raise UsageError(
            "INT8 needs a calibration cache",
            why=f"without one {tool.label} makes ranges up from random numbers",
            do="espdeploy calibrate F.onnx --data DIR --trt-cache FILE, and give FILE",
        )


_WHY_TYPED = f"from TensorRT {dotted(TYPED_FROM)} on, and in TensorRT-RTX, the graph alone says the precision"


def _check_opset(tool: Tool, plan: BuildPlan) -> None:
    if plan.opset is None or tool.is_rtx:
        return
    limit = next((opset for release, opset in _OPSETS if release >= tool.version[: len(release)]), None)
    if limit is None or plan.opset <= limit:
        return
    reader = next((dotted(release) for release, opset in _OPSETS if opset >= plan.opset), None)
    raise MissingCapability(
        f"{plan.onnx} is of opset {plan.opset}, and {tool.label} reads up to {limit}",
        why=f"TensorRT {reader} is the first that reads it" if reader else "",
        do=f"export it again with --opset {limit}",
    )


def _check_dla(tool: Tool, plan: BuildPlan) -> None:
    if plan.dla_core is None:
        return
    if tool.is_rtx:
        raise MissingCapability(f"{tool.label} has no DLA", do=f"build with {TRTEXEC} on a Jetson that has one")
    if plan.precision == "fp32":
        raise UsageError("the DLA computes in FP16 and INT8 only", do="choose --precision fp16 or int8")
    check_one_shape_on_dla(plan.inputs)


def _check_level(tool: Tool, level: int | None) -> None:
    if level is None:
        return
    if level not in _LEVELS:
        raise UsageError(f"the optimization level {level} is none", do="choose 0 to 5")
    if tool.is_rtx:
        raise UsageError(
            f"{tool.label} builds the same engine at every optimization level",
            why="it times no kernels while it builds, but chooses them where the engine runs",
            do="build without one",
        )
    if tool.version < LEVELS_FROM:
        raise MissingCapability(
            f"{tool.label} has no optimization levels",
            why=f"they came with TensorRT {dotted(LEVELS_FROM)}",
            do="build without one",
        )


def _check_target(tool: Tool, plan: BuildPlan) -> None:
    if plan.compute_capability is not None:
        if not tool.is_rtx:
            raise UsageError(
                f"{tool.label} builds for the GPU that it runs on, not for {plan.compute_capability}",
                do="build on the device itself, or use TensorRT-RTX",
            )
        if not _CAPABILITY.fullmatch(plan.compute_capability):
            raise UsageError(f'"{plan.compute_capability}" is no compute capability', do="give one as 8.9")
    if plan.timing_cache is not None and tool.is_rtx:
        raise UsageError(
            f"{tool.label} has no use for a timing cache",
            why="it chooses kernels where the engine runs, and with a cache it would need a GPU to build",
            do="build without one",
        )


def _check_ranges(inputs: tuple[ShapeRange, ...]) -> None:
    check_shapes(inputs)
    for item in inputs:
        item.check()


def typed_offered(tool: Tool) -> bool:
    """Whether ``--stronglyTyped`` makes the tool take the graph's own precisions."""
    return not tool.typed and tool.version >= TYPED_OFFERED_FROM


def quantized(precision: str) -> bool:
    """Whether some layers are computed in INT8."""
    return precision in _QUANTIZED


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(names)
