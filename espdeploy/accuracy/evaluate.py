"""Run a network over labelled images and score it; or compare it with a reference network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from espdeploy.accuracy.confusion import Scores, class_tallies, confusion_matrix, scores
from espdeploy.accuracy.datasets import ImageFolder, Skipped, skipped_note
from espdeploy.accuracy.intervals import miou_ci95_pct, miou_drop_ci95_pct
from espdeploy.accuracy.prediction import check_runner, predict
from espdeploy.artifacts import ClassSet
from espdeploy.errors import UsageError
from espdeploy.protocols import Batches, Progress, Runner, Sample, no_progress
from espdeploy.specs import ImageSize

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far a network agrees with its reference on the same images.

    ``agreement_pct`` counts every pixel, void ones too. ``miou_drop_pct`` is the reference's mean IOU less the
    network's, in percentage points; None without labels. ``miou_drop_ci95_pct`` is its 95 % interval over images,
    both networks scored on the same ones.
    """

    agreement_pct: float
    miou_drop_pct: float | None
    miou_drop_ci95_pct: tuple[float, float] | None
    miou_pct: float | None


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A network's accuracy over a set of images. Scores are None without labels; ``notes`` says what was left out.

    ``confusion`` holds pixel counts, a row per true class and a column per predicted one, in the order of ``classes``.
    """

    images: int
    miou_pct: float | None
    ci95: tuple[float, float] | None
    class_iou_pct: dict[str, float | None]
    category_iou_pct: dict[str, float | None]
    category_miou_pct: float | None
    pixel_accuracy_pct: float | None
    classes: list[str]
    confusion: list[list[int]] | None
    reference: Agreement | None
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class _Tally:
    """One network's counts over the images seen so far."""

    def __init__(self, classes: ClassSet) -> None:
        self.classes = classes
        self.counts = np.zeros((len(classes.names),) * 2, dtype=np.int64)
        self.per_image: list[NDArray[np.int64]] = []

    def add(self, truth: NDArray[np.integer], prediction: NDArray[np.integer], name: str) -> None:
        counts = confusion_matrix(truth, prediction, self.classes, name=name)
        self.counts += counts
        self.per_image.append(class_tallies(counts, self.classes))

    def scores(self) -> Scores:
        return scores(self.counts, self.classes)


class _Seen:
    """What the images seen so far gave: the network's tally and its reference's, and where the two agree."""

    def __init__(self, tallies: list[_Tally]) -> None:
        self.tallies = tallies
        self.images = 0
        self._same = 0
        self._pixels = 0

    def add(self, sample: Sample, maps: Sequence[NDArray[np.integer]], batches: Batches) -> None:
        if sample.label is not None:
            truth = sample.label.astype(np.int64)
            for tally, found in zip(self.tallies, maps, strict=True):
                tally.add(truth, found, _named(sample, batches))
        self._same += int(np.count_nonzero(maps[0] == maps[-1]))
        self._pixels += maps[0].size
        self.images += 1

    @property
    def agreement_pct(self) -> float:
        return 100.0 * self._same / self._pixels


def evaluate(
    runner: Runner,
    batches: Batches,
    classes: ClassSet,
    *,
    progress: Progress = no_progress,
    reference: Runner | None = None,
) -> Evaluation:
    """Score ``runner``, which is open, over ``batches``, one image at a time.

    Label maps are compared at the label's own size (:func:`espdeploy.accuracy.prediction.label_map`), without labels
    at the network's input size. Without labels only the agreement with ``reference`` is found.

    Raises:
        UsageError: no images; neither labels nor a reference; an engine or output that does not fit.
        InputFileError: a file that cannot be used, or a label value outside the classes.
        ToolFailed: an output that is not finite.
    """
    runners = [runner] if reference is None else [runner, reference]
    for item in runners:
        check_runner(item)
    seen = _Seen([_Tally(classes) for _ in runners])
    labelled: bool | None = None
    for sample in batches:
        labelled = _labelled(sample, labelled, has_reference=reference is not None)
        size = _target_size(sample)
        seen.add(sample, [predict(item, sample.image, size, name=sample.name) for item in runners], batches)
        progress(seen.images + len(_skipped(batches)), len(batches), "images evaluated")
    if not seen.images:
        raise UsageError("there are no images to evaluate", do="give --data a folder of images")
    return _evaluation(seen, skipped=_skipped(batches))


def _named(sample: Sample, batches: Batches) -> str:
    """The sample's name, with its label's file where that is known."""
    path = batches.label_of(sample.name) if isinstance(batches, ImageFolder) else None
    return sample.name if path is None else f"{sample.name} ({path})"


def _skipped(batches: Batches) -> list[Skipped]:
    return batches.skipped if isinstance(batches, ImageFolder) else []


def _labelled(sample: Sample, before: bool | None, *, has_reference: bool) -> bool:
    """Whether the samples have labels, all of them or none."""
    labelled = sample.label is not None
    if before is not None and labelled != before:
        raise UsageError(
            f"{sample.name} has {'a' if labelled else 'no'} label, unlike the images before it",
            do="give labels for all images or for none",
        )
    if not labelled and not has_reference:
        raise UsageError(
            "without labels there is nothing to compare with",
            do="give --labels DIR, or --reference F.onnx for the agreement with that network",
        )
    return labelled


def _target_size(sample: Sample) -> ImageSize:
    height, width = sample.image.shape[-2:] if sample.label is None else sample.label.shape
    return ImageSize(width=width, height=height)


def _agreement(seen: _Seen, miou_pct: float | None) -> Agreement | None:
    if len(seen.tallies) == 1:
        return None
    own, reference = seen.tallies
    reference_miou_pct = reference.scores().miou_pct
    drop = None if reference_miou_pct is None or miou_pct is None else reference_miou_pct - miou_pct
    return Agreement(
        agreement_pct=seen.agreement_pct,
        miou_drop_pct=drop,
        miou_drop_ci95_pct=miou_drop_ci95_pct(reference.per_image, own.per_image),
        miou_pct=reference_miou_pct,
    )


def _evaluation(seen: _Seen, *, skipped: list[Skipped]) -> Evaluation:
    tally = seen.tallies[0]
    own = tally.scores()
    labelled = bool(tally.per_image)
    notes = _notes(own, tally.classes) if labelled else ["no labels: mIOU is not known"]
    return Evaluation(
        images=seen.images,
        miou_pct=own.miou_pct,
        ci95=miou_ci95_pct(tally.per_image),
        class_iou_pct=own.class_iou_pct if labelled else {},
        category_iou_pct=own.category_iou_pct if labelled else {},
        category_miou_pct=own.category_miou_pct,
        pixel_accuracy_pct=own.pixel_accuracy_pct,
        classes=list(tally.classes.names),
        confusion=tally.counts.tolist() if labelled else None,
        reference=_agreement(seen, own.miou_pct),
        skipped=list(skipped),
        notes=notes + skipped_note(skipped),
    )


def _notes(own: Scores, classes: ClassSet) -> list[str]:
    notes = []
    ignored = [name for index, name in enumerate(classes.names) if index in classes.ignore]
    if ignored:
        notes.append(f"not scored: {', '.join(ignored)}")
    absent = [name for name, value in own.class_iou_pct.items() if value is None]
    if absent:
        notes.append(f"neither in the labels nor predicted, so not in the mean: {', '.join(absent)}")
    return notes
