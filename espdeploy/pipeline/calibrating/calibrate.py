"""``espdeploy calibrate``: the ranges of a network's activations over images, as a table and as TensorRT's cache."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from espdeploy import __version__, units
from espdeploy.artifacts import ModelCard, Preprocessing, check_replaceable, sha256_of, utc_now
from espdeploy.errors import InputFileError, UsageError, nearest
from espdeploy.export.files import inspect, load
from espdeploy.pipeline.calibrating.calibration_images import Chosen, ImageFeeds, choose_images, random_feeds
from espdeploy.pipeline.engine_files.opening import available_threads
from espdeploy.pipeline.measuring.feeds import one_image
from espdeploy.protocols import Progress, TensorInfo
from espdeploy.quantize.algorithms import METHODS, amax
from espdeploy.quantize.observe import Observation, observe
from espdeploy.quantize.table import TABLE_SCHEMA, CalibrationTable, TensorRange, graph_sha256, write_table
from espdeploy.quantize.tensorrt_cache import constant_ranges, operand_ranges, version_code, write_cache
from espdeploy.recipes import calibration_recipe
from espdeploy.specs import CalibrationRecipe

if TYPE_CHECKING:
    from espdeploy.protocols import Tensor

#: how ranges are chosen where neither the command nor the recipe says: it costs ESPNet 0.11 points of mIOU on CamVid
#: with INT8 convolutions, minmax and percentile 0.3, entropy 1.9 (benchmarks/results/int8_accuracy.json)
DEFAULT_METHOD = "mse"
#: the release that caches are written for if not told: JetPack 4.6's, the oldest on boards with INT8
DEFAULT_TENSORRT = "8.2.1"

_QUANTIZED_OPERATORS = ("Conv", "ConvTranspose")
_ALREADY_QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger")
_RANDOM_IMAGES = 8
_NO_PEAK = "peak_rss_mb is null: this system does not tell it in /proc/self/status"
_BYTES_PER_KB = 1024


@dataclass(frozen=True, kw_only=True)
class CalibrateRequest:
    """Which network is calibrated, on what, how, and where the results go."""

    onnx: Path
    data: Path | None
    recipe: str | None = None
    method: str | None = None
    limit: int | None = None
    seed: int | None = None
    skip_bad: bool = False
    allow_random: bool = False
    output: Path | None = None
    trt_cache: Path | None = None
    trt_version: str | None = None
    threads: int | None = None


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """A table that was written, and how it came about. ``peak_rss_mb`` is of the whole process, None where unknown."""

    output: Path
    table: CalibrationTable
    trt_cache: Path | None
    peak_rss_mb: float | None
    images_per_s: float
    chosen: Chosen | None  # None where the inputs were made up
    preprocessing_from: str
    notes: tuple[str, ...]

    def document(self) -> dict[str, object]:
        """As ``calibrate --json`` prints it."""
        return {
            "output": str(self.output),
            "method": self.table.method,
            "images": self.table.images,
            "tensors": len(self.table.ranges),
            "peak_rss_mb": self.peak_rss_mb,
            "images_per_s": self.images_per_s,
            "folder": None if self.chosen is None else str(self.chosen.folder),
            "images_available": None if self.chosen is None else self.chosen.available,
            "recipe": self.table.recipe,
            "seed": self.table.seed,
            "preprocessing_from": self.preprocessing_from,
            "random": self.table.random,
            "skipped": list(self.table.skipped),
            "constant": list(self.table.constant),
            "onnx_sha256": self.table.onnx_sha256,
            "graph_sha256": self.table.graph_sha256,
            "data_sha256": self.table.data_sha256,
            "trt_cache": None if self.trt_cache is None else str(self.trt_cache),
            "notes": list(self.notes),
        }


@dataclass(frozen=True, kw_only=True)
class _Input:
    """What goes into the network, how many times, and what is known of it."""

    feeds: Iterable[tuple[str, dict[str, Tensor]]]
    count: int
    chosen: Chosen | None
    preprocessing: Preprocessing | None
    preprocessing_from: str
    seed: int | None


def calibrate(request: CalibrateRequest, progress: Progress) -> Calibrated:
    """Run the network over the images once and write the range of each activation.

    Raises:
        InputFileError: an unusable network, recipe or image; no images; NaN or infinity in an activation.
        UsageError: an unknown method or release of TensorRT, nothing to calibrate on, or places that are no files.
        MissingCapability: a package is not installed, or a place cannot be written.
    """
    recipe = calibration_recipe(request.recipe) if request.recipe else None
    output, code = _checked_places(request), _checked_version(request)
    _checked_method(request.method, "--method")
    progress(0, None, "reading the network")
    info, card = _network(request.onnx)
    given = _input(request, recipe, info, card)
    method = _method(request, given)
    progress(0, given.count, "calibrating")
    observation, elapsed_s = _observed(request, given, progress)
    progress(0, None, "choosing the ranges")
    table = _table(request, given, observation, method)
    if request.trt_cache is not None and code is not None:  # first: a name that no cache can hold leaves nothing
        operands = constant_ranges(request.onnx, version_code=code)
        write_cache(table.ranges | operands, request.trt_cache, version_code=code)
    write_table(table, output)
    peak_mb = peak_rss_mb()
    notes = [*_notes(request, given, table), *([_NO_PEAK] if peak_mb is None else [])]
    return Calibrated(
        output=output,
        table=table,
        trt_cache=request.trt_cache,
        peak_rss_mb=peak_mb,
        images_per_s=table.images / elapsed_s,
        chosen=given.chosen,
        preprocessing_from=given.preprocessing_from,
        notes=tuple(notes),
    )


def peak_rss_mb(root: Path = Path("/")) -> float | None:
    """The most memory that this process ever had resident, in MB; None where the system does not say.

    From /proc/self/status (VmHWM): what getrusage tells begins with the memory of the program that started this one.
    """
    try:
        lines = (root / "proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None
    return units.mb_from_bytes(kilobytes * _BYTES_PER_KB)


def _checked_places(request: CalibrateRequest) -> Path:
    """Where the table goes, after every place was found fit to be written: calibration is slow."""
    output = request.output or request.onnx.with_name(f"{request.onnx.stem}.calibration.json")
    taken = {request.onnx.resolve(): "the network"}
    for place, what in ((output, "the table"), (request.trt_cache, "the TensorRT cache")):
        if place is None:
            continue
        check_replaceable(place)
        if place.resolve() in taken:
            raise UsageError(
                f"{what} and {taken[place.resolve()]} would be one file, {place}", do="give it another name"
            )
        taken[place.resolve()] = what
    return output


def _checked_version(request: CalibrateRequest) -> int | None:
    if request.trt_cache is None:
        if request.trt_version is not None:
            raise UsageError("--trt-version is given without a cache to write", do="add --trt-cache FILE")
        return None
    return version_code(request.trt_version or DEFAULT_TENSORRT)


def _checked_method(method: str | None, where: str) -> None:
    if method is not None and method not in METHODS:
        raise UsageError(f'unknown calibration method "{method}" ({where})', why=nearest(method, METHODS))


def _method(request: CalibrateRequest, given: _Input) -> str:
    recipe = given.chosen.recipe if given.chosen else None
    if request.method is None and recipe is not None:
        _checked_method(recipe.method, recipe.source)
    return request.method or (recipe.method if recipe else None) or DEFAULT_METHOD


def _network(path: Path) -> tuple[TensorInfo, ModelCard | None]:
    """The one input of a network that has something to quantize, and what it says about itself.

    Raises:
        InputFileError: it has no convolution, or is quantized already.
        UsageError: it does not take one image of three channels.
    """
    model = load(path)
    operators = {node.op_type for node in model.graph.node}
    if operators & set(_ALREADY_QUANTIZED):
        raise InputFileError(
            f"{path} is quantized already",
            why=f"it holds {', '.join(sorted(operators & set(_ALREADY_QUANTIZED)))}",
            do="calibrate the FP32 network that it was made from",
        )
    if not operators & set(_QUANTIZED_OPERATORS):
        raise InputFileError(
            f"{path} has nothing to quantize",
            why="it has no convolution, and INT8 pays in convolutions alone",
            do="run it in FP32, or check that it is the network that you mean",
        )
    facts = inspect(model)
    info = one_image(facts.inputs, of=str(path))
    if info.shape[1] != 3 and isinstance(info.shape[1], int):
        raise UsageError(
            f"{path} takes images of {info.shape[1]} channels",
            why="images have three",
            do="give a network for colour images",
        )
    return info, facts.card


def _input(
    request: CalibrateRequest, recipe: CalibrationRecipe | None, info: TensorInfo, card: ModelCard | None
) -> _Input:
    preprocessing, source = _preprocessing(recipe, card)
    if request.allow_random and request.data is None and (recipe is None or recipe.data is None):
        count, seed = request.limit or _RANDOM_IMAGES, request.seed or 0
        return _Input(
            feeds=random_feeds(info, preprocessing, count=count, seed=seed),
            count=count,
            chosen=None,
            preprocessing=preprocessing,
            preprocessing_from=source,
            seed=seed,
        )
    chosen = choose_images(request.data, recipe, limit=request.limit, seed=request.seed)
    if preprocessing is None:
        raise UsageError(
            f"{request.onnx} does not say which pre-processing it wants",
            why="it was not written by espdeploy export, or from a network that states none",
            do="--recipe FILE.toml with a table [preprocessing], written as in calibration/camvid.toml",
        )
    return _Input(
        feeds=ImageFeeds(chosen.pairs, info=info, preprocessing=preprocessing, skip_bad=request.skip_bad),
        count=len(chosen.pairs),
        chosen=chosen,
        preprocessing=preprocessing,
        preprocessing_from=source,
        seed=chosen.seed,
    )


def _preprocessing(recipe: CalibrationRecipe | None, card: ModelCard | None) -> tuple[Preprocessing | None, str]:
    """The network's own, else that of a recipe that was named: a recognised one says nothing of the network."""
    if card is not None and card.preprocessing is not None:
        return card.preprocessing, "the network"
    if recipe is not None and recipe.preprocessing is not None:
        return Preprocessing(**dataclasses.asdict(recipe.preprocessing)), f"the recipe {recipe.name}"
    return None, "nowhere: pixels / 255"


