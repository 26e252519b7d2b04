"""Images kept ready with the FP32 network's answers, and what a lower precision changes in them."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from espdeploy import export, units
from espdeploy.accuracy.confusion import class_tallies, confusion_matrix, scores
from espdeploy.accuracy.datasets import ImageFolder, Pair, spread
from espdeploy.accuracy.images import resize_nearest
from espdeploy.accuracy.intervals import miou_drop_ci95_pct
from espdeploy.accuracy.prediction import check_runner, label_map
from espdeploy.artifacts import ClassSet
from espdeploy.backends.registry import open_runner
from espdeploy.backends.source import FileSource
from espdeploy.errors import UsageError
from espdeploy.protocols import Progress, Runner, Sample
from espdeploy.quantize.sensitivity import Effect, RelativeError
from espdeploy.specs import ImageSize, RunSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto

    from espdeploy.protocols import Tensor

#: memory that prepared images and the answers to them may take; they are used again and again
MOST_KEPT_MB = 1000.0


@contextlib.contextmanager
def opened(model: ModelProto, spec: RunSpec) -> Iterator[Runner]:
    """A graph in a runtime, as long as the block lasts; its file lies in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="espdeploy-") as folder:
        path = Path(folder) / "network.onnx"
        export.save(model, path, None)
        with open_runner(FileSource(path=path), spec) as runner:
            yield runner


@dataclass(frozen=True, kw_only=True)
class Kept:
    """One image: its prepared input, what FP32 makes of it, and its label at the output's size."""

    name: str
    feed: dict[str, Tensor]
    output: Tensor
    found: NDArray[np.integer]
    truth: NDArray[np.int64] | None

    @property
    def size_mb(self) -> float:
        """What it takes in memory."""
        arrays = (*self.feed.values(), self.output, self.found, self.truth)
        return units.mb_from_bytes(sum(item.nbytes for item in arrays if item is not None))


@dataclass(frozen=True, kw_only=True)
class JudgedBy:
    """Images that a network is judged by, as the network takes them, with the classes of their labels.

    ``classes`` None: there are no labels, or none that could be scored.
    """

    pairs: tuple[Pair, ...]
    classes: ClassSet | None
    folder: Callable[[Sequence[Pair]], ImageFolder]


class Judge:
    """Judges graphs by images in memory, against what FP32 makes of them; by mIOU where classes are known."""

    def __init__(self, kept: Sequence[Kept], classes: ClassSet | None) -> None:
        self._kept = tuple(kept)
        self._classes = classes
        self._scored = _Tally(classes)
        for item in self._kept:
            self._scored.add(item, item.found)

    @property
    def images(self) -> int:
        """How many there are."""
        return len(self._kept)

    @property
    def feed(self) -> dict[str, Tensor]:
        """The first image, as the network takes it."""
        return self._kept[0].feed

    def part(self, count: int) -> Judge:
        """A judge by at most so many of the images, evenly spread."""
        few = min(count, self.images)
        return Judge([self._kept[index * self.images // few] for index in range(few)], self._classes)

    def effect(self, runner: Runner) -> Effect:
        """What another engine of the same network answers differently, and what that costs."""
        error, scored = RelativeError(), _Tally(self._classes)
        same, pixels = 0, 0
        for kept in self._kept:
            (output,) = runner.infer(kept.feed).values()
            error.add(kept.output, output)
            finite = output if np.isfinite(output).all() else np.nan_to_num(output)
            found = _answer(finite, kept.truth, kept.name)
            same += int(np.count_nonzero(found == kept.found))
            pixels += found.size
            scored.add(kept, found)
        return Effect(
            agreement_pct=100.0 * same / pixels,
            error=None if np.issubdtype(self._kept[0].output.dtype, np.integer) else error.value,
            drop_pct=self._scored.miou_less(scored),
            drop_ci95_pct=miou_drop_ci95_pct(self._scored.per_image, scored.per_image),
        )


class _Tally:
    """One network's scores over the images that have a label."""

    def __init__(self, classes: ClassSet | None) -> None:
        self._classes = classes
        self._counts = np.zeros((len(classes.names),) * 2 if classes else (0, 0), dtype=np.int64)
        self.per_image: list[NDArray[np.int64]] = []

    def add(self, kept: Kept, found: NDArray[np.integer]) -> None:
        if kept.truth is not None and self._classes is not None:
            counts = confusion_matrix(kept.truth, found, self._classes, name=kept.name)
            self._counts += counts
            self.per_image.append(class_tallies(counts, self._classes))

    def miou_less(self, other: _Tally) -> float | None:
        """Mean IOU less the other's, in points; None without labels."""
        if self._classes is None:
            return None
        own, others = (scores(item._counts, self._classes).miou_pct for item in (self, other))  # noqa: SLF001 - its own
        return None if own is None or others is None else own - others


def keep(reference: Runner, images: JudgedBy, *, limit: int | None, usual: int, progress: Progress) -> Judge:
    """Prepare ``limit`` images, else as many as usual and as fit, evenly spread over their names, for a judge.

    ``reference`` is the network in FP32, open. Labels larger than its output are brought to the output's size once, by
    their nearest pixels: comparing at a camera's full size takes many times as long.

    Raises:
        UsageError: more were asked for than may stand in memory together, or an engine that does not fit.
        InputFileError: an image or label cannot be used.
        ToolFailed: an output in FP32 is not finite.
    """
    check_runner(reference)
    one_mb = max(_kept(reference, sample, images.classes).size_mb for sample in images.folder(images.pairs[:1]))
    fit = max(int(MOST_KEPT_MB / one_mb), 1)
    wanted = spread(images.pairs, min(usual, fit) if limit is None else limit)
    if len(wanted) > fit:
        raise UsageError(
            f"{len(wanted)} images of this network take {len(wanted) * one_mb:.0f} MB, {MOST_KEPT_MB:.0f} are allowed",
            why="they are kept ready with their answers, as each is used once for every layer",
            do=f"--limit {fit}",
        )
    kept = []
    for done, sample in enumerate(images.folder(wanted)):
        progress(done, len(wanted), "images prepared")
        kept.append(_kept(reference, sample, images.classes))
    return Judge(kept, images.classes)


def _kept(reference: Runner, sample: Sample, classes: ClassSet | None) -> Kept:
    feed = {reference.inputs[0].name: sample.image}
    (output,) = reference.infer(feed).values()
    truth = None
    if classes is not None and sample.label is not None:
        truth = _at_most(sample.label.astype(np.int64), output)
    return Kept(name=sample.name, feed=feed, output=output, found=_answer(output, truth, sample.name), truth=truth)


def _at_most(truth: NDArray[np.int64], output: Tensor) -> NDArray[np.int64]:
    """A label no larger than the output."""
    height, width = output.shape[-2:]
    if truth.shape[0] <= height and truth.shape[1] <= width:
        return truth
    return resize_nearest(truth, ImageSize(width=width, height=height)).astype(np.int64)


def _answer(output: Tensor, truth: NDArray[np.int64] | None, name: str) -> NDArray[np.integer]:
    """The classes that an output names: one for each pixel, or of a classifier's scores (1, C) one."""
    if truth is None and output.ndim == 2 and output.shape[1] > 1:
        best: NDArray[np.integer] = output.argmax(axis=1)
        return best
    height, width = output.shape[-2:] if truth is None else truth.shape
    return label_map(output, ImageSize(width=width, height=height), name=name)
