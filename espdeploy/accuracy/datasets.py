"""Folders of images, paired with their labels, as a stream of samples."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from espdeploy.accuracy import cityscapes
from espdeploy.accuracy.images import preprocess, read_label, read_rgb
from espdeploy.artifacts import Preprocessing
from espdeploy.errors import InputFileError, UsageError
from espdeploy.protocols import Sample
from espdeploy.specs import ImageSize

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".gif")

_CITYSCAPES_IMAGE = "_leftImg8bit"
_CITYSCAPES_LABEL = re.compile(r"(?P<stem>.+)_gt(?:Fine|Coarse)_(?P<kind>[A-Za-z]+)")
#: the kinds of Cityscapes label files that hold classes, the preferred one first
_CITYSCAPES_KINDS = ("labelTrainIds", "labelIds")
#: images and labels of a data set's validation part, below its root
_LAYOUTS = (("val", "valannot"), ("leftImg8bit/val", "gtFine/val"))
_NAMES_SHOWN = 3
_ASPECT_TOLERANCE = 0.01
_Read = TypeVar("_Read")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """An image file and its label file. ``name`` is the path below the data folder without its suffix."""

    name: str
    image: Path
    label: Path | None
    #: the label file holds Cityscapes' label ids, to be read as train ids
    cityscapes_ids: bool = False


def find_pairs(data: Path, labels: Path | None = None) -> list[Pair]:
    """The images below ``data`` (or the one image), sorted by name, each with its label where ``labels`` is given.

    Labels have the image's path below their folder, or its file name, without the suffix; Cityscapes' endings
    (``_leftImg8bit``, ``_gtFine_labelTrainIds``, ``_gtFine_labelIds``) are known. Without ``labels``, the root of
    CamVid (``val``, ``valannot``) or Cityscapes (``leftImg8bit/val``, ``gtFine/val``) stands for its validation part
    with labels. Hidden files and files that are no images are passed over.

    Raises:
        InputFileError: a folder is missing, unreadable or without images; two images have one name; or images and
            labels are not one to one.
    """
    if labels is None:
        data, labels = _known_layout(data)
    images = _images_by_key(data, labels)
    if labels is None:
        return [Pair(name=key, image=path, label=None) for key, path in sorted(images.items())]
    return _paired(images, labels, data)


def spread(pairs: Sequence[Pair], limit: int | None) -> list[Pair]:
    """At most ``limit`` of the pairs, evenly spread over their order, so that every part of a recording has some.

    Raises:
        UsageError: a limit below 1.
    """
    if limit is None or limit >= len(pairs):
        return list(pairs)
    if limit < 1:
        raise UsageError(f"a limit of {limit} images leaves none", do="give --limit 1 or more")
    return [pairs[index * len(pairs) // limit] for index in range(limit)]


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """An image that could not be used and was left out: its name, and why."""

    image: str
    why: str


@dataclass(frozen=True, kw_only=True)
class OnBad:
    """What to do about an image that cannot be used: end with an error, or skip it.

    ``advice`` ends the error's advice: what else the command offers, such as the option that skips.
    """

    skip: bool = False
    advice: str = ""


END_ON_BAD = OnBad()


class ImageFolder:
    """Pairs as a stream of samples (:class:`espdeploy.protocols.Batches`); one image is in memory at a time.

    ``size`` is the network's input size; None keeps each image's own. ``skipped`` holds what the last pass left out.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        *,
        preprocessing: Preprocessing,
        size: ImageSize | None,
        on_bad: OnBad = END_ON_BAD,
    ) -> None:
        self._pairs = tuple(pairs)
        self._preprocessing = preprocessing
        self._size = size
        self._on_bad = on_bad
        self._labels = {pair.name: pair.label for pair in pairs}
        self.skipped: list[Skipped] = []

    def __len__(self) -> int:
        return len(self._pairs)

    def __iter__(self) -> Iterator[Sample]:
        """Read, check and prepare one image after the other.

        Raises:
            InputFileError: a file cannot be read, or a label has another shape than its image; where these are
                skipped, no image is left.
        """
        self.skipped = []
        return usable(self._pairs, self._sample, on_bad=self._on_bad, skipped=self.skipped)

    def label_of(self, name: str) -> Path | None:
        """The label file of the image of that name; None where there is none."""
        return self._labels.get(name)

    def _sample(self, pair: Pair) -> Sample:
        rgb = read_rgb(pair.image)
        label = None if pair.label is None else _read_label_of(pair)
        if label is not None:
            _check_shapes(pair, rgb.shape[:2], label.shape)
        size = self._size or ImageSize(width=rgb.shape[1], height=rgb.shape[0])
        return Sample(name=pair.name, image=preprocess(rgb, self._preprocessing, size), label=label)


