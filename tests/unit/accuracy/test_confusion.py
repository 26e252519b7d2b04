"""Scores of hand-made label maps, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from espdeploy.accuracy.confusion import confusion_matrix, scores
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


def test_several_values_outside_the_classes_are_listed_and_counted() -> None:
    with pytest.raises(InputFileError) as caught:
        matrix([0, *range(50, 57), 50], [0] * 9)
    assert "values 50, 51, 52, 53, 54 and 2 more" in caught.value.what
    assert "8 pixels" in caught.value.why


def test_a_prediction_outside_the_classes_is_refused() -> None:
    with pytest.raises(UsageError, match="predicts class 4"):
        matrix([0, 1], [0, 4])


def test_maps_of_two_sizes_are_refused() -> None:
    with pytest.raises(UsageError, match="shape"):
        matrix([0, 1], [0])
