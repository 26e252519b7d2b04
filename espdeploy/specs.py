"""What is asked for: plain, frozen descriptions that every stage reads and none changes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from espdeploy.errors import UsageError

_SIZE = re.compile(r"(\d{1,6})[xX×](\d{1,6})")
_SHAPE = re.compile(r"\d{1,6}(x\d{1,6})*")
_SHAPES_OF_A_RANGE = 3


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


Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ShapeRange:
    """An input with open extents: the smallest shape, the usual one (which kernels are chosen for), and the largest."""

    name: str
    smallest: Shape
    usual: Shape
    largest: Shape

    @classmethod
    def parse(cls, text: str) -> ShapeRange:
        """Read ``input=1x3x512x1024..4x3x512x1024..8x3x512x1024``.

        Of two shapes the larger one is the usual one too: there it takes longest. One alone is all three.

        Raises:
            UsageError: the text is not that, or the shapes do not ascend.
        """
        name, sign, given = text.strip().rpartition("=")  # a name may hold anything, a shape no sign
        parts = given.split("..")
        if not sign or not name or len(parts) > _SHAPES_OF_A_RANGE or not all(map(_SHAPE.fullmatch, parts)):
            raise UsageError(
                f'"{text}" is no range of shapes',
                why="a range is INPUT=SMALLEST..USUAL..LARGEST, or INPUT=SMALLEST..LARGEST",
                do="for example --shapes input=1x3x512x1024..8x3x512x1024",
            )
        shapes = [tuple(int(extent) for extent in part.split("x")) for part in parts]
        found = cls(
            name=name, smallest=shapes[0], usual=shapes[-1] if len(shapes) < 3 else shapes[1], largest=shapes[-1]
        )
        found.check()
        return found

    @property
    def is_fixed(self) -> bool:
        """Whether it holds one shape alone."""
        return self.smallest == self.usual == self.largest

    def check(self) -> None:
        """Refuse shapes that are no range.

        Raises:
            UsageError: they differ in rank, do not ascend, or hold nothing.
        """
        shapes = (self.smallest, self.usual, self.largest)
        same_rank = len({len(shape) for shape in shapes}) == 1
        if not same_rank or any(not 1 <= low <= usual <= high for low, usual, high in zip(*shapes, strict=same_rank)):
            raise UsageError(
                f'the input "{self.name}" cannot range over {", ".join(map(shape_text, shapes))}',
                do="give smallest, usual and largest shapes of one rank, each extent from small to large",
            )

    def __str__(self) -> str:
        return f"{self.name}={'..'.join(shape_text(shape) for shape in (self.smallest, self.usual, self.largest))}"


def shape_text(shape: Shape) -> str:
    """``1x3x512x1024``."""
    return "x".join(str(extent) for extent in shape)


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """How an engine is opened: which runtime, at which precision, on how many threads."""

    runtime: str
    precision: str = "fp32"
    threads: int
    cuda_graph: bool = True


@dataclass(frozen=True, kw_only=True)
class BenchSpec:
    """How a runner is measured: at least ``trials`` timed inferences, and for at least ``duration_min_s``.

    A network of a millisecond would otherwise be done before the first sample of power or load is taken.
    The last three are for engines on a GPU: launched as one CUDA graph or not, the host spinning or sleeping until the
    GPU is done, copies from and to the host timed with it or left out.
    """

    trials: int = 200
    duration_min_s: float = 1.0
    warmup_min_s: float = 1.0
    warmup_max_s: float = 20.0
    sample_period_s: float = 0.1
    idle_s: float = 2.0
    seed: int = 0
    cuda_graph: bool = True
    spin_wait: bool = False
    transfers: bool = False


@dataclass(frozen=True, kw_only=True)
class GpuFacts:
    """What a device's GPU is.

    ``frequencies_mhz`` are the steps that boards were seen to list, ascending; the board's own list wins, and
    ``frequency_paths`` are the devfreq folders to look for it in, in this order. ``tensor_cores`` is 0 where there are
    none and None where it is not known. ``tpcs`` counts texture processing clusters, which power modes switch off.
    """

    name: str
    compute_capability: str
    cuda_cores: int | None = None
    tensor_cores: int | None = None
    tpcs: int | None = None
    memory_mb: float | None = None
    memory_shared: bool = False
    memory_bus_bits: int | None = None
    frequencies_mhz: tuple[float, ...] = ()
    frequency_paths: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PeakFacts:
    """What the hardware can do at most, for a roofline: dense arithmetic at ``gpu_mhz``, and memory traffic.

    A multiply-add counts as two operations. ``fp16_gflops`` and ``int8_tops`` are the tensor cores' where there are
    any. None: not known, or the hardware has no such units.
    """

    gpu_mhz: float | None = None
    fp32_gflops: float | None = None
    fp16_gflops: float | None = None
    int8_tops: float | None = None
    dram_gb_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class EmcFacts:
    """The clock of a board's memory controller: its highest rate, and where it is capped and read."""

    max_mhz: float
    cap_paths: tuple[str, ...] = ()
    rate_paths: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class VersionRange:
    """From ``oldest`` to ``newest``, both included; an end counts with as many parts as it is written with.

    So 8.2.1 lies in a range that ends at 8.2.
    """

    oldest: str
    newest: str

    def __str__(self) -> str:
        if self.oldest.startswith(f"{self.newest}."):
            return f"{self.oldest} and newer"
        return f"{self.oldest} to {self.newest}"