def _observed(request: CalibrateRequest, given: _Input, progress: Progress) -> tuple[Observation, float]:
    """One pass, and what it took in seconds."""
    started = time.perf_counter()
    observation = observe(
        request.onnx,
        given.feeds,
        tensors=None,
        threads=request.threads or available_threads(),
        total=given.count,
        progress=_WithRate(progress),
    )
    return observation, time.perf_counter() - started


class _WithRate:
    """Progress that tells images per second too."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._started = time.perf_counter()

    def __call__(self, done: int, total: int | None, text: str) -> None:
        del text
        elapsed_s = time.perf_counter() - self._started
        self._progress(done, total, f"calibrating, {done / elapsed_s:.1f} images/s")


def _table(request: CalibrateRequest, given: _Input, observation: Observation, method: str) -> CalibrationTable:
    feeds = given.feeds
    images = feeds if isinstance(feeds, ImageFeeds) else None
    return CalibrationTable(
        schema=TABLE_SCHEMA,
        method=method,
        images=observation.images,
        onnx_sha256=sha256_of(request.onnx),
        graph_sha256=graph_sha256(request.onnx),
        data_sha256=images.data_sha256 if images else None,
        recipe=_recipe_name(request, given),
        preprocessing=given.preprocessing,
        random=images is None,
        espdeploy_version=__version__,
        created=utc_now(),
        ranges={
            name: TensorRange(amax=abs(amax(sketch, method)), lowest=sketch.lowest, highest=sketch.highest)
            for name, sketch in observation.sketches.items()
            if sketch.count
        },
        skipped=tuple(_below(path, given.chosen) for path in images.skipped) if images else (),
        constant=observation.constant,
        seed=given.seed,
        operands=operand_ranges(request.onnx),
    )


def _recipe_name(request: CalibrateRequest, given: _Input) -> str | None:
    if given.chosen is None:
        return None
    return _text(request.recipe or given.chosen.recipe.name)


def _notes(request: CalibrateRequest, given: _Input, table: CalibrationTable) -> Iterator[str]:
    if given.chosen is None:
        yield "made-up inputs (--allow-random-calibration): an engine from this table is for timing only"
    else:
        yield from given.chosen.notes
    if isinstance(given.feeds, ImageFeeds):
        yield from (f"skipped {path}: {why}" for path, why in given.feeds.skipped.items())
    if table.constant:
        yield f"{len(table.constant)} tensors had one value everywhere: {', '.join(table.constant[:5])}"
    if request.trt_cache is not None and request.trt_version is None:
        yield f"the cache is for TensorRT {DEFAULT_TENSORRT}; --trt-version names another"


def _below(path: Path, chosen: Chosen | None) -> str:
    """The path as seen from the folder of images."""
    inside = chosen is not None and path.is_relative_to(chosen.folder) and path != chosen.folder
    return _text(str(path.relative_to(chosen.folder) if chosen is not None and inside else path.name))


def _text(name: str) -> str:
    """A file's name as text that JSON can hold."""
    return name.encode("utf-8", "backslashreplace").decode()
