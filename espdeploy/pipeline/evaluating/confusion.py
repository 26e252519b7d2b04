"""The confusion matrix of an evaluation as a picture in a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from espdeploy.accuracy import drawing
from espdeploy.accuracy.confusion_picture import picture
from espdeploy.accuracy.evaluate import Evaluation
from espdeploy.artifacts import check_replaceable


def check_picture(path: Path | None) -> None:
    """Refuse a place that no picture can be written to, before any slow work; None asks for no picture.

    Raises:
        UsageError: neither an ``.svg`` nor a ``.png`` file, or no plain file.
        MissingCapability: its folder may not be written.
    """
    if path is not None:
        drawing.check_suffix(path)
        check_replaceable(path)


def draw(evaluation: Evaluation, path: Path, *, engine: Path, data: Path) -> None:
    """Draw the matrix of an evaluation with labels.

    Raises:
        UsageError, MissingCapability: as :func:`check_picture`.
    """
    score = "mIOU not known" if evaluation.miou_pct is None else f"mIOU {evaluation.miou_pct:.2f} %"
    drawn = picture(
        np.array(evaluation.confusion, dtype=np.int64),
        evaluation.classes,
        title=f"What {engine.name} takes each class for",
        subtitle=f"percent of a class's pixels; {evaluation.images} images of {data.name or data}, {score}",
    )
    drawing.write(path, drawn)
