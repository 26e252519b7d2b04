"""Argument lists for the tool, pure: the same plan gives the same list, whatever the machine.

What a release does by default is never relied on where releases differ, since a table of figures made with defaults
would compare different things: up to TensorRT 10 trtexec launches without CUDA graphs, waits blocking and copies inputs
and outputs; from 11 on it is the other way round on all three (samples/common/sampleOptions.h at v8.2 to v11.1). Times
are whole numbers, which is what 8.2 and 8.4 read.
"""

from __future__ import annotations

from collections.abc import Iterable

from espdeploy.backends.trtexec import checks
from espdeploy.backends.trtexec.plan import BuildPlan, InputShape, ProfilePlan, TimePlan
from espdeploy.backends.trtexec.tool import Tool, dialect
from espdeploy.errors import MissingCapability
from espdeploy.specs import shape_text
from espdeploy.units import BYTES_PER_MB

_BYTES_PER_MIB = 1 << 20


def build_argv(tool: Tool, plan: BuildPlan) -> list[str]:
    """The command that builds the engine and runs nothing.

    Raises:
        UsageError, MissingCapability: this tool cannot follow the plan (:func:`checks.check_build`).
    """
    checks.check_build(tool, plan)
    words = dialect(tool)
    mib = max(1, int(plan.workspace_mb * BYTES_PER_MB) // _BYTES_PER_MIB)
    return _known(
        tool,
        [
            f"--onnx={plan.onnx}",
            f"--saveEngine={plan.engine}",
            words.build_only,
            words.workspace.format(mib=mib),
            *_precision(tool, plan),
            *_ranges(plan),
            *([] if plan.dla_core is None else [f"--useDLACore={plan.dla_core}", "--allowGPUFallback"]),
            *([] if plan.timing_cache is None else [f"--timingCacheFile={plan.timing_cache}"]),
            *([] if plan.optimization_level is None else [f"--builderOptimizationLevel={plan.optimization_level}"]),
            *_target(plan),
            *_layer_info(plan),
        ],
    )


def time_argv(tool: Tool, plan: TimePlan) -> list[str]:
    """The command that times an engine, without a profiler.

    Raises:
        UsageError: a CUDA graph on the DLA, or an input that cannot be named.
        MissingCapability: the tool lacks an option.
    """
    checks.check_graph_on_dla(plan.dla_core, cuda_graph=plan.cuda_graph)
    words = dialect(tool)
    return _known(
        tool,
        [
            *_run(tool, plan),
            *words.cuda_graph.flags(plan.cuda_graph),
            *words.spin_wait.flags(plan.spin_wait),
            *words.transfers.flags(plan.transfers),
            f"--exportTimes={plan.times_json}",
        ],
    )


def profile_argv(tool: Tool, plan: ProfilePlan) -> list[str]:
    """The command that times each layer.

    Without transfers, and without a CUDA graph: TensorRT profiles none on CUDA older than 11.1, as JetPack 4.6 has it.

    Raises:
        UsageError: an input that cannot be named.
        MissingCapability: the tool lacks an option.
    """
    words = dialect(tool)
    layers = [] if plan.layer_info is None else [f"--exportLayerInfo={plan.layer_info}"]
    return _known(
        tool,
        [
            *_run(tool, plan),
            *words.cuda_graph.flags(False),
            *words.transfers.flags(False),
            "--dumpProfile",
            *words.profile_apart,
            f"--exportProfile={plan.profile_json}",
            *layers,
        ],
    )


def _run(tool: Tool, plan: TimePlan | ProfilePlan) -> list[str]:
    checks.check_shapes(plan.inputs)
    dla = [] if plan.dla_core is None else [f"--useDLACore={plan.dla_core}"]
    return [
        f"--loadEngine={plan.engine}",
        *([f"--shapes={_shapes(plan.inputs)}"] if plan.inputs else []),
        *dla,
        f"--warmUp={plan.warmup_ms}",
        f"--duration={plan.duration_s}",
        f"--iterations={plan.iterations}",
        f"{dialect(tool).streams}=1",
    ]


def _precision(tool: Tool, plan: BuildPlan) -> list[str]:
    """Flags for the precision, where the tool takes it from flags.

    A weakly typed network of TensorRT 8 with half-precision tensors or Q/DQ pairs runs as such only where the flags
    allow the type (Developer Guide, "Working with INT8": explicit quantization).
    """
    flags: list[str] = []
    if not plan.tf32 and (not tool.is_rtx or "--noTF32" in tool.options):
        flags.append("--noTF32")
    if tool.typed:
        return flags
    if plan.typed_graph and checks.typed_offered(tool):
        return [*flags, "--stronglyTyped"]
    half = plan.precision in ("fp16", "mixed") or (checks.quantized(plan.precision) and plan.rest == "fp16")
    flags += ["--fp16"] if half else []
    flags += ["--int8"] if checks.quantized(plan.precision) else []
    return flags if plan.calibration_cache is None else [*flags, f"--calib={plan.calibration_cache}"]


def _ranges(plan: BuildPlan) -> list[str]:
    if not plan.inputs:
        return []
    smallest, usual, largest = (
        _shapes(InputShape(name=item.name, shape=getattr(item, which)) for item in plan.inputs)
        for which in ("smallest", "usual", "largest")
    )
    return [f"--minShapes={smallest}", f"--optShapes={usual}", f"--maxShapes={largest}"]


def _shapes(inputs: Iterable[InputShape]) -> str:
    """``name:1x3x512x1024``, comma-separated; a name with a colon in quotes, as the tool's help wants it."""
    return ",".join(f"{_quoted(item.name)}:{shape_text(item.shape)}" for item in inputs)


def _quoted(name: str) -> str:
    return f"'{name}'" if ":" in name else name


def _target(plan: BuildPlan) -> list[str]:
    """``--computeCapabilities=89`` (TensorRT-RTX documentation, CPU-only AOT engines)."""
    if plan.compute_capability is None:
        return []
    return [f"--computeCapabilities={plan.compute_capability.replace('.', '')}"]


def _layer_info(plan: BuildPlan) -> list[str]:
    """Only an engine built with detailed verbosity says the precision of its layers (IEngineInspector)."""
    if plan.layer_info is None:
        return ["--profilingVerbosity=layer_names_only"]
    return ["--profilingVerbosity=detailed", f"--exportLayerInfo={plan.layer_info}"]


def _known(tool: Tool, options: list[str]) -> list[str]:
    """The whole command, once the tool's own help lists each option."""
    unknown = [option for option in options if tool.options and option.partition("=")[0] not in tool.options]
    if unknown:
        raise MissingCapability(
            f"{tool.label} has no option {', '.join(option.partition('=')[0] for option in unknown)}",
            why=f"{tool.path} --help does not list it",
            do="use another release of TensorRT, or leave out what needs it",
        )
    return [str(tool.path), *options]
