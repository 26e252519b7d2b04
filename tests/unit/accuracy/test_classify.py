"""Classifiers with known answers on images in class folders: how folders become classes, and what is counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from espdeploy.accuracy.class_folders import ClassFolders, find_classed
from espdeploy.accuracy.classify import ClassEvaluation, evaluate_classes
from espdeploy.accuracy.datasets import OnBad
from espdeploy.artifacts import ClassSet, Preprocessing
from espdeploy.errors import InputFileError, ToolFailed, UsageError
from espdeploy.protocols import TensorInfo
from espdeploy.specs import ImageSize

PLAIN = Preprocessing(channel_order="RGB", divisor=1.0, mean=(0, 0, 0), std=(1, 1, 1))


def named(*names: str) -> ClassSet:
    return ClassSet(name="some", names=names, palette=((0, 0, 0),) * len(names))


SIX = named(*(f"class_{index}" for index in range(6)))


class GreyReader:
    """Answers with scores that a function makes of the first pixel's value."""

    facts = None
    card = None
    inputs = (TensorInfo(name="image", shape=(1, 3, 8, 8), dtype="float32"),)
    outputs = (TensorInfo(name="scores", shape=(1, 6), dtype="float32"),)

    def __init__(self, scores: Callable[[int], np.ndarray]) -> None:
        self._scores = scores

    def __enter__(self) -> GreyReader:
        return self

    def __exit__(self, *exc_info: object) -> None: ...

    def infer(self, feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"scores": self._scores(int(feed["image"][0, 0, 0, 0]))}

    def stepper(self, feed: Mapping[str, np.ndarray]) -> Callable[[], object]:
        return lambda: self.infer(feed)


def descending_from(value: int) -> np.ndarray:
    """The class of this number first, then the next ones, round and round."""
    scores = np.zeros((1, 6), np.float32)
    for place in range(6):
        scores[0, (value + place) % 6] = -place
    return scores


def images(folder: Path, values: dict[str, int]) -> Path:
    for name, value in values.items():
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (10, 12), value).save(path)
    return folder


def run(
    data: Path, scores: Callable[[int], np.ndarray] = descending_from, *, skip: bool = False, beside: object = None
) -> ClassEvaluation:
    stream = ClassFolders(
        find_classed(data, SIX), preprocessing=PLAIN, size=ImageSize(width=8, height=8), on_bad=OnBad(skip=skip)
    )
    reference = None if beside is None else GreyReader(beside)  # type: ignore[arg-type]
    return evaluate_classes(GreyReader(scores), stream, 6, reference=reference)


def test_top_1_and_top_5_by_hand(tmp_path: Path) -> None:
    # right; second; fourth; and the class before its own, which is the sixth guess
    images(tmp_path, {"0/a": 0, "1/b": 0, "2/c": 5, "3/d": 4})
    result = run(tmp_path)
    assert (result.images, result.top1_pct, result.top5_pct) == (4, 25.0, 75.0)
    assert result.top1_ci95_pct is not None
    assert result.top1_ci95_pct[0] < 25.0 < result.top1_ci95_pct[1]
    assert any("single crop" in note for note in result.notes)


def test_beside_a_reference(tmp_path: Path) -> None:
    images(tmp_path, {"0/a": 0, "1/b": 1, "2/c": 2, "3/d": 3})
    result = run(tmp_path, lambda value: descending_from(0 if value == 3 else value), beside=descending_from)
    assert result.reference is not None
    assert result.reference.agreement_pct == 75.0
    assert result.reference.top1_drop_pct == 25.0
    assert result.reference.top1_pct == 100.0
    assert result.reference.top1_drop_ci95_pct == (
        0.0,
        75.0,
    )  # of four images, three at most are drawn to be the bad one


def test_images_without_folders_are_compared_only(tmp_path: Path) -> None:
    images(tmp_path, {"a": 0, "b": 1})
    result = run(tmp_path, lambda _: descending_from(0), beside=descending_from)
    assert result.top1_pct is None
    assert result.top1_ci95_pct is None
    assert result.reference is not None
    assert (result.reference.agreement_pct, result.reference.top1_drop_pct) == (50.0, None)


