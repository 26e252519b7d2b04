"""Pairing of images and labels over the known layouts, and every way in which they fail to match."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from espdeploy.accuracy.datasets import ImageFolder, OnBad, find_pairs, spread
from espdeploy.artifacts import Preprocessing
from espdeploy.errors import InputFileError, UsageError
from espdeploy.specs import ImageSize

PLAIN = Preprocessing(channel_order="RGB", divisor=1.0, mean=(0, 0, 0), std=(1, 1, 1))


def image(path: Path, size: tuple[int, int] = (4, 2), value: int = 7) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)
    return path


def label(path: Path, value: int = 0, size: tuple[int, int] = (4, 2)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).save(path)
    return path


def test_a_plain_folder_is_read_recursively_in_order_of_names(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "sub/c.png", ".hidden.png", ".cache/d.png"):
        image(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    pairs = find_pairs(tmp_path)
    assert [pair.name for pair in pairs] == ["a", "b", "sub/c"]
    assert all(pair.label is None for pair in pairs)


def test_one_image_file_stands_for_itself(tmp_path: Path) -> None:
    path = image(tmp_path / "one.png")
    assert [(pair.name, pair.image) for pair in find_pairs(path)] == [("one", path)]


def test_labels_pair_by_name_whatever_the_suffix(tmp_path: Path) -> None:
    image(tmp_path / "val/a.jpg")
    image(tmp_path / "val/b.jpg")
    b = label(tmp_path / "valannot/b.png")
    a = label(tmp_path / "valannot/a.png")
    assert [pair.label for pair in find_pairs(tmp_path / "val", tmp_path / "valannot")] == [a, b]


def test_labels_below_the_images_are_not_taken_for_images(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    label(tmp_path / "labels/a.png")
    assert [pair.name for pair in find_pairs(tmp_path, tmp_path / "labels")] == ["a"]


def test_the_root_of_camvid_stands_for_its_validation_part(tmp_path: Path) -> None:
    for part in ("train", "val"):
        image(tmp_path / part / f"{part}1.png")
        label(tmp_path / f"{part}annot" / f"{part}1.png")
    assert [(pair.name, pair.label) for pair in find_pairs(tmp_path)] == [("val1", tmp_path / "valannot/val1.png")]


def cityscapes(root: Path, *kinds: str) -> None:
    for city, frame in (("ulm", "ulm_000001_000019"), ("bonn", "bonn_000000_000019")):
        image(root / f"leftImg8bit/val/{city}/{frame}_leftImg8bit.png")
        for kind in kinds:
            label(root / f"gtFine/val/{city}/{frame}_gtFine_{kind}.png", value=7)


def test_cityscapes_prefers_train_ids(tmp_path: Path) -> None:
    cityscapes(tmp_path, "labelIds", "labelTrainIds", "instanceIds")
    pairs = find_pairs(tmp_path / "leftImg8bit/val", tmp_path / "gtFine/val")
    assert [pair.name for pair in pairs] == ["bonn/bonn_000000_000019", "ulm/ulm_000001_000019"]
    assert all(pair.label is not None and pair.label.stem.endswith("labelTrainIds") for pair in pairs)
    assert not any(pair.cityscapes_ids for pair in pairs)
    assert find_pairs(tmp_path) == pairs


def test_cityscapes_label_ids_become_train_ids(tmp_path: Path) -> None:
    cityscapes(tmp_path, "labelIds")
    pairs = find_pairs(tmp_path)
    every_id = np.arange(34, dtype=np.uint8)[None].repeat(17, axis=0)
    Image.fromarray(every_id).save(pairs[0].label)
    Image.new("RGB", (34, 17)).save(pairs[0].image)
    sample = next(iter(ImageFolder(pairs, preprocessing=PLAIN, size=None)))
    # the data set's published table: road 7, sidewalk 8, building 11, ..., bicycle 33
    trained = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13}
    trained |= {27: 14, 28: 15, 31: 16, 32: 17, 33: 18}
    assert sample.label is not None
    assert sample.label[0].tolist() == [trained.get(value, 255) for value in range(34)]


def test_cityscapes_without_class_files_says_which_are_needed(tmp_path: Path) -> None:
    cityscapes(tmp_path, "color", "instanceIds")
    with pytest.raises(InputFileError, match="color, instanceIds only"):
        find_pairs(tmp_path)


def test_labels_in_other_folders_pair_by_file_name(tmp_path: Path) -> None:
    image(tmp_path / "images/x/a.png")
    image(tmp_path / "images/y/b.png")
    label(tmp_path / "labels/b.png")
    label(tmp_path / "labels/a.png")
    pairs = find_pairs(tmp_path / "images", tmp_path / "labels")
    assert [(pair.name, pair.label.name) for pair in pairs if pair.label] == [("a", "a.png"), ("b", "b.png")]


def folders(tmp_path: Path, images: str, labels: str) -> tuple[Path, Path]:
    (tmp_path / "i").mkdir()
    (tmp_path / "l").mkdir()
    for name in images:
        image(tmp_path / f"i/{name}.png")
    for name in labels:
        label(tmp_path / f"l/{name}.png")
    return tmp_path / "i", tmp_path / "l"


@pytest.mark.parametrize(
    ("images", "labels", "what", "why"),
    [
        ("abcde", "xy", "none of the 5 images", "images without: a, b, c and 2 more; labels without: x, y"),
        ("abc", "a", "2 of the 3 images", "images without: b, c"),
        ("ab", "abxyz", "3 of the 5 labels", "labels without: x, y, z"),
    ],
)
def test_a_mismatch_gives_counts_and_first_names(tmp_path: Path, images: str, labels: str, what: str, why: str) -> None:
    data, annotation = folders(tmp_path, images, labels)
    with pytest.raises(InputFileError) as caught:
        find_pairs(data, annotation)
    assert what in caught.value.what
    assert str(data) in caught.value.what
    assert str(annotation) in caught.value.what
    assert caught.value.why == why


def test_folders_without_images_are_refused(tmp_path: Path) -> None:
    data, annotation = folders(tmp_path, "a", "")
    (annotation / "readme.txt").write_text("")
    with pytest.raises(InputFileError, match="no images in"):
        find_pairs(annotation)
    with pytest.raises(InputFileError, match="none of the 1 images"):
        find_pairs(data, annotation)
    with pytest.raises(InputFileError, match="does not exist"):
        find_pairs(tmp_path / "nowhere")
    with pytest.raises(InputFileError, match="does not exist"):
        find_pairs(data, tmp_path / "nowhere")


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    image(tmp_path / "a.jpg")
    with pytest.raises(InputFileError) as caught:
        find_pairs(tmp_path)
    assert str(tmp_path / "a.png") in caught.value.what
    assert str(tmp_path / "a.jpg") in caught.value.what


def test_same_stems_in_other_folders_are_fine_until_labels_cannot_tell_them_apart(tmp_path: Path) -> None:
    image(tmp_path / "i/x/1.png")
    image(tmp_path / "i/y/1.png")
    label(tmp_path / "l/1.png")
    assert [pair.name for pair in find_pairs(tmp_path / "i")] == ["x/1", "y/1"]
    with pytest.raises(InputFileError, match='two files have the name "1"'):
        find_pairs(tmp_path / "i", tmp_path / "l")


def test_the_stream_can_be_repeated_and_resizes_images_but_not_labels(tmp_path: Path) -> None:
    image(tmp_path / "i/a.png", size=(8, 4), value=9)
    label(tmp_path / "l/a.png", value=3, size=(4, 2))
    folder = ImageFolder(
        find_pairs(tmp_path / "i", tmp_path / "l"), preprocessing=PLAIN, size=ImageSize(width=6, height=2)
    )
    assert len(folder) == 1
    for _ in range(2):
        (sample,) = folder
        assert sample.image.shape == (1, 3, 2, 6)
        assert np.all(sample.image == 9.0)
        assert sample.label is not None
        assert sample.label.shape == (2, 4)


def test_a_label_of_another_shape_is_named(tmp_path: Path) -> None:
    image(tmp_path / "i/a.png", size=(8, 4))
    wrong = label(tmp_path / "l/a.png", size=(4, 4))
    folder = ImageFolder(find_pairs(tmp_path / "i", tmp_path / "l"), preprocessing=PLAIN, size=None)
    with pytest.raises(InputFileError, match=str(wrong)):
        list(folder)


def test_spread_takes_from_every_part(tmp_path: Path) -> None:
    data, _ = folders(tmp_path, "abcdefghij", "")
    pairs = find_pairs(data)
    assert [pair.name for pair in spread(pairs, 5)] == list("acegi")
    assert spread(pairs, None) == spread(pairs, 99) == pairs
    with pytest.raises(UsageError):
        spread(pairs, 0)


@pytest.mark.data
def test_camvid_pairs_completely(data_dir: Path) -> None:
    root = data_dir / "data/camvid"
    assert len(find_pairs(root / "val", root / "valannot")) == 51
    assert len(find_pairs(root / "train", root / "trainannot")) == 25
    with pytest.raises(InputFileError, match="none of the 51 images"):
        find_pairs(root / "val", root / "trainannot")


def damaged(tmp_path: Path) -> tuple[Path, Path]:
    data, annotation = folders(tmp_path, "abcd", "abcd")
    (data / "b.png").write_bytes(b"no image")
    label(annotation / "c.png", size=(4, 4))
    return data, annotation


def test_a_bad_image_ends_the_stream_with_the_advice_of_the_command(tmp_path: Path) -> None:
    data, annotation = damaged(tmp_path)
    pairs = find_pairs(data, annotation)
    stream = iter(ImageFolder(pairs, preprocessing=PLAIN, size=None, on_bad=OnBad(advice="or skip it")))
    assert next(stream).name == "a"
    with pytest.raises(InputFileError, match=str(data / "b.png")) as caught:
        next(stream)
    assert caught.value.do.endswith("; or skip it")


def test_bad_images_are_skipped_where_that_is_asked_for_and_every_pass_says_which(tmp_path: Path) -> None:
    data, annotation = damaged(tmp_path)
    images = ImageFolder(find_pairs(data, annotation), preprocessing=PLAIN, size=None, on_bad=OnBad(skip=True))
    for _ in range(2):
        assert [sample.name for sample in images] == ["a", "d"]
        assert [item.image for item in images.skipped] == [str(data / "b.png"), str(data / "c.png")]
    unreadable, unfitting = images.skipped
    assert "no image format" in unreadable.why
    assert "4x4" in unfitting.why


def test_skipping_leaves_at_least_one_image(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(b"")
    images = ImageFolder(find_pairs(tmp_path), preprocessing=PLAIN, size=None, on_bad=OnBad(skip=True))
    with pytest.raises(InputFileError, match="none of the 2 images") as caught:
        list(images)
    assert "a.png" in caught.value.why
