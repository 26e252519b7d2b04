"""Image and label files as arrays, and an image as a network's input."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from espdeploy.artifacts import Preprocessing
from espdeploy.errors import InputFileError, UsageError
from espdeploy.specs import ImageSize

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CROP_SHARE = 0.875  # of the scaled image's shorter side that a classifier is shown
_LARGEST_8_BIT = 255
_LARGEST_16_BIT = 65535
_CHANNELS = {"RGB": (0, 1, 2), "BGR": (2, 1, 0)}
#: formats that do not keep the exact values, so that a class index would come back changed
_LOSSY_FORMATS = ("JPEG", "MPO", "JPEG2000")


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """An image file as uint8 RGB of shape (H, W, 3), turned upright by its EXIF orientation.

    Grey and palette images become RGB. Transparency is dropped and 16-bit images lose their low byte, as in
    OpenCV's ``imread``, which the checkpoints were trained with.

    Raises:
        InputFileError: the file is missing, not an image, damaged, or too large to be a plausible picture.
    """
    image = _load(path)
    if image.mode.startswith("I"):
        image = _eight_bit(image, path)
    if image.mode == "F":
        raise InputFileError(
            f"{path} holds floating-point pixels, not a picture", do="save it as an 8-bit PNG or JPEG file"
        )
    if "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns when it has to drop a palette's transparency itself
    return np.array(image.convert("RGB"), dtype=np.uint8)


def read_label(path: Path) -> NDArray[np.uint8] | NDArray[np.int32]:
    """A label file as class indices of shape (H, W): uint8, or int32 where a value is above 255.

    Palette images give their indices, never their colours.

    Raises:
        InputFileError: the file cannot be read, holds colours instead of indices, or is in a lossy format.
    """
    image = _load(path, upright=False)
    if image.mode not in ("1", "L", "P") and not image.mode.startswith("I"):
        raise InputFileError(
            f"{path} is a colour picture (mode {image.mode}), not a label map",
            why="a label file has one channel that holds class indices",
            do="give the folder of index files (Cityscapes: *_labelTrainIds.png), or convert colours to indices",
        )
    if image.format in _LOSSY_FORMATS:
        raise InputFileError(
            f"{path} is a {image.format} file, whose compression changes class indices",
            do="make the labels as PNG files again from their source",
        )
    values = np.array(image)
    if values.size and (values.min() < 0 or values.max() > _LARGEST_8_BIT):
        return values.astype(np.int32)
    return values.astype(np.uint8)


def preprocess(rgb: NDArray[np.uint8], preprocessing: Preprocessing, size: ImageSize) -> NDArray[np.float32]:
    """A uint8 RGB image (H, W, 3) as a float32 network input (1, 3, size.height, size.width).

    ``((x / divisor - mean) / std) / post_divisor`` in float32 and in this order of steps, as the authors of the
    networks compute it. An image of another size is resized first (:func:`resize_bilinear`).

    Raises:
        UsageError: an unknown channel order, a zero divisor, or an array of another shape.
    """
    _check_preprocessing(preprocessing)
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.size == 0:
        raise UsageError(f"an RGB image has shape (H, W, 3), given was {rgb.shape}")
    result = np.empty((1, 3, size.height, size.width), dtype=np.float32)
    for target, source in enumerate(_CHANNELS[preprocessing.channel_order]):
        plane = resize_bilinear(rgb[:, :, source].astype(np.float32), size)
        plane /= np.float32(preprocessing.divisor)
        plane -= np.float32(preprocessing.mean[target])
        plane /= np.float32(preprocessing.std[target])
        np.divide(plane, np.float32(preprocessing.post_divisor), out=result[0, target])
    return result


def centre_crop(rgb: NDArray[np.uint8], size: ImageSize) -> NDArray[np.uint8]:
    """The middle of a uint8 RGB image (H, W, 3), as classifiers are scored on it: uint8 (size.height, size.width, 3).

    The image is scaled, keeping its shape and smoothed before shrinking, until it just covers 8/7 of ``size``
    (256 pixels for a crop of 224); the middle is cut out. This is the single-crop protocol of ImageNet's published
    figures (ESPNetv2, section 4.1).
    """
    height, width = rgb.shape[:2]
    cover = int(size.width / _CROP_SHARE), int(size.height / _CROP_SHARE)
    if cover[0] * height >= cover[1] * width:  # whichever side is the scarcer just covers
        scaled = cover[0], cover[0] * height // width
    else:
        scaled = cover[1] * width // height, cover[1]
    left, top = round((scaled[0] - size.width) / 2), round((scaled[1] - size.height) / 2)
    image = Image.fromarray(rgb).resize(scaled, Image.Resampling.BILINEAR)
    return np.array(image.crop((left, top, left + size.width, top + size.height)), dtype=np.uint8)


def resize_bilinear(plane: NDArray[np.float32], size: ImageSize) -> NDArray[np.float32]:
    """A float32 plane (H, W) at another size; the plane itself where the size is the same.

    Bilinear between pixel centres, edges repeated, without smoothing before shrinking: OpenCV's
    ``INTER_LINEAR`` on floating-point images and PyTorch's ``align_corners=False``.
    """
    if plane.shape[1] != size.width:
        plane = _blended(plane, 1, size.width)
    if plane.shape[0] != size.height:
        plane = _blended(plane, 0, size.height)
    return plane


def resize_nearest(labels: NDArray[np.integer], size: ImageSize) -> NDArray[np.integer]:
    """A label map (H, W) at another size; each target pixel takes the value under its centre."""
    height, width = labels.shape
    if (width, height) == (size.width, size.height):
        return labels
    rows = ((2 * np.arange(size.height) + 1) * height) // (2 * size.height)
    columns = ((2 * np.arange(size.width) + 1) * width) // (2 * size.width)
    resized: NDArray[np.integer] = labels[rows[:, None], columns[None, :]]
    return resized


def _blended(plane: NDArray[np.float32], axis: int, extent: int) -> NDArray[np.float32]:
    """The plane at another extent along one axis. ``take`` and work in place: seven times faster than indexing."""
    low, high, weight = _taps(plane.shape[axis], extent)
    first, second = plane.take(low, axis=axis), plane.take(high, axis=axis)
    second -= first
    second *= weight if axis == 1 else weight[:, None]
    second += first
    return second


def _taps(source: int, target: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """For each target pixel the two source pixels beside its centre, and the weight of the second."""
    position = (np.arange(target) + 0.5) * (source / target) - 0.5
    position = np.clip(position, 0, source - 1)
    low = np.floor(position).astype(np.intp)
    high = np.minimum(low + 1, source - 1)
    return low, high, (position - low).astype(np.float32)


def _check_preprocessing(preprocessing: Preprocessing) -> None:
    if preprocessing.channel_order not in _CHANNELS:
        raise UsageError(
            f'"{preprocessing.channel_order}" is not a channel order', do='use "RGB" or "BGR" in the pre-processing'
        )
    if 0 in (preprocessing.divisor, preprocessing.post_divisor, *preprocessing.std):
        raise UsageError("the pre-processing divides by zero", do="give a divisor and standard deviations above 0")


def _load(path: Path, *, upright: bool = True) -> Image.Image:
    """The decoded first frame, with ``format`` kept.

    Raises:
        InputFileError: as :func:`read_rgb`.
    """
    if not path.is_file():
        what = f"{path} is not a file" if path.exists() else f"{path} does not exist"
        raise InputFileError(what, do="give the path of an image file")
    try:
        with warnings.catch_warnings():
            # Pillow warns of damaged metadata, which no pixel depends on, and of oversized images, which we refuse.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                image.load()
                decoded = ImageOps.exif_transpose(image) if upright else image.copy()
                decoded.format = image.format
                return decoded
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise InputFileError(
            f"{path} has too many pixels to be read safely", why=str(error), do="give a smaller picture"
        ) from error
    except Exception as error:  # Pillow's decoders end on damaged files with almost any exception
        raise InputFileError(
            f"{path} cannot be read as an image", why=_why(path, error), do="check the file, or make it again"
        ) from error


def _why(path: Path, error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "permission denied"
    if path.stat().st_size == 0:
        return "the file is empty"
    if isinstance(error, UnidentifiedImageError):
        return "its content is of no image format that Pillow knows"
    return str(error) or type(error).__name__


def _eight_bit(image: Image.Image, path: Path) -> Image.Image:
    """A 16-bit grey image by its high byte."""
    values = np.array(image).astype(np.int64)
    if values.min() < 0 or values.max() > _LARGEST_16_BIT:
        raise InputFileError(
            f"{path} holds 32-bit values ({values.min()} to {values.max()}), not a picture",
            do="save it as an 8-bit or 16-bit image",
        )
    return Image.fromarray((values >> 8).astype(np.uint8))
