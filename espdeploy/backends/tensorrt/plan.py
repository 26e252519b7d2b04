"""What the builder is asked for, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from espdeploy.artifacts import ModelCard
from espdeploy.backends.source import FileSource
from espdeploy.specs import ShapeRange


@dataclass(frozen=True, kw_only=True)
class EngineSource(FileSource):
    """An engine with what its passport knows of it, since an engine itself carries no metadata.

    ``kernels`` is where TensorRT-RTX keeps the kernels that it compiles on this machine; None: nowhere.
    """

    card: ModelCard | None = None
    kernels: Path | None = None


@dataclass(frozen=True, kw_only=True)
class TensorRTPlan:
    """An engine to build.

    ``precision`` is ``fp32``, ``fp16``, ``int8`` or ``mixed``. With ``typed_graph`` it stands in the graph (half
    tensors, Q/DQ pairs), else builder flags ask for it, which only TensorRT 10 has: ``int8`` then needs a
    ``calibration_cache``, and layers without INT8 kernels are computed in ``rest``. ``tf32`` lets FP32 layers use
    TensorFloat-32. ``workspace_mb`` is in 10^6 bytes; None takes a share of the device's free memory.
    ``inputs`` are the ranges of inputs with open extents. A ``timing_cache`` that is of another release or GPU is an
    error, or with ``timing_cache_may_differ`` begun anew. ``compute_capability`` (as ``8.9``) is for TensorRT-RTX,
    which builds for GPUs that are not there; None builds for every GPU from 8.0 on.
    """

    onnx: Path
    engine: Path
    precision: str
    typed_graph: bool = False
    calibration_cache: Path | None = None
    rest: str = "fp16"
    tf32: bool = False
    workspace_mb: float | None = None
    optimization_level: int | None = None
    inputs: tuple[ShapeRange, ...] = ()
    dla_core: int | None = None
    timing_cache: Path | None = None
    timing_cache_may_differ: bool = False
    compute_capability: str | None = None


@dataclass(frozen=True, kw_only=True)
class LayerInfo:
    """A layer, what it computes in, and the ONNX nodes that it comes from. Precision None: it does not tell."""

    name: str
    type: str
    precision: str | None
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BuildReport:
    """An engine that was built.

    ``load_s``, ``parse_s`` and ``build_s`` are NVIDIA's part: loading the library and making a builder, reading the
    graph, building. ``own_s`` is the rest. ``layers_from`` says who gave the precision of ``layers``: the
    ``typed network`` before the build, or the ``engine``. ``dla_share_pct`` is the share of the network's layers that
    the DLA takes; None where none was asked for.
    """

    runtime: str
    runtime_version: str
    size_mb: float
    load_s: float
    parse_s: float
    build_s: float
    own_s: float
    workspace_mb: float
    layers: tuple[LayerInfo, ...]
    layers_from: str
    dla_share_pct: float | None
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