def usable(
    pairs: Sequence[Pair], read: Callable[[Pair], _Read], *, on_bad: OnBad, skipped: list[Skipped]
) -> Iterator[_Read]:
    """What ``read`` makes of each pair, one after the other; those it cannot read go to ``skipped`` where asked for.

    Raises:
        InputFileError: as ``read`` does, with the advice added; or nothing was left after skipping.
    """
    for pair in pairs:
        try:
            made = read(pair)
        except InputFileError as error:
            if not on_bad.skip:
                raise _advised(error, on_bad.advice) from error
            skipped.append(Skipped(image=str(pair.image), why=_reason(error)))
            continue
        yield made
    if pairs and len(skipped) == len(pairs):
        raise InputFileError(
            f"none of the {len(pairs)} images can be used",
            why=f"the first: {skipped[0].why}",
            do="give --data a folder of images that can be read",
        )


def skipped_note(skipped: Sequence[Skipped]) -> list[str]:
    """The images that were left out as a note; empty where there are none."""
    if not skipped:
        return []
    return [f"left out because they cannot be used, {len(skipped)}: {_some([item.image for item in skipped])}"]


def _advised(error: InputFileError, advice: str) -> InputFileError:
    return InputFileError(error.what, why=error.why, do="; ".join(part for part in (error.do, advice) if part))


def _reason(error: InputFileError) -> str:
    return f"{error.what}: {error.why}" if error.why else error.what


def _read_label_of(pair: Pair) -> NDArray[np.integer]:
    label = read_label(pair.label or pair.image)
    return cityscapes.train_ids(label) if pair.cityscapes_ids else label


def _check_shapes(pair: Pair, image: tuple[int, ...], label: tuple[int, ...]) -> None:
    """A label may be larger or smaller than its image, never of another shape."""
    if abs(label[0] * image[1] - label[1] * image[0]) > _ASPECT_TOLERANCE * label[1] * image[0]:
        raise InputFileError(
            f"the label {pair.label} is {label[1]}x{label[0]}, its image {pair.image} is {image[1]}x{image[0]}",
            do="check that both belong to the same picture",
        )


def _known_layout(data: Path) -> tuple[Path, Path | None]:
    for images, labels in _LAYOUTS:
        if (data / images).is_dir() and (data / labels).is_dir():
            return data / images, data / labels
    return data, None


def _images_by_key(data: Path, labels: Path | None) -> dict[str, Path]:
    if data.is_file():
        return {_image_key(Path(data.name)): data}
    files = _image_files(data, besides=labels)
    files = [path for path in files if not _CITYSCAPES_LABEL.fullmatch(path.stem)]
    if not files:
        raise InputFileError(
            f"no images in {data}",
            why=f"none of its files ends in {', '.join(IMAGE_SUFFIXES)}",
            do="give the folder that holds the images",
        )
    return _unique((_image_key(path.relative_to(data)), path) for path in files)