@pytest.mark.parametrize(
    ("classes", "folders", "expected"),
    [
        (named("cat", "dog", "tree"), ["dog", "tree"], {"dog": 1, "tree": 2}),
        (named(*"abcdefghijkl"), ["2", "10", "0"], {"2": 2, "10": 10, "0": 0}),
        (named("class_0", "class_1", "class_2"), ["n02", "n01", "n11"], {"n01": 0, "n02": 1, "n11": 2}),
        (named("1", "0"), ["0", "1"], {"0": 1, "1": 0}),  # names go before numbers
    ],
)
def test_folders_become_classes(classes: ClassSet, folders: list[str], expected: dict[str, int], tmp_path) -> None:
    images(tmp_path, {f"{folder}/deeper/x": 0 for folder in folders})
    found = find_classed(tmp_path, classes)
    assert {name.partition("/")[0]: index for name, index in found.truth.items()} == expected


@pytest.mark.parametrize("folders", [["n01", "n02"], ["0", "6"], ["1", "cat"], ["-1", "0"]])
def test_folders_whose_classes_cannot_be_told(folders: list[str], tmp_path: Path) -> None:
    images(tmp_path, {f"{folder}/x": 0 for folder in folders})
    with pytest.raises(InputFileError, match="cannot be told") as caught:
        find_classed(tmp_path, SIX)
    assert folders[0] in caught.value.what
    assert "0 to 5" in caught.value.why


def test_an_image_beside_the_class_folders_is_named(tmp_path: Path) -> None:
    images(tmp_path, {"0/a": 0, "stray": 0})
    with pytest.raises(InputFileError, match=r"stray\.png"):
        find_classed(tmp_path, SIX)


def test_a_limit_takes_from_every_class(tmp_path: Path) -> None:
    images(tmp_path, {f"{folder}/{name}": 0 for folder in range(3) for name in "abcd"})
    assert set(find_classed(tmp_path, SIX, limit=3).truth.values()) == {0, 1, 2}


def test_bad_images_are_skipped_where_asked_for(tmp_path: Path) -> None:
    images(tmp_path, {"0/a": 0, "1/b": 1})
    (tmp_path / "0/bad.png").write_bytes(b"")
    with pytest.raises(InputFileError, match=r"bad\.png"):
        run(tmp_path)
    result = run(tmp_path, skip=True)
    assert (result.images, result.top1_pct) == (2, 100.0)
    assert [item.image for item in result.skipped] == [str(tmp_path / "0/bad.png")]


@pytest.mark.parametrize("shape", [(1, 6, 1, 1), (1, 6)])
def test_scores_with_empty_axes_are_scores(shape: tuple[int, ...], tmp_path: Path) -> None:
    images(tmp_path, {"0/a": 0})
    assert run(tmp_path, lambda value: descending_from(value).reshape(shape)).top1_pct == 100.0


def test_other_outputs_are_refused_with_the_image(tmp_path: Path) -> None:
    images(tmp_path, {"0/a": 0})
    for shape in ((1, 7), (6,), (2, 3), (1, 6, 2, 2)):
        with pytest.raises(UsageError, match="0/a"):
            run(tmp_path, lambda _, shape=shape: np.zeros(shape, np.float32))
    with pytest.raises(ToolFailed, match="0/a"):
        run(tmp_path, lambda _: np.full((1, 6), np.inf, np.float32))


def test_a_network_of_any_size_sees_whole_images(tmp_path: Path) -> None:
    images(tmp_path, {"0/a": 0})
    stream = ClassFolders(find_classed(tmp_path, SIX), preprocessing=PLAIN, size=None)
    assert [sample.image.shape for sample in stream] == [(1, 3, 12, 10)]
    assert any("whole" in note for note in stream.notes)
