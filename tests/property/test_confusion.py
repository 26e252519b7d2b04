"""What must hold for any label maps: merging, agreement with counting by sets, bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from espdeploy.accuracy.confusion import class_tallies, confusion_matrix, scores
from espdeploy.artifacts import ClassSet

CLASSES = ClassSet(
    name="four",
    names=("a", "b", "c", "void"),
    palette=((0, 0, 0),) * 4,
    categories=("x", "y", "x", "void"),
    ignore=(3, 255),
)
truths = arrays(np.uint8, (4, 5), elements=st.sampled_from([0, 1, 2, 3, 255]))
predictions = arrays(np.uint8, (4, 5), elements=st.integers(0, 3))
pairs = st.tuples(truths, predictions)


def counts_of(pair: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    return confusion_matrix(pair[0], pair[1], CLASSES, name="x")


@given(pairs, pairs, pairs)
def test_merging_is_associative_and_equals_scoring_at_once(one, two, three) -> None:
    a, b, c = counts_of(one), counts_of(two), counts_of(three)
    assert np.array_equal((a + b) + c, a + (b + c))
    at_once = tuple(np.concatenate(maps) for maps in zip(one, two, three, strict=True))
    assert np.array_equal(a + b + c, counts_of(at_once))
    summed = sum(class_tallies(item, CLASSES) for item in (a, b, c))
    assert np.array_equal(summed, class_tallies(a + b + c, CLASSES))


@given(pairs)
def test_iou_is_intersection_over_union_of_pixel_sets(pair) -> None:
    truth, prediction = (item.ravel().tolist() for item in pair)
    scored = [place for place, value in enumerate(truth) if value < 3]
    result = scores(counts_of(pair), CLASSES)
    found = {**result.class_iou_pct, **{f"category {key}": value for key, value in result.category_iou_pct.items()}}
    groups = {"a": {0}, "b": {1}, "c": {2}, "category x": {0, 2}, "category y": {1}}
    for name, members in groups.items():
        true_pixels = {place for place in scored if truth[place] in members}
        predicted = {place for place in scored if prediction[place] in members}
        union = true_pixels | predicted
        expected = 100 * len(true_pixels & predicted) / len(union) if union else None
        assert found[name] == (None if expected is None else pytest.approx(expected))


@given(truths)
def test_a_perfect_prediction_scores_100_and_void_never_matters(truth: np.ndarray) -> None:
    prediction = np.where(truth < 3, truth, 1).astype(np.uint8)
    result = scores(counts_of((truth, prediction)), CLASSES)
    assert result.miou_pct in (None, 100.0)
    assert result.pixel_accuracy_pct in (None, 100.0)