def _image_files(folder: Path, *, besides: Path | None) -> list[Path]:
    """Image files below ``folder``; hidden ones, and those of ``besides`` where it is a folder inside, left out."""
    if not folder.is_dir():
        what = f"{folder} is not a folder" if folder.exists() else f"{folder} does not exist"
        raise InputFileError(what, do="give a folder of images")
    try:
        next(folder.iterdir(), None)  # rglob passes over a folder that it may not read
        found = [path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
    except OSError as error:
        raise InputFileError(f"{folder} cannot be read", why=str(error), do="check the folder's permissions") from error
    inner = None if besides is None else besides.resolve()
    if inner == folder.resolve() or (inner is not None and not inner.is_relative_to(folder.resolve())):
        inner = None
    return sorted(
        path
        for path in found
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and not (inner is not None and path.resolve().is_relative_to(inner))
    )


def _image_key(path: Path) -> str:
    return path.with_name(path.stem.removesuffix(_CITYSCAPES_IMAGE)).as_posix()


def _unique(files: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    by_key: dict[str, Path] = {}
    for key, path in files:
        if key in by_key:
            raise InputFileError(
                f'two files have the name "{key}": {by_key[key]} and {path}',
                why="results and labels are kept by name",
                do="rename or remove one of them",
            )
        by_key[key] = path
    return by_key


def _paired(images: dict[str, Path], labels: Path, data: Path) -> list[Pair]:
    found, kind = _labels_by_key(labels, besides=data)
    if not set(images) & set(found):
        images, found = _by_file_name(images), _by_file_name(found)
    without = sorted(set(images) - set(found))
    unused = sorted(set(found) - set(images))
    if without or unused:
        raise _mismatch(data, labels, counts=(len(images), len(found)), without=without, unused=unused)
    return [
        Pair(name=key, image=images[key], label=found[key], cityscapes_ids=kind == "labelIds") for key in sorted(images)
    ]


def _labels_by_key(labels: Path, *, besides: Path) -> tuple[dict[str, Path], str | None]:
    """Label files by the key of their image, and the Cityscapes kind that was taken."""
    files = [labels] if labels.is_file() else _image_files(labels, besides=besides)
    root = labels.parent if labels.is_file() else labels
    matches = {path: _CITYSCAPES_LABEL.fullmatch(path.stem) for path in files}
    present = {match["kind"] for match in matches.values() if match}
    if not present:
        return _unique((_image_key(path.relative_to(root)), path) for path in files), None
    kind = next((kind for kind in _CITYSCAPES_KINDS if kind in present), None)
    if kind is None:
        raise InputFileError(
            f"{labels} has Cityscapes files of the kinds {', '.join(sorted(present))} only",
            why="classes are in the files *_labelTrainIds.png or *_labelIds.png",
            do="give the gtFine folder that holds them",
        )
    chosen = ((path, match["stem"]) for path, match in matches.items() if match and match["kind"] == kind)
    return _unique((path.relative_to(root).with_name(stem).as_posix(), path) for path, stem in chosen), kind


def _by_file_name(files: dict[str, Path]) -> dict[str, Path]:
    """The same files by file name alone, for labels that lie in other folders than their images."""
    return _unique((key.rpartition("/")[2], path) for key, path in files.items())


def _mismatch(
    data: Path, labels: Path, *, counts: tuple[int, int], without: list[str], unused: list[str]
) -> InputFileError:
    image_count, label_count = counts
    if len(without) == image_count:
        what = f"none of the {image_count} images in {data} has a label in {labels} ({label_count} label files)"
    elif without:
        what = f"{len(without)} of the {image_count} images in {data} have no label in {labels}"
    else:
        what = f"{len(unused)} of the {label_count} labels in {labels} have no image in {data} ({image_count} images)"
    parts = [
        f"{text}: {_some(names)}" for text, names in (("images without", without), ("labels without", unused)) if names
    ]
    return InputFileError(
        what, why="; ".join(parts), do="give --labels the folder whose files are named as those in --data"
    )


def _some(names: list[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
