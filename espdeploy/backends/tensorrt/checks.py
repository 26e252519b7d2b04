"""What a release cannot do, or a plan contradicts, is refused before the library works on it."""

from __future__ import annotations

from espdeploy.backends.tensorrt.api import Api
from espdeploy.backends.tensorrt.plan import ShapeProfile, TensorRTPlan
from espdeploy.backends.trtexec.checks import check_calibration_cache
from espdeploy.errors import MissingCapability, UsageError

PRECISIONS = ("fp32", "fp16", "int8", "mixed")
_LEVELS = range(6)
_BY_FLAGS = "TensorRT 8 to 10"


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
    if plan.optimization_level is not None and plan.optimization_level not in _LEVELS:
        raise UsageError(f"the optimization level {plan.optimization_level} is none", do="choose 0 to 5")
    _check_precision(api, plan)
    _check_device(api, plan)
    for profile in plan.profiles:
        _check_profile(profile)


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
    if plan.dla_core is None:
        return
    if not api.abilities.dla:
        raise MissingCapability(f"{api.label} has no DLA", do="build with --runtime tensorrt on a Jetson that has one")
    if plan.precision == "fp32":
        raise UsageError("the DLA computes in FP16 and INT8 only", do="choose --precision fp16 or int8")


def _check_profile(profile: ShapeProfile) -> None:
    shapes = (profile.min, profile.opt, profile.max)
    same_rank = len({len(shape) for shape in shapes}) == 1
    if not same_rank or any(not 0 <= low <= usual <= high for low, usual, high in zip(*shapes, strict=same_rank)):
        raise UsageError(
            f'the input "{profile.name}" cannot range over {", ".join(text_of(shape) for shape in shapes)}',
            do="give smallest, usual and largest shapes of one rank, each extent from small to large",
        )


def text_of(shape: tuple[int, ...]) -> str:
    """``1x3x512x1024``."""
    return "x".join(str(extent) for extent in shape)
