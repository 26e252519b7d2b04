"""Scores of hand-made label maps, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from espdeploy.accuracy.confusion import class_tallies, confusion_matrix, miou_ci95_pct, scores
from espdeploy.artifacts import ClassSet
from espdeploy.errors import InputFileError, UsageError

GREY = (9, 9, 9)
#: two animals, one plant, void
ZOO = ClassSet(
    name="zoo",
    names=("cat", "dog", "tree", "void"),
    palette=(GREY,) * 4,
    categories=("animal", "animal", "plant", "void"),
    ignore=(3, 255),
)


def matrix(truth: list[int], prediction: list[int], classes: ClassSet = ZOO) -> np.ndarray:
    return confusion_matrix(np.array([truth], np.uint8), np.array([prediction], np.uint8), classes, name="x")


def test_scores_by_hand() -> None:
    #         cat: 2 right of 3, dog: 1 right, tree predicted void once; the last two are void in truth
    counts = matrix([0, 0, 0, 1, 1, 2, 2, 3, 255], [0, 0, 1, 1, 0, 2, 3, 0, 2])
    assert counts.tolist() == [[2, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0]]
    result = scores(counts, ZOO)
    assert result.class_iou_pct == pytest.approx({"cat": 50.0, "dog": 100 / 3, "tree": 50.0})
    assert result.miou_pct == pytest.approx((50 + 100 / 3 + 50) / 3)
    assert result.pixel_accuracy_pct == pytest.approx(100 * 4 / 7)
    # a cat taken for a dog is still an animal
    assert result.category_iou_pct == pytest.approx({"animal": 100.0, "plant": 50.0})
    assert result.category_miou_pct == pytest.approx(75.0)


def test_a_void_prediction_is_a_miss_and_no_false_alarm() -> None:
    result = scores(matrix([0, 0, 1, 1], [0, 3, 1, 1]), ZOO)
    assert result.class_iou_pct == {"cat": 50.0, "dog": 100.0, "tree": None}


def test_an_absent_class_is_left_out_and_one_only_predicted_counts_as_zero() -> None:
    assert scores(matrix([0, 0], [0, 0]), ZOO).miou_pct == 100.0
    result = scores(matrix([0, 0], [0, 2]), ZOO)
    assert result.class_iou_pct == {"cat": 50.0, "dog": None, "tree": 0.0}
    assert result.miou_pct == 25.0


def test_nothing_but_void_has_no_score() -> None:
    result = scores(matrix([3, 255], [0, 1]), ZOO)
    assert result.miou_pct is None
    assert result.pixel_accuracy_pct is None
    assert result.category_miou_pct is None


def test_a_label_outside_the_classes_names_image_and_value() -> None:
    with pytest.raises(InputFileError, match="label of x holds the value 7"):
        matrix([0, 7], [0, 0])


def test_a_prediction_outside_the_classes_is_refused() -> None:
    with pytest.raises(UsageError, match="predicts class 4"):
        matrix([0, 1], [0, 4])


def test_maps_of_two_sizes_are_refused() -> None:
    with pytest.raises(UsageError, match="shape"):
        matrix([0, 1], [0])


def test_the_interval_of_equal_images_has_no_width() -> None:
    tallies = class_tallies(matrix([0, 0, 1, 2], [0, 1, 1, 2]), ZOO)
    miou_pct = scores(matrix([0, 0, 1, 2], [0, 1, 1, 2]), ZOO).miou_pct
    assert miou_ci95_pct([tallies] * 5) == pytest.approx((miou_pct, miou_pct))


def test_the_interval_covers_the_true_share() -> None:
    """One class, so mIOU is the pooled hit rate: over 60 draws the 95 % interval holds the true 70 % nearly always."""
    one = ClassSet(name="one", names=("a", "b"), palette=(GREY, GREY), ignore=(1,))
    covered = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        images = [rng.random(20) < 0.7 for _ in range(40)]
        tallies = [class_tallies(matrix([0] * 20, np.where(hit, 0, 1).tolist(), one), one) for hit in images]
        interval = miou_ci95_pct(tallies, seed=seed)
        assert interval is not None
        covered += interval[0] <= 70.0 <= interval[1]
    assert 50 <= covered <= 60


def test_one_image_has_no_interval() -> None:
    assert miou_ci95_pct([class_tallies(matrix([0], [0]), ZOO)]) is None


def test_the_interval_is_repeatable() -> None:
    tallies = [class_tallies(matrix([0, 1, 2, 2], [0, 1, 2, k]), ZOO) for k in (0, 1, 2, 2)]
    assert miou_ci95_pct(tallies, seed=3) == miou_ci95_pct(tallies, seed=3)
