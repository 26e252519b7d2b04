"""Images in folders of their class, as ImageNet lays them out, as a stream of samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from espdeploy.accuracy.datasets import END_ON_BAD, OnBad, Pair, Skipped, find_pairs, spread, usable
from espdeploy.accuracy.images import centre_crop, preprocess, read_rgb
from espdeploy.artifacts import ClassSet, Preprocessing
from espdeploy.errors import InputFileError
from espdeploy.specs import ImageSize

if TYPE_CHECKING:
    from espdeploy.protocols import Tensor

_NAMES_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class ClassSample:
    """One image, ready for a network, with the index of its class where that is known."""

    name: str
    image: Tensor  # float32 (1, 3, H, W)
    truth: int | None


@dataclass(frozen=True, kw_only=True)
class Classed:
    """Images and their classes by name; ``by`` says how folders became classes, None where there are none."""

    pairs: tuple[Pair, ...]
    truth: dict[str, int]
    by: str | None


def find_classed(data: Path, classes: ClassSet, *, limit: int | None = None) -> Classed:
    """The images below ``data``, each with the class that the first folder on its path stands for.

    Folders are named after the classes, or numbered from 0, or there is one for each class and their sorted order is
    that of the classes (ImageNet's synsets). Images without a folder have no class.

    Raises:
        InputFileError: as :func:`~espdeploy.accuracy.datasets.find_pairs`; folders whose classes cannot be told; images
            beside such folders.
        UsageError: a limit below 1.
    """
    pairs = find_pairs(data)
    folders = {pair.name: pair.name.partition("/")[0] for pair in pairs if "/" in pair.name}
    if not folders:
        return Classed(pairs=tuple(spread(pairs, limit)), truth={}, by=None)
    loose = [pair.image for pair in pairs if pair.name not in folders]
    if loose:
        raise InputFileError(
            f"{loose[0]} lies beside the class folders of {data}, and has no class",
            do="move it into the folder of its class",
        )
    indices, by = _class_indices(sorted(set(folders.values())), classes, data)
    chosen = tuple(spread(pairs, limit))
    return Classed(pairs=chosen, truth={pair.name: indices[folders[pair.name]] for pair in chosen}, by=by)


class ClassFolders:
    """Classed images as a stream of samples; one image is in memory at a time.

    ``size`` is the network's input size, to which the middle of each image is scaled
    (:func:`~espdeploy.accuracy.images.centre_crop`); None shows the network each whole image in its own size.
    ``skipped`` holds what the last pass left out.
    """

    def __init__(
        self, classed: Classed, *, preprocessing: Preprocessing, size: ImageSize | None, on_bad: OnBad = END_ON_BAD
    ) -> None:
        self._classed = classed
        self._preprocessing = preprocessing
        self._size = size
        self._on_bad = on_bad
        self.skipped: list[Skipped] = []

    def __len__(self) -> int:
        return len(self._classed.pairs)

    def __iter__(self) -> Iterator[ClassSample]:
        """Read and prepare one image after the other.

        Raises:
            InputFileError: an image cannot be read; where these are skipped, none is left.
        """
        self.skipped = []
        return usable(self._classed.pairs, self._sample, on_bad=self._on_bad, skipped=self.skipped)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done to the images, and what their folders were taken for."""
        shown = "the middle of each image, scaled to cover 8/7 of the input: the single crop of published figures"
        whole = "each image whole, in its own size: the network has no fixed one"
        by = self._classed.by
        return (f"scored on {shown if self._size else whole}", *((f"classes by {by}",) if by else ()))

    def _sample(self, pair: Pair) -> ClassSample:
        rgb = read_rgb(pair.image)
        if self._size:
            rgb = centre_crop(rgb, self._size)
        size = ImageSize(width=rgb.shape[1], height=rgb.shape[0])
        image = preprocess(rgb, self._preprocessing, size)
        return ClassSample(name=pair.name, image=image, truth=self._classed.truth.get(pair.name))


def _class_indices(folders: Sequence[str], classes: ClassSet, data: Path) -> tuple[dict[str, int], str]:
    """The class of each folder, and how it was told."""
    count = len(classes.names)
    by_name = {name: index for index, name in enumerate(classes.names)}
    if set(folders) <= set(by_name):
        return {folder: by_name[folder] for folder in folders}, "the folders' names"
    if all(folder.isascii() and folder.isdecimal() for folder in folders):
        numbers = {folder: int(folder) for folder in folders}
        if max(numbers.values()) < count:
            return numbers, "the folders' numbers, from 0"
    elif len(folders) == count:
        return {folder: index for index, folder in enumerate(folders)}, "the sorted order of the folders"
    some = ", ".join(folders[:_NAMES_SHOWN]) + (" …" if len(folders) > _NAMES_SHOWN else "")
    raise InputFileError(
        f"the classes of the {len(folders)} folders in {data} ({some}) cannot be told",
        why=f"the network knows {count} classes of {classes.name}; the folders are neither named after them, nor "
        f"numbered from 0 to {count - 1}, nor one for each",
        do="name each folder by the number of its class, or give a folder for every class",
    )
