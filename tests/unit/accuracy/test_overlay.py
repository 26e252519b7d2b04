"""Colours, blending, legend and files of the pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from espdeploy.accuracy.images import read_label, read_rgb
from espdeploy.accuracy.overlay import colourise, output_paths, overlay, write_labels, write_png
from espdeploy.artifacts import ClassSet
from espdeploy.errors import MissingCapability, UsageError

ROADS = ClassSet(
    name="roads", names=("road", "car", "tree"), palette=((100, 0, 200), (0, 90, 0), (50, 60, 70)), ignore=(255,)
)


def test_colours_are_the_palettes_and_black_for_void() -> None:
    assert colourise(np.array([[0, 1, 255]], np.uint8), ROADS).tolist() == [[[100, 0, 200], [0, 90, 0], [0, 0, 0]]]


def test_blending_by_hand_leaves_void_pixels_alone() -> None:
    rgb = np.full((1, 2, 3), 200, np.uint8)
    mixed = overlay(rgb, np.array([[0, 255]], np.uint8), ROADS, alpha=0.25)
    assert mixed[0, :2].tolist() == [[175, 150, 200], [200, 200, 200]]


def test_alpha_0_is_the_image_and_alpha_1_the_colours() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (20, 300, 3), dtype=np.uint8)
    labels = np.random.default_rng(1).integers(0, 3, (20, 300)).astype(np.uint8)
    assert np.array_equal(overlay(rgb, labels, ROADS, alpha=0.0)[:20], rgb)
    assert np.array_equal(overlay(rgb, labels, ROADS, alpha=1.0)[:20], colourise(labels, ROADS))


def swatches(picture: np.ndarray, height: int) -> set[tuple[int, ...]]:
    """The palette colours that are found below the image, as areas and not as an edge's shade."""
    colours, counts = np.unique(picture[height:].reshape(-1, 3), axis=0, return_counts=True)
    found = {tuple(colour.tolist()) for colour, count in zip(colours, counts, strict=True) if count >= 100}
    return found & set(ROADS.palette)


def test_the_legend_shows_the_classes_that_occur_and_no_other() -> None:
    rgb = np.full((60, 320, 3), 255, np.uint8)
    labels = np.zeros((60, 320), np.uint8)
    labels[0, 0] = 2
    picture = overlay(rgb, labels, ROADS)
    assert picture.shape[1] == 320
    assert swatches(picture, 60) == {ROADS.palette[0], ROADS.palette[2]}


@pytest.mark.parametrize("width", [1, 31, 200, 2048])
def test_the_legend_holds_every_class_at_any_width(width: int) -> None:
    labels = np.arange(3 * width, dtype=np.uint8).reshape(3, width) % 3
    picture = overlay(np.zeros((3, width, 3), np.uint8), labels, ROADS)
    assert picture.dtype == np.uint8
    assert picture.shape[1] >= width
    assert swatches(picture, 3) == set(ROADS.palette)


@pytest.mark.parametrize("alpha", [-0.1, 1.5, float("nan")])
def test_an_impossible_alpha_is_refused(alpha: float) -> None:
    with pytest.raises(UsageError, match="alpha"):
        overlay(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.uint8), ROADS, alpha=alpha)


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(UsageError, match="holds 3"):
        colourise(np.array([[3]]), ROADS)
    with pytest.raises(UsageError, match="holds -1"):
        colourise(np.array([[-1]]), ROADS)
    with pytest.raises(UsageError, match=r"\(H, W\)"):
        colourise(np.zeros((1, 2, 2), np.uint8), ROADS)
    with pytest.raises(UsageError, match="cannot carry"):
        overlay(np.zeros((2, 3, 3), np.uint8), np.zeros((3, 2), np.uint8), ROADS)
    with pytest.raises(UsageError, match="3 classes and 1 colours"):
        colourise(np.zeros((1, 1), np.uint8), ClassSet(name="x", names=("a", "b", "c"), palette=((0, 0, 0),)))


def test_label_files_hold_indices_and_show_colours(tmp_path: Path) -> None:
    labels = np.array([[0, 1, 2], [255, 2, 0]], np.uint8)
    path = tmp_path / "new/folder/l.png"
    write_labels(path, labels, ROADS)
    assert np.array_equal(read_label(path), labels)
    assert np.array_equal(read_rgb(path), colourise(labels, ROADS))


def test_pictures_are_written_at_once(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    write_png(tmp_path / "a.png", rgb)
    assert np.array_equal(np.array(Image.open(tmp_path / "a.png")), rgb)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    with pytest.raises(MissingCapability, match="cannot write"):
        write_png(tmp_path / "a.png/b.png", rgb)


def test_equal_stems_do_not_overwrite_one_another(tmp_path: Path) -> None:
    images = [tmp_path / name for name in ("x/a.png", "y/a.jpg", "a-2.png", "z/A.png", "b.png")]
    paths = output_paths(images, tmp_path / "out")
    assert [item.overlay.name for item in paths] == [
        "a_overlay.png",
        "a-2_overlay.png",
        "a-2-2_overlay.png",
        "A-3_overlay.png",
        "b_overlay.png",
    ]
    assert [item.image for item in paths] == images
    assert len({str(path).lower() for item in paths for path in (item.overlay, item.labels)}) == 10


def test_an_output_never_replaces_an_input(tmp_path: Path) -> None:
    images = [tmp_path / "a.png", tmp_path / "a_overlay.png"]
    (first, second) = output_paths(images, tmp_path)
    assert first.overlay.name == "a-2_overlay.png"
    assert {second.overlay, second.labels}.isdisjoint(images)