@dataclass(frozen=True, kw_only=True)
class TensorRTFacts(VersionRange):
    """Which TensorRT releases run on a device, and the highest ONNX opset that the newest of them reads.

    ``without`` are releases in between that do not run there.
    """

    opset_max: int
    workspace_mb: int | None = None
    without: tuple[VersionRange, ...] = ()


@dataclass(frozen=True, kw_only=True)
class JetPackFacts(VersionRange):
    """Which releases of JetPack, and of Linux for Tegra in them, a board is supported by here."""

    l4t_oldest: str
    l4t_newest: str


@dataclass(frozen=True, kw_only=True)
class DlaFacts:
    """A board's deep learning accelerators, what they compute in, and the TensorRT releases that build for them."""

    cores: int
    precisions: tuple[str, ...]
    tensorrt: tuple[VersionRange, ...]


@dataclass(frozen=True, kw_only=True)
class PowerMode:
    """A named power mode: the GPU clock that it allows at most, and what else it limits. None: no limit, or unknown."""

    id: int
    name: str
    gpu_max_mhz: float | None = None
    cpu_cores: int | None = None
    gpu_tpcs: int | None = None
    emc_max_mhz: float | None = None


@dataclass(frozen=True, kw_only=True)
class RailFacts:
    """Names of the power rails as the board's tools print them, older and newer spelling.

    ``total`` is the module's whole input. Boards without such a rail have ``total_is_sum``: the total is then the sum
    of ``split``. The GPU's rail feeds ``gpu_also_feeds`` too. ``sensor_paths`` are the folders of the module's INA3221
    sensors, with the driver of JetPack 4 (ina3221x) and of 5 and newer (ina3221).
    """

    total: tuple[str, ...] = ()
    gpu: tuple[str, ...] = ()
    split: tuple[str, ...] = ()
    total_is_sum: bool = False
    gpu_also_feeds: tuple[str, ...] = ()
    sensor_paths: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DeviceProfile:
    """One device as its TOML in ``engines/`` describes it; ``source`` is the file it was read from.

    ``kind`` is ``cpu``, ``desktop`` or ``jetson``; ``runtimes`` come in order of preference. ``opset`` is what is
    exported for it. ``sources`` say where its facts come from.
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
    peak: PeakFacts | None = None
    emc: EmcFacts | None = None
    dla: DlaFacts | None = None
    tensorrt: TensorRTFacts | None = None
    jetpack: JetPackFacts | None = None
    power_modes: tuple[PowerMode, ...] = ()
    rails: RailFacts | None = None
    notes: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
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
