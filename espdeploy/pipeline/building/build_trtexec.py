"""Engines built by trtexec: the way in on JetPack 4.6, and wherever TensorRT is without its Python packages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import psutil

from espdeploy import units
from espdeploy.backends.trtexec.build import BuildLog, build
from espdeploy.backends.trtexec.checks import check_build
from espdeploy.backends.trtexec.find import find
from espdeploy.backends.trtexec.plan import BuildPlan
from espdeploy.backends.trtexec.tool import Tool, dotted
from espdeploy.pipeline import capability
from espdeploy.pipeline.building.build_tensorrt import (
    LEAST_BY_FLAGS_PCT,
    UNSEEN_ON_DLA,
    Graph,
    TensorRTMade,
    TensorRTRequest,
    check_on_dla,
    expected_pct,
    lowered_graph,
    plain_graph,
    typed_path,
)
from espdeploy.pipeline.building.builders import TRTEXEC
from espdeploy.pipeline.building.calibration_cache import cache_for
from espdeploy.pipeline.building.candidates import check_shares
from espdeploy.pipeline.building.onnx_head import read_head
from espdeploy.pipeline.building.timing_cache import default_path, lent
from espdeploy.pipeline.engine_files.opening import check_is_here
from espdeploy.pipeline.machine import system_root
from espdeploy.profilers.trtexec.layer_info import read_layer_info
from espdeploy.protocols import Progress, RunnerFacts

_WORKSPACE_SHARE = 0.5  # of the free memory: the network's own buffers, and on a Jetson everyone else, need the rest


def make_trtexec(request: TensorRTRequest, progress: Progress) -> TensorRTMade:
    """Build with the tool that is on this machine, and check that the precision asked for is in the engine.

    Up to TensorRT 10 flags ask for FP16, and for INT8 with a calibration cache made from the table: the ONNX file goes
    in as it is, so that neither onnx nor a runtime has to be installed on the board. From TensorRT 11 on, and for mixed
    precision, the graph says it.

    Raises:
        MissingCapability: another machine than the device, no trtexec, a release or precision that it has not got.
        UsageError, InputFileError, ToolFailed: as the tool says.
    """
    check_is_here(request.profile)
    tool = find(TRTEXEC, root=system_root())
    capability.check(request.profile, precision=request.precision, tensorrt=tool.version, dla=request.options.dla_core)
    plan = _plan(request, tool)
    check_build(tool, plan)  # before the graph is worked on
    graph = lowered_graph(request, progress, half_rest=tool.typed) if plan.typed_graph else plain_graph(request)
    if plan.calibration_cache is not None and request.table is not None:
        cache_for(request.table, request.onnx, dotted(tool.version), plan.calibration_cache)
    default = default_path(request.profile.name, TRTEXEC, dotted(tool.version))
    with lent(request.options.timing_cache, default, request.folder, progress) as timings:
        log = build(tool, replace(plan, timing_cache=timings.copy if timings else None), progress)
    share_pct = _dla_share_pct(request, plan, log)
    check_on_dla(request, share_pct)
    shares = _checked_shares(request, tool, graph, log)
    return TensorRTMade(
        path=plan.engine,
        runtime=TRTEXEC,
        runtime_version=dotted(tool.version),
        precision_share_pct=shares,
        kept=graph.kept,
        flags=(*_without_paths(log.argv), *([timings.flag] if timings else [])),
        drop=graph.drop,
        notes=(*graph.notes, *log.warnings, *_unknown(request, shares)),
        dla_share_pct=share_pct,
    )


def _unknown(request: TensorRTRequest, shares: dict[str, float] | None) -> tuple[str, ...]:
    if request.options.dla_core is not None:
        return (UNSEEN_ON_DLA,)
    return () if shares else (_NOT_TOLD,)


_NOT_TOLD = "the precision of the layers is not known: this trtexec exports no details of them"


def _plan(request: TensorRTRequest, tool: Tool) -> BuildPlan:
    options = request.options
    typed = request.precision != "fp32" and (tool.typed or request.precision == "mixed")
    by_cache = request.precision == "int8" and not typed and request.table is not None
    return BuildPlan(
        onnx=typed_path(request) if typed else request.onnx,
        engine=request.folder / "built.engine",
        precision=request.precision,
        workspace_mb=_workspace_mb(request),
        typed_graph=typed,
        calibration_cache=request.folder / "calibration.cache" if by_cache else None,
        inputs=options.shapes,
        dla_core=options.dla_core,
        timing_cache=options.timing_cache,
        compute_capability=request.compute_capability,
        layer_info=request.folder / "layers.json",
        optimization_level=options.optimization_level,
    )


def _checked_shares(request: TensorRTRequest, tool: Tool, graph: Graph, log: BuildLog) -> dict[str, float] | None:
    """The share of convolutions in each precision; None where it is not told, as of layers on a DLA."""
    if request.options.dla_core is not None:
        return None
    shares = _shares(log)
    facts = RunnerFacts(
        runtime=TRTEXEC,
        runtime_version=dotted(tool.version),
        provider=TRTEXEC,
        threads=None,
        precision_share_pct=shares,
    )
    check_shares(facts, request.precision, expected_pct(request, graph) if graph.typed else LEAST_BY_FLAGS_PCT)
    return shares


def _dla_share_pct(request: TensorRTRequest, plan: BuildPlan, log: BuildLog) -> float | None:
    if request.options.dla_core is None:
        return None
    return share_on_dla_pct(log.output, read_head(plan.onnx).nodes)


def share_on_dla_pct(output: str, nodes: Sequence[str]) -> float | None:
    """The share of a graph's nodes that a DLA takes, by what the tool says while it builds.

    Each layer that goes to the GPU instead is warned of, under the name of its node; lists of both come with the
    releases up to 8.5 alone (later ones keep them for ``--verbose``). Source: logs of trtexec 8.0 to 10.

    Args:
        output: what the tool printed.
        nodes: the names of the graph's nodes.

    Returns:
        Percent; None where nodes have no names to tell them by.
    """
    if _LISTED.search(output) and _ON_DLA not in output:
        return 0.0
    if not nodes or not all(nodes):
        return None
    switched = {match["name"] for pattern in _SWITCHED for match in pattern.finditer(output)}
    return 100 * sum(name not in switched for name in nodes) / len(nodes)


_LISTED, _ON_DLA = re.compile(r"Layers running on DLA", re.IGNORECASE), "[DlaLayer]"
_SWITCHED = (
    re.compile(r"Layer '(?P<name>.+?)' \(\w+\): Unsupported on DLA\. Switching this layer's device type to GPU"),
    re.compile(r"Default DLA is enabled but layer (?P<name>.+?) is not supported on DLA, falling back to GPU"),
)


def _workspace_mb(request: TensorRTRequest) -> float:
    if request.options.workspace_mb is not None:
        return request.options.workspace_mb
    facts = request.profile.tensorrt
    if facts is not None and facts.workspace_mb is not None:
        return float(facts.workspace_mb)
    return _WORKSPACE_SHARE * units.mb_from_bytes(psutil.virtual_memory().available)


def _shares(log: BuildLog) -> dict[str, float] | None:
    if log.layer_info_path is None:
        return None
    with log.layer_info_path.open(encoding="utf-8", errors="replace") as stream:
        return read_layer_info(stream).convolution_pct


def _without_paths(argv: tuple[str, ...]) -> tuple[str, ...]:
    """The flags that decide what the engine is; where files lay does not."""
    return tuple(word for word in argv[1:] if not word.startswith(_PATHS))


_PATHS = ("--onnx=", "--saveEngine=", "--exportLayerInfo=", "--calib=", "--timingCacheFile=")
