"""Image files of every kind and damage; pre-processing and resizing against the authors' steps and PyTorch."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from espdeploy.accuracy.images import (
    centre_crop,
    preprocess,
    read_label,
    read_rgb,
    resize_bilinear,
    resize_nearest,
)
from espdeploy.artifacts import Preprocessing
from espdeploy.errors import InputFileError, UsageError
from espdeploy.specs import ImageSize

CAMVID = Preprocessing(
    channel_order="BGR",
    divisor=1.0,
    mean=(109.4046, 107.4245, 105.0918),
    std=(77.1555, 78.3633, 77.0293),
    post_divisor=255.0,
)
IMAGENET = Preprocessing(channel_order="RGB", divisor=255.0, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def picture(height: int = 6, width: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def test_an_rgb_png_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    rgb = picture()
    read = read_rgb(saved(tmp_path / "a.png", Image.fromarray(rgb)))
    assert read.dtype == np.uint8
    assert np.array_equal(read, rgb)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    rgb = picture()
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    read = read_rgb(saved(tmp_path / "a.png", Image.fromarray(rgb), exif=exif))
    assert np.array_equal(read, np.rot90(rgb, k=-1))


def test_transparency_is_dropped_not_blended(tmp_path: Path) -> None:
    rgb = picture()
    alpha = np.full((*rgb.shape[:2], 1), 10, dtype=np.uint8)
    read = read_rgb(saved(tmp_path / "a.png", Image.fromarray(np.concatenate([rgb, alpha], axis=2))))
    assert np.array_equal(read, rgb)


def test_a_palette_with_transparency_is_read_by_its_colours(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1], [1, 0]], dtype=np.uint8))
    image.putpalette(bytes([10, 20, 30, 200, 100, 50]))
    path = saved(tmp_path / "a.png", image, transparency=b"\x00\xff")
    assert read_rgb(path).tolist() == [[[10, 20, 30], [200, 100, 50]], [[200, 100, 50], [10, 20, 30]]]


def test_grey_is_repeated_and_16_bit_grey_keeps_its_high_byte(tmp_path: Path) -> None:
    grey = saved(tmp_path / "g.png", Image.fromarray(np.array([[0, 77]], dtype=np.uint8)))
    deep = saved(tmp_path / "d.png", Image.fromarray(np.array([[0x00FF, 0xABCD]], dtype=np.uint16)))
    assert read_rgb(grey).tolist() == [[[0, 0, 0], [77, 77, 77]]]
    assert read_rgb(deep).tolist() == [[[0, 0, 0], [0xAB, 0xAB, 0xAB]]]


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "f.tiff", Image.fromarray(np.ones((2, 2), dtype=np.float32)))
    with pytest.raises(InputFileError, match=r"f\.tiff holds floating-point"):
        read_rgb(path)


def _missing(path: Path) -> None: ...


def _folder(path: Path) -> None:
    path.mkdir()


def _text(path: Path) -> None:
    path.write_text("not a picture")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _truncated(path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(picture(64, 64)).save(stream, format="PNG")
    path.write_bytes(stream.getvalue()[:2000])


def _flipped_header(path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(picture()).save(stream, format="PNG")
    data = bytearray(stream.getvalue())
    data[20] ^= 0xFF
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("reader", [read_rgb, read_label])
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_missing, "does not exist"),
        (_folder, "is not a file"),
        (_text, "cannot be read as an image"),
        (_empty, "cannot be read as an image"),
        (_truncated, "cannot be read as an image"),
        (_flipped_header, "cannot be read as an image"),
    ],
)
def test_every_unusable_file_is_named_with_what_to_do(tmp_path: Path, reader, make, said: str) -> None:
    path = tmp_path / "bad.png"
    make(path)
    with pytest.raises(InputFileError) as caught:
        reader(path)
    assert str(path) in caught.value.what
    assert said in caught.value.what
    assert caught.value.do
    assert caught.value.exit_code == 2


def test_the_reason_of_an_empty_file_is_said(tmp_path: Path) -> None:
    _empty(tmp_path / "e.png")
    with pytest.raises(InputFileError) as caught:
        read_rgb(tmp_path / "e.png")
    assert caught.value.why == "the file is empty"


def test_a_decompression_bomb_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "bomb.png", Image.new("1", (10_000, 10_000)))
    with pytest.raises(InputFileError, match="too many pixels"):
        read_rgb(path)


def test_palette_labels_give_indices_not_colours(tmp_path: Path) -> None:
    indices = np.array([[0, 1, 11], [255, 3, 2]], dtype=np.uint8)
    image = Image.fromarray(indices)
    image.putpalette(bytes(range(256)) * 3)
    label = read_label(saved(tmp_path / "l.png", image))
    assert label.dtype == np.uint8
    assert np.array_equal(label, indices)


def test_16_bit_labels_keep_values_above_255(tmp_path: Path) -> None:
    label = read_label(saved(tmp_path / "l.png", Image.fromarray(np.array([[5, 26001]], dtype=np.uint16))))
    assert label.tolist() == [[5, 26001]]


def test_a_colour_picture_is_no_label(tmp_path: Path) -> None:
    path = saved(tmp_path / "gtFine_color.png", Image.fromarray(picture()))
    with pytest.raises(InputFileError, match="colour picture"):
        read_label(path)


def test_a_jpeg_is_no_label(tmp_path: Path) -> None:
    path = saved(tmp_path / "l.jpg", Image.fromarray(picture()[:, :, 0]))
    with pytest.raises(InputFileError, match="JPEG"):
        read_label(path)


def test_preprocessing_is_bit_for_bit_that_of_the_authors_at_native_size() -> None:
    rgb = picture(12, 10)
    expected = rgb[:, :, ::-1].astype(np.float32)
    for channel in range(3):
        expected[:, :, channel] -= CAMVID.mean[channel]
    for channel in range(3):
        expected[:, :, channel] /= CAMVID.std[channel]
    expected /= 255
    result = preprocess(rgb, CAMVID, ImageSize(width=10, height=12))
    assert result.dtype == np.float32
    assert np.array_equal(result, expected.transpose(2, 0, 1)[None])


def test_preprocessing_of_one_pixel_by_hand() -> None:
    rgb = np.array([[[255, 0, 51]]], dtype=np.uint8)
    result = preprocess(rgb, IMAGENET, ImageSize(width=1, height=1))
    assert result.ravel() == pytest.approx([(1 - 0.485) / 0.229, -0.456 / 0.224, (0.2 - 0.406) / 0.225], abs=1e-6)


@pytest.mark.parametrize("size", [(16, 12), (4, 3), (5, 11), (1, 1), (8, 13)])
def test_bilinear_resize_is_that_of_pytorch(size: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    plane = picture()[:, :, 0].astype(np.float32)
    result = resize_bilinear(plane, ImageSize(width=size[0], height=size[1]))
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(plane)[None, None], size=(size[1], size[0]), mode="bilinear", align_corners=False
    )
    assert np.allclose(result, expected[0, 0].numpy(), atol=1e-3)


def test_halving_averages_four_pixels() -> None:
    plane = np.array([[0, 4, 8, 8], [4, 8, 0, 0]], dtype=np.float32)
    assert resize_bilinear(plane, ImageSize(width=2, height=1)).tolist() == [[4.0, 4.0]]


@pytest.mark.parametrize("size", [(16, 12), (4, 3), (5, 11), (1, 1)])
def test_nearest_resize_is_that_of_pytorch(size: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    labels = picture()[:, :, 0]
    result = resize_nearest(labels, ImageSize(width=size[0], height=size[1]))
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(labels)[None, None].float(), size=(size[1], size[0]), mode="nearest-exact"
    )
    assert np.array_equal(result, expected[0, 0].numpy())


@pytest.mark.parametrize(
    "settings",
    [
        Preprocessing(channel_order="GBR", divisor=1.0, mean=(0, 0, 0), std=(1, 1, 1)),
        Preprocessing(channel_order="RGB", divisor=0.0, mean=(0, 0, 0), std=(1, 1, 1)),
        Preprocessing(channel_order="RGB", divisor=1.0, mean=(0, 0, 0), std=(1, 0, 1)),
    ],
)
def test_impossible_preprocessing_is_refused(settings: Preprocessing) -> None:
    with pytest.raises(UsageError):
        preprocess(picture(), settings, ImageSize(width=8, height=6))


def test_the_crop_of_an_image_that_just_covers_is_cut_without_scaling() -> None:
    rgb = picture(256, 300)
    assert np.array_equal(centre_crop(rgb, ImageSize(width=224, height=224)), rgb[16:240, 38:262])


@pytest.mark.parametrize(("height", "width"), [(375, 500), (640, 426), (90, 120), (256, 256)])
@pytest.mark.parametrize("size", [ImageSize(width=224, height=224), ImageSize(width=160, height=96)])
def test_the_crop_is_that_of_pytorchs_smoothed_resize(height: int, width: int, size: ImageSize) -> None:
    torch = pytest.importorskip("torch")
    rgb = picture(height, width)
    scale = max(int(size.width / 0.875) / width, int(size.height / 0.875) / height)
    scaled = (int(height * scale + 1e-6), int(width * scale + 1e-6))
    whole = torch.nn.functional.interpolate(
        torch.from_numpy(rgb).permute(2, 0, 1)[None].float(), size=scaled, mode="bilinear", antialias=True
    )[0]
    top, left = round((scaled[0] - size.height) / 2), round((scaled[1] - size.width) / 2)
    expected = whole[:, top : top + size.height, left : left + size.width].permute(1, 2, 0).numpy()
    found = centre_crop(rgb, size)
    assert found.shape == (size.height, size.width, 3)
    assert np.abs(found - expected).max() <= 1.5  # Pillow rounds to whole levels after each axis
