"""What the tool is asked for: to build an engine, to time one, to profile one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from espdeploy.specs import Shape, ShapeRange


@dataclass(frozen=True, kw_only=True)
class InputShape:
    """The shape that an input of a dynamic engine has in this run."""

    name: str
    shape: Shape


@dataclass(frozen=True, kw_only=True)
class BuildPlan:
    """An engine to build.

    ``workspace_mb`` is in 10^6 bytes and never left to the tool: TensorRT 8.2 takes 16 MiB unless told. ``precision``
    is ``fp32``, ``fp16``, ``int8`` or ``mixed``; with ``typed_graph`` it stands in the graph (half-precision tensors,
    Q/DQ pairs), else the tool's flags ask for it, and then ``int8`` needs a ``calibration_cache``, and ``rest`` is what
    layers without INT8 kernels are computed in. ``tf32`` lets FP32 layers use TensorFloat-32 where the GPU has it.
    ``layer_info`` is where the layers, with their precisions, are written.
    """

    onnx: Path
    engine: Path
    precision: str
    workspace_mb: float
    typed_graph: bool = False
    calibration_cache: Path | None = None
    rest: str = "fp16"
    tf32: bool = False
    opset: int | None = None
    inputs: tuple[ShapeRange, ...] = ()
    dla_core: int | None = None
    timing_cache: Path | None = None
    compute_capability: str | None = None
    layer_info: Path | None = None
    optimization_level: int | None = None


@dataclass(frozen=True, kw_only=True)
class TimePlan:
    """A timing run: at least so many iterations and seconds, after a warm-up; one stream. The rows go to a JSON."""

    engine: Path
    times_json: Path
    warmup_ms: int = 500
    duration_s: int = 3
    iterations: int = 200
    cuda_graph: bool
    spin_wait: bool
    transfers: bool
    inputs: tuple[InputShape, ...] = ()
    dla_core: int | None = None


@dataclass(frozen=True, kw_only=True)
class ProfilePlan:
    """A run that times each layer, apart from any timing of the whole; layers and their times go to JSONs."""

    engine: Path
    profile_json: Path
    layer_info: Path | None = None
    warmup_ms: int = 500
    duration_s: int = 3
    iterations: int = 100
    inputs: tuple[InputShape, ...] = ()
    dla_core: int | None = None


Plan = BuildPlan | TimePlan | ProfilePlan
