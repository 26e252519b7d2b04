"""What a network is fed with where no data are given: photographs that look real, or texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from espdeploy import parity
from espdeploy.artifacts import ModelCard
from espdeploy.errors import UsageError
from espdeploy.protocols import TensorInfo

if TYPE_CHECKING:
    from espdeploy.protocols import Tensor

    Feed: TypeAlias = dict[str, Tensor]

#: the task whose inputs are words and a state
LANGUAGE_MODELING = "language-modeling"
#: a language model's first output has one score for each word on its last axis, (N, T, words)
_WORD_AXIS = 2
_IMAGE_AXES = 4
_PIXEL_MAX = 255
_WHOLE_NUMBERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")


def takes_text(card: ModelCard | None) -> bool:
    """Whether the network that the card describes is a language model."""
    return card is not None and card.task == LANGUAGE_MODELING


def feeds(
    inputs: Sequence[TensorInfo], card: ModelCard | None, *, count: int, batch: int, noise: bool = False
) -> list[Feed]:
    """``count`` feeds for the inputs, always the same ones; ``noise`` adds one of normal noise to photographs.

    Args:
        inputs: as the runner or the built network names them; dynamic extents are the batch.
        card: what the network says about itself.
        count: how many.
        batch: images or texts in each.
        noise: whether parity is to be proven beyond what cameras give.

    Raises:
        UsageError: no, several or other inputs without a card that says what they are.
    """
    if takes_text(card):
        return parity.real_looking_texts(inputs, words=_words(card), count=count, seed=0, batch=batch)
    info = one_image(inputs)
    n, c, h, w = info.extents(batch)
    images = parity.real_looking_inputs(
        (n, c, h, w), count=count, seed=0, preprocessing=card.preprocessing if card else None
    )
    return [{info.name: _pixels(image, info)} for image in (images if noise else images[:count])]


def one_image(inputs: Sequence[TensorInfo], *, of: str = "the network") -> TensorInfo:
    """The one input N,C,H,W of a network that takes images.

    Raises:
        UsageError: there are none or several, it has other axes, or one of no extent.
    """
    if len(inputs) == 1 and len(inputs[0].shape) == _IMAGE_AXES and 0 not in inputs[0].shape:
        return inputs[0]
    shapes = ", ".join(f"{item.name} {list(item.shape)}" for item in inputs) or "none"
    raise UsageError(
        f"{of} does not take one image N,C,H,W; its inputs: {shapes}",
        why="what else it is to be fed with is not known",
        do="give a network with one image input",
    )


def _pixels(image: Tensor, info: TensorInfo) -> Tensor:
    """The image as the input takes it: a network of whole numbers has its pre-processing inside, and wants 0 … 255."""
    import numpy as np

    if info.dtype not in _WHOLE_NUMBERS:
        return image
    largest = min(_PIXEL_MAX, int(np.iinfo(info.dtype).max))
    pixels: Tensor = np.clip(np.rint(image * _PIXEL_MAX), 0, largest).astype(info.dtype)
    return pixels


def class_axes(card: ModelCard | None, outputs: int) -> int | list[int | None]:
    """Where the outputs have one score for each class, as ``parity.compare`` takes it."""
    return [_WORD_AXIS] + [None] * (outputs - 1) if takes_text(card) else 1


def _words(card: ModelCard | None) -> int:
    words = card.settings.get("classes") if card else None
    if not isinstance(words, int) or words < 1:
        raise UsageError("the network does not say how many words it knows", do="export it again: espdeploy export")
    return words
