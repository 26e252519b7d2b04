"""Engines for NVIDIA GPUs: which builder is here, in which form it takes a precision, and what it built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from espdeploy import export, lazy
from espdeploy.backends.tensorrt import api as apis
from espdeploy.backends.tensorrt import build, layers
from espdeploy.backends.tensorrt.api import RTX
from espdeploy.backends.tensorrt.checks import check_plan
from espdeploy.backends.tensorrt.plan import BuildReport, TensorRTPlan
from espdeploy.errors import ToolFailed, UsageError
from espdeploy.onnx_graph import constants
from espdeploy.pipeline import capability
from espdeploy.pipeline.building.builder_options import BuilderOptions
from espdeploy.pipeline.building.calibration_cache import cache_for
from espdeploy.pipeline.building.candidates import check_shares
from espdeploy.pipeline.building.lower import QUANTIZED, Lowered, amax_of, lower
from espdeploy.pipeline.building.mixed import MixedRequest, MixedResult, mixed
from espdeploy.pipeline.building.timing_cache import Lent, default_path, lent
from espdeploy.pipeline.engine_files.opening import check_is_here
from espdeploy.pipeline.engine_files.passport import AccuracyDrop
from espdeploy.protocols import Progress, RunnerFacts
from espdeploy.quantize.fp16 import to_fp16
from espdeploy.quantize.qdq import quantizable
from espdeploy.quantize.table import CalibrationTable
from espdeploy.specs import DeviceProfile

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

_PAIRS = ("QuantizeLinear", "DequantizeLinear")
_INT8_MAX = 127
#: with flags TensorRT may take a faster kernel of higher precision for any layer; some must have what was asked for
LEAST_BY_FLAGS_PCT = 1.0
UNSEEN_ON_DLA = "the precision of the convolutions is not known: nothing tells what a DLA computes in"
_SCALES_STAY = "keeps its scale in FP32"


@dataclass(frozen=True, kw_only=True)
class TensorRTRequest:
    """The network, the precision and the GPU that an engine is wanted for; ``folder`` is for what is only passed on."""

    onnx: Path
    profile: DeviceProfile
    runtime: str
    precision: str
    table: CalibrationTable | None
    compute_capability: str | None
    folder: Path
    options: BuilderOptions = field(default_factory=BuilderOptions)
    max_drop_pct: float | None = None
    data: Path | None = None
    labels: Path | None = None


@dataclass(frozen=True, kw_only=True)
class TensorRTMade:
    """An engine file, what built it and what it computes in, and how it came about."""

    path: Path
    runtime: str
    runtime_version: str
    precision_share_pct: dict[str, float] | None
    kept: Mapping[str, str]
    flags: tuple[str, ...]
    drop: AccuracyDrop | None
    notes: tuple[str, ...]
    dla_share_pct: float | None = None


@dataclass(frozen=True, kw_only=True)
class Graph:
    """What a builder is given: the FP32 file as it is, or with ``typed`` one that says the precision itself."""

    path: Path
    typed: bool
    lowered: Lowered | None = None
    drop: AccuracyDrop | None = None
    notes: tuple[str, ...] = ()

    @property
    def kept(self) -> dict[str, str]:
        """The layers that stay in a higher precision, with the reason."""
        return dict(self.lowered.kept) if self.lowered else {}


def make_tensorrt(request: TensorRTRequest, progress: Progress) -> TensorRTMade:
    """Lower the graph, build the engine, and check that it has the precision that was asked for.

    Strongly typed builders take the precision from the graph: half tensors for FP16; Q/DQ pairs, and half tensors
    around them, for INT8. TensorRT 10 takes such graphs too, so every builder gets the same one and the same network
    is compared across releases.

    Raises:
        UsageError: a precision or compute capability that cannot be, or a graph that is lowered already.
        MissingCapability: the builder or the GPU lacks something.
        InputFileError, ToolFailed: as the builder says.
    """
    if request.compute_capability and request.runtime != RTX:
        raise UsageError(
            f"--compute-capability {request.compute_capability} is for TensorRT-RTX",
            why=f"{request.runtime} builds for the GPU that it runs on",
            do="--runtime tensorrt-rtx, or leave it away",
        )
    if request.runtime != RTX:
        check_is_here(request.profile)
    api = apis.load(request.runtime)
    capability.check(
        request.profile,
        precision=request.precision,
        tensorrt=api.version if request.runtime != RTX else None,
        dla=request.options.dla_core,
        compute_capability=request.compute_capability,
    )
    plan = _plan(request, api)
    check_plan(api, plan)  # before the graph is worked on
    graph = lowered_graph(request, progress, half_rest=True) if plan.typed_graph else plain_graph(request)
    if plan.calibration_cache is not None and request.table is not None:
        cache_for(request.table, request.onnx, api.version_text, plan.calibration_cache)
    report, timings = _built(request, api, plan, progress)
    check_on_dla(request, report.dla_share_pct)
    on_dla = request.options.dla_core is not None
    shares = None if on_dla else layers.convolution_shares_pct(report.layers)
    check_shares(_facts(report, shares), request.precision, expected_pct(request, graph))
    return TensorRTMade(
        path=plan.engine,
        runtime=report.runtime,
        runtime_version=report.runtime_version,
        precision_share_pct=shares,
        kept=graph.kept,
        flags=(*_flags(request, plan, report), *([timings.flag] if timings else [])),
        drop=graph.drop,
        notes=(*graph.notes, *report.notes, *report.warnings, *([UNSEEN_ON_DLA] if on_dla else [])),
        dla_share_pct=report.dla_share_pct,
    )


def _built(
    request: TensorRTRequest, api: apis.Api, plan: TensorRTPlan, progress: Progress
) -> tuple[BuildReport, Lent | None]:
    """The engine, built with the timings of earlier builds where the release has a use for them."""
    if not api.abilities.timing_cache:
        return build.build(plan, request.runtime, progress), None
    default = default_path(request.profile.name, request.runtime, api.version_text)
    with lent(request.options.timing_cache, default, request.folder, progress) as timings:
        if timings is None:
            return build.build(plan, request.runtime, progress), None
        lending = replace(plan, timing_cache=timings.copy, timing_cache_may_differ=not timings.named)
        return build.build(lending, request.runtime, progress), timings


def check_on_dla(request: TensorRTRequest, share_pct: float | None) -> None:
    """A DLA that was asked for and runs nothing is no small loss that a note could tell of.

    Raises:
        ToolFailed: the whole network fell back to the GPU.
    """
    if request.options.dla_core is not None and share_pct == 0:
        raise ToolFailed(
            f"no layer of {request.onnx} runs on DLA core {request.options.dla_core}",
            why="the builder put all of them onto the GPU",
            do="leave --dla away: the engine is the same without it",
        )


def lowered_graph(request: TensorRTRequest, progress: Progress, *, half_rest: bool) -> Graph:
    """The network in the precision that was asked for, as a file; ``half_rest``: what is not in INT8 goes to FP16.

    Raises:
        UsageError, InputFileError: the graph or the table cannot be used.
    """
    progress(0, None, "lowering the graph")
    model = export.load(request.onnx)
    facts = export.inspect(model)
    found = _mixed(request, progress) if request.precision == "mixed" else None
    lowered = _lowered(request, model, found, half_rest=half_rest)
    path = typed_path(request)
    export.save(lowered.model, path, facts.card)
    notes = (*lowered.notes, *(found.notes if found else ()))
    return Graph(path=path, typed=True, lowered=lowered, drop=_drop(found), notes=notes)


def typed_path(request: TensorRTRequest) -> Path:
    """Where :func:`lowered_graph` writes."""
    return request.folder / "typed.onnx"


def plain_graph(request: TensorRTRequest) -> Graph:
    """The FP32 file as it is, for builders that are told the precision by flags."""
    return Graph(path=request.onnx, typed=False)


def _plan(request: TensorRTRequest, api: apis.Api) -> TensorRTPlan:
    """What to build. For a DLA, TensorRT 10 is told by flags and a calibration cache: that reads no Q/DQ pairs there
    (Developer Guide, "Working with DLA"); from 11 on there is no other way than the graph."""
    options = request.options
    typed = options.dla_core is None or api.abilities.typed_only
    by_cache = request.precision == "int8" and not typed and request.table is not None
    return TensorRTPlan(
        onnx=typed_path(request) if typed else request.onnx,
        engine=request.folder / "built.engine",
        precision=request.precision,
        typed_graph=typed,
        calibration_cache=request.folder / "calibration.cache" if by_cache else None,
        workspace_mb=options.workspace_mb,
        optimization_level=options.optimization_level,
        inputs=options.shapes,
        dla_core=options.dla_core,
        timing_cache=options.timing_cache,
        compute_capability=request.compute_capability,
    )


def _lowered(request: TensorRTRequest, model: ModelProto, found: MixedResult | None, *, half_rest: bool) -> Lowered:
    amax = amax_of(request.table)
    if request.precision not in QUANTIZED:
        return lower(model, request.precision, amax=amax)
    if found is not None:
        lowered = Lowered(model=found.model, kept=found.kept)
    else:
        floating = _floating(request.runtime, model)
        layers = None if not floating else [name for name in quantizable(model) if name not in floating]
        lowered = lower(model, request.precision, amax=amax, layers=layers)
        lowered = replace(lowered, kept={**lowered.kept, **floating})
    return _with_half_rest(lowered, amax) if half_rest else lowered


def _floating(runtime: str, model: ModelProto) -> dict[str, str]:
    """Layers whose Q/DQ pairs would only cost (docs/decisions/0006).

    TensorRT-RTX computes ConvTranspose in floating point all the same, after a kernel that dequantizes its weight.
    """
    if runtime != RTX:
        return {}
    nodes = (node for node in model.graph.node if node.op_type == "ConvTranspose")
    return {node.name: "TensorRT-RTX has no INT8 kernel for ConvTranspose" for node in nodes}


def _with_half_rest(lowered: Lowered, amax: Mapping[str, float] | None) -> Lowered:
    """What is not in INT8 goes to FP16, which GPUs compute at twice the rate of FP32 and more.

    Q and DQ keep their FP32 scales, with casts behind them: the kernels are the same, and the scales of nearly dead
    channels would become 0 in FP16, which TensorRT refuses (docs/decisions/0006).
    """
    graph = lowered.model.graph
    pairs = {node.name: _SCALES_STAY for node in graph.node if node.op_type in _PAIRS}
    ranges = None if amax is None else _ranges(graph, amax)
    half = to_fp16(lowered.model, keep_io=True, keep_fp32=pairs, amax=ranges)
    kept = {name: why for name, why in half.kept.items() if name not in pairs}
    return Lowered(model=half.model, kept={**lowered.kept, **kept}, notes=(*lowered.notes, *half.notes))


def _ranges(graph: GraphProto, amax: Mapping[str, float]) -> dict[str, float]:
    """The magnitudes of what the graph still holds, and of what comes out of its Q/DQ pairs: that of what went in, or
    127 times the largest scale of a weight."""
    onnx = lazy.require("onnx", extra="export")
    known = {name for node in graph.node for name in (*node.input, *node.output)}
    ranges = {name: value for name, value in amax.items() if name in known}
    fixed = constants(graph)
    for node in graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] in ranges:
            ranges[node.output[0]] = ranges[node.input[0]]
        if node.op_type == "DequantizeLinear" and node.input[0] in fixed and node.input[1] in fixed:
            scales = onnx.numpy_helper.to_array(fixed[node.input[1]])
            ranges[node.output[0]] = _INT8_MAX * float(scales.max())
        elif node.op_type == "DequantizeLinear" and node.input[0] in ranges:
            ranges[node.output[0]] = ranges.pop(node.input[0])
    return ranges


def _mixed(request: TensorRTRequest, progress: Progress) -> MixedResult | None:
    if request.table is None or request.data is None or request.max_drop_pct is None:
        return None
    return mixed(
        MixedRequest(
            onnx=request.onnx,
            table=request.table,
            data=request.data,
            labels=request.labels,
            max_drop_pct=request.max_drop_pct,
            runtime=request.runtime,
        ),
        progress,
    )


def expected_pct(request: TensorRTRequest, graph: Graph) -> float:
    """The share of convolutions that the graph asks for in the precision."""
    if request.precision not in QUANTIZED or graph.lowered is None:
        return 100.0
    nodes = [node for node in graph.lowered.model.graph.node if node.op_type in ("Conv", "ConvTranspose")]
    quantized = [node for node in nodes if node.name not in graph.kept]
    return 100.0 * len(quantized) / len(nodes) if nodes else 0.0


def _facts(report: BuildReport, shares: dict[str, float] | None) -> RunnerFacts:
    return RunnerFacts(
        runtime=report.runtime,
        runtime_version=report.runtime_version,
        provider=report.runtime,
        threads=None,
        precision_share_pct=shares,
    )


def _flags(request: TensorRTRequest, plan: TensorRTPlan, report: BuildReport) -> tuple[str, ...]:
    told = "strongly typed" if plan.typed_graph else f"{request.precision} by flags"
    flags = [told, f"workspace {report.workspace_mb:.0f} MB", *request.options.flags]
    if request.compute_capability:
        flags.append(f"compute capability {request.compute_capability}")
    return tuple(flags)


def _drop(found: MixedResult | None) -> AccuracyDrop | None:
    if found is None:
        return None
    return AccuracyDrop(
        search_pct=found.drop_search_pct,
        heldout_pct=found.drop_heldout_pct,
        heldout_ci95_pct=found.drop_heldout_ci95_pct,
        images_search=found.images_search,
        images_heldout=found.images_heldout,
    )
