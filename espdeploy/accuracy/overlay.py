"""Label maps as pictures: coloured, laid over the image, with a legend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from espdeploy.artifacts import ClassSet, atomic_path
from espdeploy.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]

_VOID_COLOUR = (0, 0, 0)
_VOID_NAME = "void"
_STRIP = (24, 26, 30)
_TEXT = (240, 240, 240)
_OUTLINE = (150, 150, 150)
_MIN_FONT_PX = 13
_WIDTH_PER_FONT_PX = 56  # a letter is this fraction of the picture's width: as legible on 2048x1024 as on 480x360
_PALETTE_ENTRIES = 256


@dataclass(frozen=True, kw_only=True)
class OutputPaths:
    """Where the pictures of one image go."""

    image: Path
    overlay: Path
    labels: Path


def colourise(labels: NDArray[np.integer], classes: ClassSet) -> Picture:
    """A label map (H, W) as uint8 RGB (H, W, 3) in the class set's colours; ignored values that are no class are black.

    Raises:
        UsageError: a value that is neither a class nor ignored, or a map that is not (H, W).
    """
    return _table(classes)[_indices(labels, classes)]


def overlay(rgb: Picture, labels: NDArray[np.integer], classes: ClassSet, *, alpha: float = 0.5) -> Picture:
    """The image (H, W, 3) with its label map (H, W) over it, and below it a legend of the classes that occur.

    ``alpha`` is the colours' share, 0 to 1. Pixels of ignored values that are no class stay as in the image.

    Raises:
        UsageError: as :func:`colourise`; sizes that differ; an alpha outside 0..1.
    """
    if rgb.shape != (*labels.shape, 3):
        raise UsageError(f"an image of shape {rgb.shape} cannot carry a label map of shape {labels.shape}")
    if not 0 <= alpha <= 1:
        raise UsageError(f"alpha is a share from 0 to 1, given was {alpha}")
    indices = _indices(labels, classes)
    shares = np.where(indices < len(classes.names), alpha, 0.0).astype(np.float32)[..., None]
    mixed = np.rint(rgb * (1 - shares) + _table(classes)[indices] * shares).astype(np.uint8)
    strip = _legend(np.flatnonzero(np.bincount(indices.ravel())).tolist(), classes, rgb.shape[1])
    width = max(mixed.shape[1], strip.shape[1])
    return np.concatenate([_widened(mixed, width), _widened(strip, width)])


def write_png(path: Path, rgb: Picture) -> None:
    """Write uint8 RGB (H, W, 3) as a PNG file, at once or not at all.

    Raises:
        MissingCapability: the file cannot be written.
    """
    _save(Image.fromarray(rgb), path)


def write_labels(path: Path, labels: NDArray[np.integer], classes: ClassSet) -> None:
    """Write a label map (H, W) as a palette PNG: its values are the class indices, viewers show the class colours.

    Raises:
        MissingCapability: the file cannot be written.
        UsageError: as :func:`colourise`, or a value above 255.
    """
    _indices(labels, classes)
    if labels.size and labels.max() >= _PALETTE_ENTRIES:
        raise UsageError(f"a PNG label map holds values up to 255, the largest here is {labels.max()}")
    palette = np.zeros((_PALETTE_ENTRIES, 3), dtype=np.uint8)
    table = _table(classes)[: min(len(classes.names), _PALETTE_ENTRIES)]
    palette[: len(table)] = table
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette(palette.tobytes())
    _save(image, path)


def output_paths(images: Sequence[Path], folder: Path) -> list[OutputPaths]:
    """Where each image's overlay and label map go in ``folder``: ``STEM_overlay.png`` and ``STEM_labels.png``.

    Images with the same stem get ``STEM-2``, ``STEM-3`` and so on; no path is given twice or is one of ``images``.
    """
    taken = {_folded(path) for path in images}
    result = []
    for image in images:
        number = 1
        while True:
            stem = image.stem if number == 1 else f"{image.stem}-{number}"
            paths = OutputPaths(
                image=image, overlay=folder / f"{stem}_overlay.png", labels=folder / f"{stem}_labels.png"
            )
            wanted = {_folded(paths.overlay), _folded(paths.labels)}
            if not wanted & taken:
                break
            number += 1
        taken |= wanted
        result.append(paths)
    return result


def _folded(path: Path) -> str:
    """The path as file systems without upper and lower case see it."""
    return str(path.resolve()).casefold()


def _save(image: Image.Image, path: Path) -> None:
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG")


def _table(classes: ClassSet) -> Picture:
    """Colours by class index, and black as the last entry for values that are no class."""
    if len(classes.palette) != len(classes.names):
        raise UsageError(
            f"the class set {classes.name} has {len(classes.names)} classes and {len(classes.palette)} colours",
            do="give every class a colour",
        )
    return np.array([*classes.palette, _VOID_COLOUR], dtype=np.uint8)


def _indices(labels: NDArray[np.integer], classes: ClassSet) -> NDArray[np.intp]:
    """Class indices, with ignored values that are no class as ``len(classes.names)``."""
    if labels.ndim != 2 or not labels.size:
        raise UsageError(f"a label map has shape (H, W), given was {labels.shape}")
    count = len(classes.names)
    indices = labels.astype(np.intp)
    outside = (indices < 0) | (indices >= count)
    unknown = indices[outside & ~np.isin(indices, np.array(classes.ignore, dtype=np.intp))]
    if unknown.size:
        raise UsageError(
            f"the label map holds {unknown[0]}, the class set {classes.name} has 0 to {count - 1}",
            do="use the class set that the labels were made with",
        )
    indices[outside] = count
    return indices


def _legend(occurring: list[int], classes: ClassSet, width: int) -> Picture:
    """A strip with a swatch and a name for each class, in columns as wide as the longest name."""
    size = max(_MIN_FONT_PX, width // _WIDTH_PER_FONT_PX)
    font = ImageFont.load_default(size)
    names = [*classes.names, _VOID_NAME]
    gap, line = size // 2, size * 3 // 2
    text_width = max(int(font.getlength(names[index])) + 1 for index in occurring)
    cell = size + gap + text_width + 2 * gap
    columns = max(1, min(len(occurring), (width - gap) // cell))
    rows = -(-len(occurring) // columns)
    strip = Image.new("RGB", (max(width, cell + gap), rows * line + gap), _STRIP)
    draw = ImageDraw.Draw(strip)
    table = _table(classes)
    for place, index in enumerate(occurring):
        row, column = divmod(place, columns)
        left, top = gap + column * cell, gap // 2 + row * line
        middle = top + line // 2
        box = (left, middle - size // 2, left + size - 1, middle - size // 2 + size - 1)
        draw.rectangle(box, fill=tuple(table[index].tolist()), outline=_OUTLINE)
        draw.text((left + size + gap, middle), names[index], fill=_TEXT, font=font, anchor="lm")
    return np.array(strip)


def _widened(picture: Picture, width: int) -> Picture:
    """The picture with the strip's ground to its right, where a legend is wider than a small image."""
    if picture.shape[1] == width:
        return picture
    result = np.empty((picture.shape[0], width, 3), dtype=np.uint8)
    result[:] = _STRIP
    result[:, : picture.shape[1]] = picture
    return result
