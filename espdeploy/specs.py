"""What is asked for: plain, frozen descriptions that every stage reads and none changes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from espdeploy.errors import UsageError

_SIZE = re.compile(r"(\d{1,6})[xX×](\d{1,6})")


@dataclass(frozen=True, kw_only=True)
class ImageSize:
    """Width and height in pixels, written WIDTHxHEIGHT as cameras and the papers write it."""

    width: int
    height: int

    @classmethod
    def parse(cls, text: str) -> ImageSize:
        """Read ``1024x512``.

        Raises:
            UsageError: the text is not WIDTHxHEIGHT, or one side is zero.
        """
        match = _SIZE.fullmatch(text.strip())
        if match is None or 0 in (int(match[1]), int(match[2])):
            raise UsageError(f'"{text}" is not a size', do="give WIDTHxHEIGHT, for example --size 1024x512")
        return cls(width=int(match[1]), height=int(match[2]))

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A network as the user named it: a zoo name, ``package.module:factory``, or an ``.onnx`` path."""

    name: str
    settings: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    weights: Path | None = None

    @property
    def is_onnx(self) -> bool:
        """Whether the name is a path to an ONNX file."""
        return self.name.endswith(".onnx")

    @property
    def is_factory(self) -> bool:
        """Whether the name is ``package.module:factory``."""
        return not self.is_onnx and ":" in self.name


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """How an engine is opened: which runtime, at which precision, on how many threads."""

    runtime: str
    precision: str = "fp32"
    threads: int


@dataclass(frozen=True, kw_only=True)
class BenchSpec:
    """How a runner is measured: at least ``trials`` timed inferences, and for at least ``duration_min_s``.

    A network of a millisecond would otherwise be done before the first sample of power or load is taken.
    """

    trials: int = 200
    duration_min_s: float = 1.0
    warmup_min_s: float = 1.0
    warmup_max_s: float = 20.0
    sample_period_s: float = 0.1
    idle_s: float = 1.0
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class GpuFacts:
    """What a device's GPU is. ``frequencies_mhz`` are the steps most releases list; the board's own list wins."""

    name: str
    compute_capability: str
    cuda_cores: int | None = None
    memory_mb: int | None = None
    memory_shared: bool = False
    frequencies_mhz: tuple[float, ...] = ()
    frequency_paths: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TensorRTFacts:
    """Which TensorRT releases exist for a device, and the highest ONNX opset that they read."""

    oldest: str
    newest: str
    opset_max: int
    workspace_mb: int | None = None


@dataclass(frozen=True, kw_only=True)
class PowerMode:
    """A named power mode and the GPU clock that it allows at most."""

    id: int
    name: str
    gpu_max_mhz: float | None = None
    cpu_cores: int | None = None


@dataclass(frozen=True, kw_only=True)
class RailFacts:
    """Names of the power rails as the board's tools print them, older and newer spelling."""

    total: tuple[str, ...] = ()
    gpu: tuple[str, ...] = ()
    split: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DeviceProfile:
    """One device as its TOML in ``engines/`` describes it; ``source`` is the file it was read from.

    ``kind`` is ``cpu``, ``desktop`` or ``jetson``; ``runtimes`` come in order of preference.
    """

    name: str
    description: str
    kind: str
    runtimes: tuple[str, ...]
    precisions: tuple[str, ...]
    opset: int
    refused_precisions: dict[str, str] = field(default_factory=dict)  # precision -> why
    aliases: tuple[str, ...] = ()
    gpu: GpuFacts | None = None
    dla_cores: int = 0
    tensorrt: TensorRTFacts | None = None
    power_modes: tuple[PowerMode, ...] = ()
    rails: RailFacts | None = None
    jetpack: str | None = None
    notes: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class PreprocessingFacts:
    """A recipe's pre-processing, with the meaning that :class:`espdeploy.artifacts.Preprocessing` gives it."""

    channel_order: str
    divisor: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    post_divisor: float = 1.0


@dataclass(frozen=True, kw_only=True)
class CalibrationRecipe:
    """Which images INT8 is calibrated on, as a TOML in ``calibration/`` describes it; ``source`` is that file.

    ``folder`` is where the images lie below the data set's root, with ``{split}`` for the name of the part;
    ``other_splits`` are parts that must never be used in its place. A root with all folders of ``recognised_by`` is of
    this layout. ``count`` images are taken (None: all): drawn with ``seed``, or evenly spread where there is none.
    ``method`` None leaves the algorithm to espdeploy. ``preprocessing`` is for networks that carry none, and ``data``
    the root where none is given, relative to the recipe.
    """

    name: str
    description: str
    folder: str
    split: str = "train"
    other_splits: tuple[str, ...] = ("val", "test")
    recognised_by: tuple[str, ...] = ()
    count: int | None = None
    seed: int | None = None
    method: str | None = None
    preprocessing: PreprocessingFacts | None = None
    data: str | None = None
    source: str = ""
