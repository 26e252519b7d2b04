"""What a network is calibrated on: which images of which data set, read and prepared one after the other."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from espdeploy import parity
from espdeploy.accuracy.datasets import Pair, find_pairs, spread
from espdeploy.accuracy.images import preprocess, read_rgb
from espdeploy.artifacts import Preprocessing, sha256_of
from espdeploy.errors import InputFileError, UsageError
from espdeploy.protocols import TensorInfo
from espdeploy.recipes import calibration_recipe
from espdeploy.specs import CalibrationRecipe, ImageSize

if TYPE_CHECKING:
    from espdeploy.protocols import Tensor

#: recipes that are tried on a folder when none is named, and the one that takes any folder
_RECOGNISED, _PLAIN = ("camvid", "cityscapes"), "folder"
_COLOURS = 3
#: what a network of any size is fed with where there are no images
_SIZE_OF_RANDOM = ImageSize(width=224, height=224)


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Images for calibration: from ``folder``, ``pairs`` of the ``available`` ones, as ``recipe`` has it."""

    recipe: CalibrationRecipe
    folder: Path
    pairs: tuple[Pair, ...]
    available: int
    seed: int | None
    notes: tuple[str, ...]


def choose_images(
    data: Path | None, recipe: CalibrationRecipe | None, *, limit: int | None, seed: int | None
) -> Chosen:
    """The images of a data set that a network is calibrated on: of its training part, never silently of another.

    Without a recipe, the first shipped one that recognises the folder is used, and the one for plain folders where none
    does. ``limit`` goes before the recipe's count, ``seed`` before its seed.

    Raises:
        InputFileError: the folder is missing or without images, or has other parts of a data set and no training part.
        UsageError: neither a folder nor a recipe that names one.
    """
    root = data or _root_of(recipe)
    recipe = recipe or _recognised(root)
    folder = _part(root, recipe)
    pairs = find_pairs(folder)
    count = recipe.count if limit is None else limit
    seed = recipe.seed if seed is None else seed
    chosen = spread(pairs, count) if seed is None else _drawn(pairs, count, seed)
    notes = []
    if folder != root:
        notes.append(f"{root} is a data set: the ranges come from its {recipe.split} part, {folder}")
    elif _others(recipe) & set(folder.resolve().parts[-2:]):
        notes.append(
            f"{folder} is named as a part that judges networks: a score on the same images flatters the engine"
        )
    drawn = seed if count is not None and count < len(pairs) else None
    return Chosen(
        recipe=recipe, folder=folder, pairs=tuple(chosen), available=len(pairs), seed=drawn, notes=tuple(notes)
    )


def _root_of(recipe: CalibrationRecipe | None) -> Path:
    if recipe is not None and recipe.data is not None:
        return Path(recipe.source).parent / Path(recipe.data).expanduser()
    raise UsageError(
        "there are no images to calibrate on" if recipe is None else f"the recipe {recipe.name} names no folder",
        why="ranges of activations are only as good as the images that they come from",
        do="add --data DIR with images as the network will see; for timing alone, --allow-random-calibration",
    )


def _recognised(root: Path) -> CalibrationRecipe:
    for name in _RECOGNISED:
        recipe = calibration_recipe(name)
        if all((root / folder).is_dir() for folder in recipe.recognised_by):
            return recipe
    return calibration_recipe(_PLAIN)


def _part(root: Path, recipe: CalibrationRecipe) -> Path:
    """The folder of the part that the recipe wants; the root itself where it has no parts."""
    wanted = _below(root, recipe, recipe.split)
    others = [folder for split in sorted(_others(recipe)) if (folder := _below(root, recipe, split)).is_dir()]
    # a plain folder may hold one called train beside those of other classes of things
    if wanted.is_dir() and (others or recipe.name != _PLAIN):
        return wanted
    if others:
        raise InputFileError(
            f"{root} has no {recipe.split} part: {wanted} does not exist",
            why="images that judge a network choose its ranges only where that is asked for",
            do=f"name the folder of images itself; --data {shlex.quote(str(others[0]))} for those",
        )
    layout = _recognised(root)
    parts = any(_below(root, layout, split).is_dir() for split in _others(layout))
    if layout.name != recipe.name and (parts or layout.name != _PLAIN):
        raise InputFileError(
            f"{root} is not laid out as the recipe {recipe.name} says: {wanted} does not exist",
            why="all that is below it would be used, validation images and labels too",
            do=f"--recipe {layout.name}, or name the folder of images itself with --data",
        )
    return root


