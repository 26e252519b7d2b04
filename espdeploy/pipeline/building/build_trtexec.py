"""Engines built by trtexec: the way in on JetPack 4.6, and wherever TensorRT is without its Python packages."""

from __future__ import annotations

from pathlib import Path

import psutil

from espdeploy import lazy, units
from espdeploy.backends.trtexec.build import BuildLog, build
from espdeploy.backends.trtexec.find import find
from espdeploy.backends.trtexec.plan import BuildPlan
from espdeploy.backends.trtexec.tool import Tool, dotted
from espdeploy.pipeline import capability
from espdeploy.pipeline.building.build_tensorrt import (
    Graph,
    TensorRTMade,
    TensorRTRequest,
    expected_pct,
    lowered_graph,
)
from espdeploy.pipeline.building.builders import TRTEXEC
from espdeploy.pipeline.building.candidates import check_shares
from espdeploy.pipeline.engine_files.opening import check_is_here
from espdeploy.profilers.trtexec.layer_info import read_layer_info
from espdeploy.protocols import Progress, RunnerFacts
from espdeploy.quantize.tensorrt_cache import constant_ranges, version_code, write_cache

_WORKSPACE_SHARE = 0.5  # of the free memory: the network's own buffers, and on a Jetson everyone else, need the rest
#: with flags TensorRT may take a faster kernel of higher precision for any layer; some must have what was asked for
_LEAST_BY_FLAGS_PCT = 1.0


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
    tool = find(TRTEXEC)
    capability.check(request.profile, precision=request.precision, tensorrt=tool.version)
    graph = _graph(request, tool, progress)
    info = request.folder / "layers.json"
    plan = BuildPlan(
        onnx=graph.path,
        engine=request.folder / "built.engine",
        precision=request.precision,
        workspace_mb=_workspace_mb(request),
        typed_graph=graph.typed,
        calibration_cache=None if graph.typed else _cache(request, tool),
        layer_info=info,
    )
    log = build(tool, plan, progress)
    shares = _shares(log)
    facts = RunnerFacts(
        runtime=TRTEXEC,
        runtime_version=dotted(tool.version),
        provider=TRTEXEC,
        threads=None,
        precision_share_pct=shares,
    )
    check_shares(facts, request.precision, expected_pct(request, graph) if graph.typed else _LEAST_BY_FLAGS_PCT)
    return TensorRTMade(
        path=plan.engine,
        runtime=TRTEXEC,
        runtime_version=dotted(tool.version),
        precision_share_pct=shares,
        kept=graph.kept,
        flags=_without_paths(log.argv),
        drop=graph.drop,
        notes=(*graph.notes, *log.warnings, *(() if shares else (_NOT_TOLD,))),
    )


_NOT_TOLD = "the precision of the layers is not known: this trtexec exports no details of them"


def _graph(request: TensorRTRequest, tool: Tool, progress: Progress) -> Graph:
    if request.precision == "fp32" or (not tool.typed and request.precision != "mixed"):
        return Graph(path=request.onnx, typed=False)
    return lowered_graph(request, progress, half_rest=tool.typed)


def _cache(request: TensorRTRequest, tool: Tool) -> Path | None:
    """The calibration table as this release's calibrator reads it."""
    if request.precision != "int8" or request.table is None:
        return None
    code = version_code(dotted(tool.version))
    constants = constant_ranges(request.onnx, version_code=code) if lazy.available("onnx") else {}
    path = request.folder / "calibration.cache"
    write_cache({**request.table.ranges, **constants}, path, version_code=code)
    return path


def _workspace_mb(request: TensorRTRequest) -> float:
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
    return tuple(word for word in argv[1:] if not word.startswith(("--onnx=", "--saveEngine=", "--exportLayerInfo=")))
