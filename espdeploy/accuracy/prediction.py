"""From a network's output to a label map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from espdeploy.accuracy.images import resize_bilinear, resize_nearest
from espdeploy.errors import ToolFailed, UsageError
from espdeploy.protocols import Runner
from espdeploy.specs import ImageSize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from espdeploy.protocols import Tensor

_LARGEST_UINT8 = 255


def check_runner(runner: Runner) -> None:
    """Refuse an engine that does not map one image to one output, before any image is read.

    Raises:
        UsageError: several inputs or outputs, or a fixed batch above 1.
    """
    for what, tensors in (("inputs", runner.inputs), ("outputs", runner.outputs)):
        if len(tensors) != 1:
            names = ", ".join(item.name for item in tensors)
            raise UsageError(
                f"the engine has {len(tensors)} {what} ({names}), one is needed",
                do="give a network that maps one image to its class scores",
            )
    shape = runner.inputs[0].shape
    if shape and isinstance(shape[0], int) and shape[0] != 1:
        raise UsageError(
            f"the engine takes {shape[0]} images at once, accuracy is measured one at a time",
            do="export with --batch 1 or --batch dynamic",
        )


def predict(runner: Runner, image: Tensor, size: ImageSize, *, name: str) -> NDArray[np.integer]:
    """Run one image (1, 3, H, W) and return its label map (size.height, size.width).

    Raises:
        UsageError, ToolFailed: as :func:`label_map`.
    """
    outputs = runner.infer({runner.inputs[0].name: image})
    return label_map(outputs[runner.outputs[0].name], size, name=name)


def label_map(output: Tensor, size: ImageSize, *, name: str) -> NDArray[np.integer]:
    """Class indices (size.height, size.width), uint8 up to 256 classes, of class scores (1, C, H, W) or of
    labels (1, H, W).

    Scores of another size are resized bilinearly before the largest is taken: ESPNet's paper does so for outputs
    below the label's resolution (section 4.1), and it keeps what the scores know of borders between coarse
    pixels. Labels of another size take the nearest pixel. Equal scores give the lower class.

    Raises:
        UsageError: an output of another shape.
        ToolFailed: the output is not finite.
    """
    values = np.asarray(output)
    if np.issubdtype(values.dtype, np.integer) and (values.ndim == 3 or values.shape[1:2] == (1,)):
        values = values.reshape(values.shape[0], *values.shape[-2:])
        _check_batch(values.shape, name)
        return resize_nearest(values[0], size)
    if values.ndim != 4 or values.shape[1] < 2 or 0 in values.shape:
        raise _wrong_shape(values, name)
    _check_batch(values.shape, name)
    return _largest(values[0].astype(np.float32, copy=False), size, name)


def _largest(scores: NDArray[np.float32], size: ImageSize, name: str) -> NDArray[np.integer]:
    """The class of the largest score, class by class, so that resized scores never stand in memory together."""
    if not np.isfinite(scores).all():
        bad = "NaN" if np.isnan(scores).any() else "infinite values"
        raise ToolFailed(
            f"the engine's output for {name} holds {bad}",
            why="a precision whose range the network exceeds, or damaged weights",
            do="build the engine with --precision fp32 or mixed and evaluate it again",
        )
    best = resize_bilinear(scores[0], size).copy()
    labels = np.zeros(best.shape, dtype=np.uint8 if len(scores) <= _LARGEST_UINT8 + 1 else np.int32)
    for index in range(1, len(scores)):
        plane = resize_bilinear(scores[index], size)
        labels[plane > best] = index
        np.maximum(best, plane, out=best)
    return labels


def _check_batch(shape: tuple[int, ...], name: str) -> None:
    if shape[0] != 1:
        raise UsageError(f"the engine's output for {name} holds {shape[0]} images, one was given")


def _wrong_shape(values: Tensor, name: str) -> UsageError:
    return UsageError(
        f"the engine's output for {name} has shape {list(values.shape)} and type {values.dtype}",
        why="segmentation gives class scores (1, C, H, W) with two classes or more, or integer labels (1, H, W)",
        do="evaluate a segmentation network",
    )