def _below(root: Path, recipe: CalibrationRecipe, split: str) -> Path:
    return root / recipe.folder.replace("{split}", split)


def _others(recipe: CalibrationRecipe) -> set[str]:
    """Parts that must not be taken for the one that is wanted."""
    return set(recipe.other_splits) - {recipe.split} if "{split}" in recipe.folder else set()


def _drawn(pairs: list[Pair], count: int | None, seed: int) -> list[Pair]:
    """``count`` of the pairs, in their order, drawn by hashes of their names: the same on any machine and release.

    The images of a smaller count are among those of a larger one.
    """
    if count is None or count >= len(pairs):
        return pairs
    ranked = sorted(
        pairs, key=lambda pair: hashlib.sha256(f"{seed}/{pair.name}".encode("utf-8", "surrogateescape")).digest()
    )
    kept = set(ranked[:count])
    return [pair for pair in pairs if pair in kept]


class ImageFeeds:
    """Images as a network takes them, one feed after the other: its file's path, and the input by name.

    An image of another size is resized to the network's; a network with a fixed batch gets the same image in each
    place. While it is iterated ``skipped`` collects the files that could not be read, with the reason, and
    ``data_sha256`` is the digest of those that were, in their order.
    """

    def __init__(
        self, pairs: tuple[Pair, ...], *, info: TensorInfo, preprocessing: Preprocessing, skip_bad: bool
    ) -> None:
        self._pairs = pairs
        self._info = info
        self._preprocessing = preprocessing
        self._skip_bad = skip_bad
        self._digest = hashlib.sha256()
        self.skipped: dict[Path, str] = {}

    @property
    def data_sha256(self) -> str:
        """Over the SHA-256 of each file that was used, in order."""
        return self._digest.hexdigest()

    def __len__(self) -> int:
        return len(self._pairs)

    def __iter__(self) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Read and prepare one image after the other.

        Raises:
            InputFileError: an image cannot be read, or with ``skip_bad`` none can.
            UsageError: the pre-processing is none.
        """
        self._digest, self.skipped = hashlib.sha256(), {}
        for pair in self._pairs:
            try:
                rgb = read_rgb(pair.image)
            except InputFileError as error:
                self._skip(pair.image, error)
                continue
            self._digest.update(bytes.fromhex(sha256_of(pair.image)))
            size = fixed_size(self._info) or ImageSize(width=rgb.shape[1], height=rgb.shape[0])
            yield str(pair.image), _feed(preprocess(rgb, self._preprocessing, size), self._info)
        if len(self.skipped) == len(self._pairs):
            path, why = next(iter(self.skipped.items()))
            raise InputFileError(
                f"none of the {len(self._pairs)} images can be read", why=f"{path}: {why}", do="check --data"
            )

    def _skip(self, path: Path, error: InputFileError) -> None:
        if not self._skip_bad:
            raise InputFileError(
                error.what,
                why=error.why,
                do="mend or remove it, or add --skip-bad to go on without what cannot be read",
            ) from error
        self.skipped[path] = error.why or error.what


def random_feeds(
    info: TensorInfo, preprocessing: Preprocessing | None, *, count: int, seed: int
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Made-up photographs in place of images (:func:`espdeploy.parity.real_looking_inputs`), one at a time.

    Raises:
        UsageError: the network does not take three channels.
    """
    size = fixed_size(info) or _SIZE_OF_RANDOM
    channels = info.shape[1] if isinstance(info.shape[1], int) else _COLOURS
    for index in range(count):
        shape = (1, channels, size.height, size.width)
        image = parity.real_looking_inputs(shape, count=1, seed=seed * count + index, preprocessing=preprocessing)[0]
        yield f"made-up image {index}", _feed(image, info)


def fixed_size(info: TensorInfo) -> ImageSize | None:
    """The input's size in pixels; None where it takes any."""
    height, width = info.shape[2:]
    if isinstance(height, int) and isinstance(width, int):
        return ImageSize(width=width, height=height)
    return None


def _feed(image: Tensor, info: TensorInfo) -> dict[str, Tensor]:
    """One image (1, 3, H, W) with the input's batch and type; whole numbers are rounded, and cut at its ends."""
    import numpy as np

    batch = info.shape[0]
    if isinstance(batch, int) and batch > 1:
        image = np.repeat(image, batch, axis=0)
    dtype = np.dtype(info.dtype)
    if np.issubdtype(dtype, np.integer):
        ends = np.iinfo(dtype)
        image = np.clip(np.rint(image), ends.min, ends.max)
    return {info.name: image.astype(dtype)}
