"""The JSON beside an engine: what it was made from, by what, for what."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from espdeploy.artifacts import ModelCard, write_atomic
from espdeploy.errors import InputFileError
from espdeploy.protocols import Dim
from espdeploy.specs import ShapeRange

PASSPORT_SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class CalibrationOrigin:
    """The table that an engine's INT8 scales come from. ``random``: made up, so the engine is for timing only."""

    sha256: str
    method: str
    images: int
    random: bool


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One way of building that was tried: the median latency, or why it was refused."""

    runtime: str
    passes: tuple[str, ...]
    median_ms: float | None
    refused: str | None
    rms_error_pct: float | None = None


@dataclass(frozen=True, kw_only=True)
class AccuracyDrop:
    """What mixed precision costs: mIOU points lost on the images of the search, and on those it did not see.

    ``heldout_ci95_pct`` is the 95 % interval of the latter over images.
    """

    search_pct: float
    heldout_pct: float
    heldout_ci95_pct: tuple[float, float] | None
    images_search: int
    images_heldout: int


@dataclass(frozen=True, kw_only=True)
class Passport:
    """Where an engine comes from; ``sha256`` is of the engine's own bytes.

    ``rms_error_pct`` is how far its answers are from those of the graph that it was made of, as the root of the mean
    square error over the root mean square of the answers; None where no second runtime was there to ask.
    ``kept`` names the layers left in a higher precision, with the reason. ``card`` is what the graph says of the
    network, for engines that carry no metadata themselves; ``inputs`` are its inputs, a name for each open extent.

    Of engines for a GPU: ``compute_capability`` is what it was built for (None with TensorRT-RTX: its default set),
    ``gpu_clock_mhz`` the highest clock that the GPU was allowed while the kernels were chosen, ``flags`` what the
    builder was told, ``shapes`` what open extents range over. ``dla_core`` is the accelerator that it was built for,
    ``dla_share_pct`` how much of the network runs there; the rest runs on the GPU.
    """

    schema: int
    sha256: str
    onnx: str
    onnx_sha256: str
    device: str
    runtime: str
    runtime_version: str
    precision: str
    precision_share_pct: dict[str, float] | None
    cpu: str | None
    built: str
    build_s: float
    espdeploy_version: str
    command: str | None = None
    passes: tuple[str, ...] = ()
    rms_error_pct: float | None = None
    time_share_pct: dict[str, float] | None = None
    tried: tuple[Tried, ...] = ()
    kept: dict[str, str] = field(default_factory=dict)
    calibration: CalibrationOrigin | None = None
    drop: AccuracyDrop | None = None
    notes: tuple[str, ...] = ()
    gpu: str | None = None
    compute_capability: str | None = None
    tensorrt_version: str | None = None
    jetpack: str | None = None
    l4t: str | None = None
    gpu_clock_mhz: float | None = None
    flags: tuple[str, ...] = ()
    card: ModelCard | None = None
    inputs: dict[str, tuple[Dim, ...]] = field(default_factory=dict)
    shapes: tuple[ShapeRange, ...] = ()
    dla_core: int | None = None
    dla_share_pct: float | None = None

    @property
    def performance_only(self) -> bool:
        """Whether the engine's answers mean nothing, because its ranges were made up."""
        return self.calibration is not None and self.calibration.random


def passport_path(engine: Path) -> Path:
    """``net.onnx`` has its passport in ``net.onnx.json``."""
    return engine.with_name(engine.name + ".json")


def write_passport(passport: Passport, engine: Path) -> None:
    """Write it whole beside the engine."""
    write_atomic(passport_path(engine), msgspec.json.format(msgspec.json.encode(passport), indent=2) + b"\n")


def read_passport(engine: Path) -> Passport | None:
    """The passport of an engine; None where there is none.

    Raises:
        InputFileError: it is damaged, or of a newer schema.
    """
    path = passport_path(engine)
    if not path.is_file():
        return None
    try:
        passport = msgspec.json.decode(path.read_bytes(), type=Passport)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputFileError(f"{path} is not a readable passport", why=str(error), do=_how_to_mend(path)) from error
    if passport.schema > PASSPORT_SCHEMA:
        raise InputFileError(
            f"{path} was written by a newer espdeploy", do=f"upgrade espdeploy, or {_how_to_mend(path)}"
        )
    return passport


def _how_to_mend(path: Path) -> str:
    return f"build the engine again (espdeploy build F.onnx -o {shlex.quote(str(path.with_suffix('')))})"
