"""What a release cannot do, or a plan contradicts, is refused before the library works on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from espdeploy.backends.tensorrt.api import Api
from espdeploy.backends.tensorrt.plan import TensorRTPlan
from espdeploy.backends.trtexec.checks import check_calibration_cache, check_one_shape_on_dla
from espdeploy.errors import MissingCapability, UsageError
from espdeploy.specs import Shape, ShapeRange, shape_text

PRECISIONS = ("fp32", "fp16", "int8", "mixed")
_LEVELS = range(6)
_BY_FLAGS = "TensorRT 8 to 10"
_OPEN = -1
#: proposed for height and width where shapes are missing
_USUAL = {2: 512, 3: 1024}


def check_plan(api: Api, plan: TensorRTPlan) -> None:
    """Refuse a plan that this release cannot follow.

    Raises:
        UsageError: an impossible combination, or a value out of range.
        MissingCapability: this release lacks what is asked for.
        InputFileError: the calibration cache cannot be read, or is none.
    """
    if plan.precision not in PRECISIONS:
        raise UsageError(f'"{plan.precision}" is no precision for {api.label}', do=f"choose {', '.join(PRECISIONS)}")
    if plan.workspace_mb is not None and plan.workspace_mb < 1:
        raise UsageError(f"a workspace of {plan.workspace_mb:g} MB is none", do="give 256 MB or more, or none at all")
    _check_precision(api, plan)
    _check_device(api, plan)
    for item in plan.inputs:
        item.check()


def _check_precision(api: Api, plan: TensorRTPlan) -> None:
    if plan.calibration_cache is not None and (plan.typed_graph or not api.abilities.calibrators):
        raise UsageError(
            f"{plan.calibration_cache} would be ignored",
            why="the graph holds its own scales" if plan.typed_graph else f"{api.label} reads no calibration cache",
            do="leave the calibration cache out" if plan.typed_graph else f"build a Q/DQ graph, or use {_BY_FLAGS}",
        )
    if plan.typed_graph or plan.precision == "fp32":
        return
    if plan.precision == "mixed":
        raise UsageError("mixed precision stands in the graph, and this one is FP32", do="choose int8 or fp16")
    if plan.precision not in api.abilities.precision_flags:
        raise UsageError(
            f"{api.label} cannot build {plan.precision} from an FP32 graph",
            why="there the graph alone says the precision",
            do=f"convert the graph to {plan.precision} first (espdeploy build does), or use {_BY_FLAGS}",
        )
    if plan.precision == "int8":
        if plan.calibration_cache is None:
            raise UsageError(
                "INT8 needs a calibration cache, or a graph with Q/DQ pairs",
                do="espdeploy calibrate F.onnx --data DIR --trt-cache FILE, and give FILE",
            )
        check_calibration_cache(plan.calibration_cache)


def _check_device(api: Api, plan: TensorRTPlan) -> None:
    if plan.compute_capability is not None and not api.abilities.compute_capabilities:
        raise UsageError(
            f"{api.label} builds for the GPU that it runs on, not for {plan.compute_capability}",
            do="build on the device itself, or use --runtime tensorrt-rtx",
        )
    if plan.timing_cache is not None and not api.abilities.timing_cache:
        raise UsageError(
            f"{api.label} has no use for a timing cache",
            why="it chooses kernels where the engine runs",
            do="leave it away",
        )
    _check_level(api, plan.optimization_level)
    if plan.dla_core is None:
        return
    if not api.abilities.dla:
        raise MissingCapability(f"{api.label} has no DLA", do="build with --runtime tensorrt on a Jetson that has one")
    if plan.precision == "fp32":
        raise UsageError("the DLA computes in FP16 and INT8 only", do="choose --precision fp16 or int8")
    check_one_shape_on_dla(plan.inputs)


def _check_level(api: Api, level: int | None) -> None:
    if level is None:
        return
    if level not in _LEVELS:
        raise UsageError(f"the optimization level {level} is none", do="choose 0 to 5")
    if not api.abilities.levels:
        raise UsageError(
            f"{api.label} builds the same engine at every optimization level",
            why="it times no kernels while it builds, but chooses them where the engine runs",
            do="leave it away",
        )


def check_ranges(onnx: Path, declared: Mapping[str, Shape], ranges: Sequence[ShapeRange]) -> None:
    """Refuse ranges of shapes that an engine of a network cannot be built for.

    Args:
        onnx: the network, for the errors.
        declared: the inputs as the network has them; -1 for an open extent.
        ranges: what was given.

    Raises:
        UsageError: an input with open extents has no range, one without has; a range does not fit, or is of no input.
    """
    given = {item.name: item for item in ranges}
    unknown = [name for name in given if name not in declared]
    if unknown:
        raise UsageError(
            f'{onnx} has no input "{unknown[0]}" to give shapes for',
            why=f"its inputs are {', '.join(declared)}",
            do="name one of these",
        )
    for name, shape in declared.items():
        if name not in given:
            if _OPEN in shape:
                raise _no_range(onnx, name, shape)
        elif _OPEN not in shape:
            raise UsageError(
                f'the input "{name}" of {onnx} is {shape_text(shape)}, and no range of shapes can change that',
                do="leave it away, or export the network with --batch dynamic",
            )
        else:
            _check_fits(given[name], shape)


def _no_range(onnx: Path, name: str, shape: Shape) -> UsageError:
    example = ShapeRange(name=name, smallest=_filled(shape, 1), usual=_filled(shape, 4), largest=_filled(shape, 8))
    only_batch = shape[0] == _OPEN and _OPEN not in shape[1:]
    short = "--batch 1,4,8 (smallest, usual, largest), that is " if only_batch else ""
    return UsageError(
        f'the input "{name}" of {onnx} is {_with_gaps(shape)}, and no shapes were given for it',
        why="an engine is built for a smallest, a usual and a largest shape",
        do=f"{short}--shapes {example}; or export the network with a fixed batch: --batch 1",
    )


def _filled(shape: Shape, batch: int) -> Shape:
    """The shape with extents put in where it is open, for an example."""
    usual = {0: batch, **_USUAL}
    return tuple(usual.get(axis, batch) if extent == _OPEN else extent for axis, extent in enumerate(shape))


def _with_gaps(shape: Shape) -> str:
    return "x".join("?" if extent == _OPEN else str(extent) for extent in shape)


def _check_fits(given: ShapeRange, shape: Shape) -> None:
    for wanted in (given.smallest, given.usual, given.largest):
        fits = len(wanted) == len(shape) and all(
            have in (want, _OPEN) for want, have in zip(wanted, shape, strict=len(wanted) == len(shape))
        )
        if not fits:
            raise UsageError(
                f'the shape {shape_text(wanted)} does not fit the input "{given.name}", which is {_with_gaps(shape)}',
                do="give other extents only where the network leaves them open",
            )
