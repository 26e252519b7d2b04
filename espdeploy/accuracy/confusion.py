"""Confusion matrices of label maps, and the scores that are read off them.

Rows are true classes, columns predicted ones. Pixels whose true label is in ``ClassSet.ignore`` are left out.
A prediction of an ignored class (a network's own void class) on a pixel that has a class is a miss of that class
and nobody's false alarm: the score that the authors' CamVid network was given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from espdeploy.artifacts import ClassSet
from espdeploy.errors import InputFileError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Counts = NDArray[np.int64]

_VALUES_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What a confusion matrix says, in percent. None: nothing was there to be scored.

    ``class_iou_pct`` has the classes that are not ignored; one that occurs neither in the labels nor in the
    predictions is None and not in the mean, one that is only predicted is 0 and in it.
    """

    miou_pct: float | None
    class_iou_pct: dict[str, float | None]
    category_iou_pct: dict[str, float | None]
    category_miou_pct: float | None
    pixel_accuracy_pct: float | None


def confusion_matrix(
    truth: NDArray[np.integer], prediction: NDArray[np.integer], classes: ClassSet, *, name: str
) -> Counts:
    """Pixel counts (true class, predicted class) of one image; ``name`` is the image's, for messages.

    Matrices of several images add up: ``+`` merges them.

    Raises:
        InputFileError: the label map holds a value that is neither a class nor ignored.
        UsageError: the two maps differ in shape, or the prediction holds a value that is no class.
    """
    count = len(classes.names)
    if truth.shape != prediction.shape:
        raise UsageError(f"{name}: the label map has shape {truth.shape}, the prediction {prediction.shape}")
    valid = ~np.isin(truth, np.array(classes.ignore, dtype=np.int64))
    true_class = truth[valid].astype(np.int64)
    predicted = prediction[valid].astype(np.int64)
    _check_labels(true_class, classes, name)
    if predicted.size and not 0 <= predicted.min() <= predicted.max() < count:
        raise UsageError(
            f"{name}: the network predicts class {predicted.max() if predicted.max() >= count else predicted.min()}, "
            f"the class set {classes.name} has {count}",
            do="evaluate with the class set that the network was trained on",
        )
    counts = np.bincount(true_class * count + predicted, minlength=count * count)
    return counts.reshape(count, count).astype(np.int64)


def scores(counts: Counts, classes: ClassSet) -> Scores:
    """Class-wise and category-wise IOU, their means, and pixel accuracy of a confusion matrix (C, C).

    IOU is ``TP / (TP + FP + FN)``; a category's is that of its classes taken as one (Cityscapes' definition).
    """
    scored = scored_classes(classes)
    tallies = iou_tallies(counts, _groups(scored))
    ious = _iou(*tallies)
    total = int(counts[scored].sum())
    categories = _category_members(classes, scored)
    category_ious = _iou(*iou_tallies(counts, _groups(list(categories.values()))))
    return Scores(
        miou_pct=_mean_pct(ious),
        class_iou_pct={classes.names[index]: _pct(value) for index, value in zip(scored, ious, strict=True)},
        category_iou_pct={name: _pct(value) for name, value in zip(categories, category_ious, strict=True)},
        category_miou_pct=_mean_pct(category_ious),
        pixel_accuracy_pct=100.0 * int(tallies[0].sum()) / total if total else None,
    )


def scored_classes(classes: ClassSet) -> list[int]:
    """The classes that count: all but those in ``ClassSet.ignore``."""
    return [index for index in range(len(classes.names)) if index not in classes.ignore]


def class_tallies(counts: Counts, classes: ClassSet) -> Counts:
    """True positives and unions of the scored classes, shape (2, classes): all that a mean IOU needs of an image."""
    return np.stack(iou_tallies(counts, _groups(scored_classes(classes))))


def iou_tallies(counts: Counts, groups: Sequence[Sequence[int]]) -> tuple[Counts, Counts]:
    """True positives and unions of groups of classes, each group taken as one class.

    False alarms come from scored pixels only, for rows of ignored classes are empty.
    """
    hits = [int(counts[np.ix_(group, group)].sum()) for group in groups]
    unions = [
        int(counts[list(group)].sum()) + int(counts[:, list(group)].sum()) - hit
        for group, hit in zip(groups, hits, strict=True)
    ]
    return np.array(hits, dtype=np.int64), np.array(unions, dtype=np.int64)


def _groups(members: Sequence[int] | Sequence[list[int]]) -> list[list[int]]:
    return [[item] if isinstance(item, int) else item for item in members]


def _category_members(classes: ClassSet, scored: list[int]) -> dict[str, list[int]]:
    """Scored classes by category, in the order of first mention."""
    members: dict[str, list[int]] = {}
    if classes.categories:
        for index in scored:
            members.setdefault(classes.categories[index], []).append(index)
    return members


def _iou(hits: Counts, unions: Counts) -> list[float | None]:
    return [int(hit) / int(union) if union else None for hit, union in zip(hits, unions, strict=True)]


def _pct(value: float | None) -> float | None:
    return None if value is None else 100.0 * value


def _mean_pct(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return 100.0 * sum(present) / len(present) if present else None


def _check_labels(true_class: Counts, classes: ClassSet, name: str) -> None:
    count = len(classes.names)
    outside = true_class[(true_class < 0) | (true_class >= count)]
    if outside.size:
        values = np.unique(outside)
        several = len(values) > 1
        raise InputFileError(
            f"the label of {name} holds the value{'s' if several else ''} {_listed(values)}, "
            f"which {'are no classes' if several else 'is no class'} of {classes.name}",
            why=f"classes are 0 to {count - 1}, left out of the score are {list(classes.ignore)}; "
            f"{outside.size} pixels are neither",
            do="give labels of the data set that the network was trained on",
        )


def _listed(values: Counts) -> str:
    more = len(values) - _VALUES_SHOWN
    return ", ".join(map(str, values[:_VALUES_SHOWN])) + (f" and {more} more" if more > 0 else "")
