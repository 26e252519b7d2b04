"""A plan put into NVIDIA's builder configuration, every setting that matters said and none left to a default."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espdeploy.backends.tensorrt.api import Api
from espdeploy.backends.tensorrt.checks import text_of
from espdeploy.backends.tensorrt.cuda import Memory
from espdeploy.backends.tensorrt.plan import Shape, ShapeProfile, TensorRTPlan
from espdeploy.backends.tensorrt.precision import set_precision
from espdeploy.errors import InputFileError, MissingCapability, UsageError
from espdeploy.units import BYTES_PER_MB

#: the option of the command line that a missing shape profile is asked for with
SHAPES_OPTION = "--shapes"
#: taken where no device can be asked; TensorRT-RTX's builder needs some 0.1 GB for ESPNet at 1024x512
DEFAULT_WORKSPACE_MB = 2048.0
#: the rest is for weights, activations and what runs besides; shared with the processor, there is more besides
_SHARE, _SHARE_OF_SHARED = 0.5, 0.25
_DYNAMIC = -1
#: proposed where shapes are missing: batches, and height and width
_BATCHES, _USUAL = (1, 4, 8), {2: 512, 3: 1024}


@dataclass
class Settings:
    """The configuration, the workspace in it, and what must live until the engine is built."""

    config: Any
    workspace_mb: float
    notes: list[str] = field(default_factory=list)
    alive: list[Any] = field(default_factory=list)


def configure(api: Api, builder: Any, network: Any, plan: TensorRTPlan, memory: Memory | None) -> Settings:
    """Everything that the plan asks for.

    Args:
        api: the package that ``builder`` and ``network`` are of.
        builder: an IBuilder.
        network: what was parsed.
        plan: one that :func:`checks.check_plan` let pass.
        memory: of the device that the engine is built on and for; None where there is none.

    Raises:
        UsageError: a shape profile is missing or does not fit, or a compute capability that the release does not know.
        InputFileError: a timing cache that the release does not take.
        MissingCapability: no such DLA core, or a GPU without fast INT8.
    """
    config = builder.create_builder_config()
    made = Settings(config=config, workspace_mb=plan.workspace_mb or 0.0)
    _set_workspace(api, made, plan, memory)
    config.profiling_verbosity = api.module.ProfilingVerbosity.DETAILED
    if plan.optimization_level is not None:
        config.builder_optimization_level = plan.optimization_level
    _set_target(api, config, plan)
    _add_profile(builder, network, made, plan)
    made.alive.extend(set_precision(api, builder, config, plan))
    _set_dla(api, builder, config, plan)
    if plan.timing_cache is not None:
        _load_timing_cache(config, plan.timing_cache)
    return made


def _set_workspace(api: Api, made: Settings, plan: TensorRTPlan, memory: Memory | None) -> None:
    """The memory that kernels may use while they run. Too little of it costs the faster ones, or the build."""
    if plan.workspace_mb is None:
        if memory is None:
            made.workspace_mb = DEFAULT_WORKSPACE_MB
            made.notes.append(f"workspace {made.workspace_mb:,.0f} MB, since no GPU here could be asked for its memory")
        else:
            share = _SHARE_OF_SHARED if memory.shared else _SHARE
            made.workspace_mb = float(max(1, int(memory.free_mb * share)))
            whose = "memory that the GPU shares with the processor" if memory.shared else "the GPU's memory"
            made.notes.append(f"workspace {made.workspace_mb:,.0f} MB, {100 * share:.0f} % of what is free of {whose}")
    size = int(made.workspace_mb * BYTES_PER_MB)
    made.config.set_memory_pool_limit(api.module.MemoryPoolType.WORKSPACE, size)


def capabilities(api: Api) -> dict[str, Any]:
    """The compute capabilities that the release builds for, as ``8.9``, with its own name for each."""
    members = api.module.ComputeCapability.__members__
    return {f"{name[2:-1]}.{name[-1]}": value for name, value in members.items() if name.startswith("SM")}


def _set_target(api: Api, config: Any, plan: TensorRTPlan) -> None:
    if plan.compute_capability is None:
        return
    known = capabilities(api)
    if plan.compute_capability not in known:
        ordered = sorted(known, key=lambda name: [int(part) for part in name.split(".")])
        raise UsageError(
            f'{api.label} does not build for compute capability "{plan.compute_capability}"',
            why=f"it builds for {', '.join(ordered)}",
            do="choose one of these, or leave it away for an engine that runs on 8.0 and newer",
        )
    config.num_compute_capabilities = 1
    config.set_compute_capability(known[plan.compute_capability], 0)


def _add_profile(builder: Any, network: Any, made: Settings, plan: TensorRTPlan) -> None:
    inputs = {item.name: tuple(item.shape) for item in map(network.get_input, range(network.num_inputs))}
    given = {profile.name: profile for profile in plan.profiles}
    unknown = [name for name in given if name not in inputs]
    if unknown:
        raise UsageError(
            f'{plan.onnx} has no input "{unknown[0]}" to give shapes for', why=f"its inputs are {', '.join(inputs)}"
        )
    for name, shape in inputs.items():
        if name in given:
            _check_fits(given[name], shape)
        elif _DYNAMIC in shape:
            raise _no_profile(plan, name, shape)
    if not any(_DYNAMIC in inputs[name] for name in given):
        return
    profile = builder.create_optimization_profile()
    for item in given.values():
        profile.set_shape(item.name, item.min, item.opt, item.max)
    made.config.add_optimization_profile(profile)
    if plan.precision == "int8" and plan.calibration_cache is not None:
        made.config.set_calibration_profile(profile)  # TensorRT 10 asks for it where shapes are open
    made.alive.append(profile)


def _no_profile(plan: TensorRTPlan, name: str, shape: Shape) -> UsageError:
    ranges = (text_of(_example(shape, batch)) for batch in _BATCHES)
    open_extents = _with_gaps(shape)
    return UsageError(
        f'the input "{name}" of {plan.onnx} is {open_extents}, and no shapes were given for it',
        why="an engine is built for a smallest, a usual and a largest shape",
        do=f"{SHAPES_OPTION} {name}={':'.join(ranges)} (min:opt:max), or export it with a fixed batch: --batch 1",
    )


def _with_gaps(shape: Shape) -> str:
    return "x".join("?" if extent == _DYNAMIC else str(extent) for extent in shape)


def _example(shape: Shape, batch: int) -> Shape:
    """The shape with extents put in where it is open."""
    usual = {0: batch, **_USUAL}
    return tuple(usual.get(axis, batch) if extent == _DYNAMIC else extent for axis, extent in enumerate(shape))


def _check_fits(profile: ShapeProfile, shape: Shape) -> None:
    for given in (profile.min, profile.opt, profile.max):
        fits = len(given) == len(shape) and all(
            want in (have, _DYNAMIC) for have, want in zip(given, shape, strict=len(given) == len(shape))
        )
        if not fits:
            raise UsageError(
                f'the shape {text_of(given)} does not fit the input "{profile.name}", which is {_with_gaps(shape)}',
                do="give other extents only where the network leaves them open",
            )


def _set_dla(api: Api, builder: Any, config: Any, plan: TensorRTPlan) -> None:
    if plan.dla_core is None:
        return
    cores = int(builder.num_DLA_cores)
    if plan.dla_core not in range(cores):
        raise MissingCapability(
            f"this device has no DLA core {plan.dla_core}",
            why=f"it has {cores}" if cores else "it has none",
            do=f"give 0 to {cores - 1}" if cores else "leave it away: the GPU then does it all",
        )
    config.default_device_type = api.module.DeviceType.DLA
    config.DLA_core = plan.dla_core
    config.set_flag(api.module.BuilderFlag.GPU_FALLBACK)


def _load_timing_cache(config: Any, path: Path) -> None:
    try:
        content = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise InputFileError(f"cannot read the timing cache {path}: {error.strerror}") from error
    cache = config.create_timing_cache(content)
    empty = _serialized(config.create_timing_cache(b""))
    # what is no cache comes out as an empty one, with no more than a warning, and would be overwritten after the build
    refused = cache is None or (content not in (b"", empty) and _serialized(cache) == empty)
    if refused or not config.set_timing_cache(cache, ignore_mismatch=False):
        raise InputFileError(
            f"{path} is no timing cache of this TensorRT and GPU",
            do="delete it and it is made anew, or name another file",
        )


def timing_cache_of(config: Any) -> bytes | None:
    """What was learnt while building, to be kept; None where there is nothing to keep."""
    return _serialized(config.get_timing_cache())


def _serialized(cache: Any) -> bytes | None:
    memory = None if cache is None else cache.serialize()
    return None if memory is None else bytes(memory)
