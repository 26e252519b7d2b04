"""What ``espdeploy eval`` needs to score a classifier on images in folders of their class."""

from __future__ import annotations

from pathlib import Path

from espdeploy.accuracy.class_folders import Classed, find_classed
from espdeploy.artifacts import ClassSet
from espdeploy.errors import UsageError
from espdeploy.pipeline.building.selection import Selection
from espdeploy.protocols import Runner

_CLASSIFICATION = "classification"


def classifies(runner: Runner) -> bool:
    """Whether the engine gives one class for a whole image, by what it says about itself."""
    return runner.card is not None and runner.card.task == _CLASSIFICATION


def check_segments(runner: Runner) -> None:
    """Refuse a classifier where label maps are to be scored.

    Raises:
        UsageError: it is one.
    """
    if classifies(runner):
        raise UsageError(
            "the engine is a classification network, which gives no label maps to score",
            do="judge it with espdeploy eval ENGINE --data DIR, where DIR has a folder of images for each class",
        )


def check_no_label_maps(labels: Path | None, confusion_picture: Path | None, selection: Selection) -> None:
    """Refuse options that are of segmentation.

    Raises:
        UsageError: label maps were given, or the confusion of pixels was asked for.
    """
    given = {
        "--labels": labels is not None,
        "--confusion-picture": confusion_picture is not None,
        "--confusion": selection.labels_for == "--confusion",
    }
    wrong = next((option for option, is_given in given.items() if is_given), None)
    if wrong:
        raise UsageError(
            f"{wrong} is for segmentation, the engine is a classification network",
            why="its classes are those of the folders that the images lie in",
            do=f"leave {wrong} away",
        )


def classed_images(data: Path, classes: ClassSet, selection: Selection, *, has_reference: bool) -> Classed:
    """The images and their classes, checked without running anything.

    Raises:
        InputFileError: unusable images, or folders whose classes cannot be told.
        UsageError: nothing to score against.
    """
    classed = find_classed(data, classes, limit=selection.limit)
    needed = selection.labels_for or (None if has_reference else "the accuracy of a classifier")
    if needed and not classed.truth:
        raise UsageError(
            f"{needed} needs the classes of the images in {data}",
            do="give --data a folder that has a folder of images for each class",
        )
    return classed
