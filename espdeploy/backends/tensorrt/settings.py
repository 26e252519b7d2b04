"""A plan put into NVIDIA's builder configuration, every setting that matters said and none left to a default."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espdeploy.backends.tensorrt.api import Api
from espdeploy.backends.tensorrt.checks import check_ranges
from espdeploy.backends.tensorrt.cuda import Memory
from espdeploy.backends.tensorrt.plan import TensorRTPlan
from espdeploy.backends.tensorrt.precision import set_precision
from espdeploy.errors import InputFileError, MissingCapability, UsageError
from espdeploy.units import BYTES_PER_MB

#: taken where no device can be asked; TensorRT-RTX's builder needs some 0.1 GB for ESPNet at 1024x512
DEFAULT_WORKSPACE_MB = 2048.0
#: the rest is for weights, activations and what runs besides; shared with the processor, there is more besides
_SHARE, _SHARE_OF_SHARED = 0.5, 0.25


@dataclass
class Settings:
    """The configuration, the workspace in it, and what must live until the engine is built.

    ``dla_share_pct`` is the share of the network's layers that the DLA takes; None where none was asked for.
    """

    config: Any
    workspace_mb: float
    dla_share_pct: float | None = None
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
        UsageError: a range of shapes is missing or does not fit, or a compute capability that is not known.
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
    if plan.dla_core is not None:
        _set_dla(api, builder, network, made, plan.dla_core)
    if plan.timing_cache is not None:
        _load_timing_cache(made, plan.timing_cache, may_differ=plan.timing_cache_may_differ)
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
    declared = {item.name: tuple(item.shape) for item in map(network.get_input, range(network.num_inputs))}
    check_ranges(plan.onnx, declared, plan.inputs)
    if not plan.inputs:
        return
    profile = builder.create_optimization_profile()
    for item in plan.inputs:
        profile.set_shape(item.name, item.smallest, item.usual, item.largest)
    made.config.add_optimization_profile(profile)
    if plan.precision == "int8" and plan.calibration_cache is not None:
        made.config.set_calibration_profile(profile)  # TensorRT 10 asks for it where shapes are open
    made.alive.append(profile)


def _set_dla(api: Api, builder: Any, network: Any, made: Settings, core: int) -> None:
    """Every layer that the DLA takes goes there, the others to the GPU (IBuilderConfig.can_run_on_DLA)."""
    cores = int(builder.num_DLA_cores)
    if core not in range(cores):
        raise MissingCapability(
            f"this device has no DLA core {core}",
            why=f"it has {cores}" if cores else "it has none",
            do=f"give 0 to {cores - 1}" if cores else "leave it away: the GPU then does it all",
        )
    made.config.default_device_type = api.module.DeviceType.DLA
    made.config.DLA_core = core
    made.config.set_flag(api.module.BuilderFlag.GPU_FALLBACK)
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    taken = sum(bool(made.config.can_run_on_DLA(layer)) for layer in layers)
    made.dla_share_pct = 100 * taken / len(layers) if layers else 0.0


def _load_timing_cache(made: Settings, path: Path, *, may_differ: bool) -> None:
    try:
        content = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise InputFileError(f"cannot read the timing cache {path}: {error.strerror}") from error
    if _takes(made.config, content):
        return
    if not may_differ:
        raise InputFileError(
            f"{path} is no timing cache of this TensorRT and GPU",
            do="delete it and it is made anew, or name another file",
        )
    made.notes.append("the timing cache was of another TensorRT, driver or GPU, and was begun anew")
    _takes(made.config, b"")


def _takes(config: Any, content: bytes) -> bool:
    """Hand the cache to the builder, if it is one and fits."""
    cache = config.create_timing_cache(content)
    empty = _serialized(config.create_timing_cache(b""))
    # what is no cache comes out as an empty one, with no more than a warning, and would be overwritten after the build
    if cache is None or (content not in (b"", empty) and _serialized(cache) == empty):
        return False
    return bool(config.set_timing_cache(cache, ignore_mismatch=False))


def timing_cache_of(config: Any) -> bytes | None:
    """What was learnt while building, to be kept; None where there is nothing to keep."""
    return _serialized(config.get_timing_cache())


def _serialized(cache: Any) -> bytes | None:
    memory = None if cache is None else cache.serialize()
    return None if memory is None else bytes(memory)
