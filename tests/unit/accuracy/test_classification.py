"""Top-k and multi-label F1 counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from espdeploy.accuracy.classification import decisions, multilabel_f1, top_k_pct
from espdeploy.errors import UsageError


def test_top_k_by_hand() -> None:
    scores = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])
    truth = np.array([1, 1, 0, 2])  # ranks 1, 2, 3, 3
    assert top_k_pct(scores, truth, ks=(1, 2, 3)) == {1: 25.0, 2: 50.0, 3: 100.0}


def test_ties_are_decided_as_argmax_decides_them() -> None:
    scores = np.zeros((4, 4))
    assert top_k_pct(scores, np.arange(4), ks=(1,))[1] == 25.0


def test_top_k_is_the_share_found_by_sorting() -> None:
    rng = np.random.default_rng(3)
    scores, truth = rng.standard_normal((200, 30)), rng.integers(0, 30, 200)
    best = np.argsort(-scores, axis=1)[:, :5]
    among = (best == truth[:, None]).any(axis=1)
    assert top_k_pct(scores, truth)[5] == pytest.approx(100 * among.mean())


@pytest.mark.parametrize(
    ("scores", "truth", "ks"),
    [
        (np.zeros((2, 3)), np.array([0, 3]), (1,)),
        (np.zeros((2, 3)), np.array([0, -1]), (1,)),
        (np.zeros((2, 3)), np.array([0]), (1,)),
        (np.zeros((0, 3)), np.array([], dtype=int), (1,)),
        (np.zeros((2, 3)), np.array([0, 1]), (5,)),
        (np.full((1, 3), np.nan), np.array([0]), (1,)),
    ],
)
def test_top_k_refuses_what_has_no_answer(scores, truth, ks) -> None:
    with pytest.raises(UsageError):
        top_k_pct(scores, truth, ks=ks)


def test_multilabel_f1_by_hand() -> None:
    truth = np.array([[1, 0, 1], [1, 1, 0], [0, 1, 0], [1, 0, 0]], dtype=bool)
    predicted = np.array([[1, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], dtype=bool)
    # class 0: 2 hits, 3 predicted, 3 true; class 1: 1 hit, 2 predicted, 2 true; class 2: never predicted, 1 true
    result = multilabel_f1(predicted, truth)
    assert result.cf1_pct == pytest.approx(100 * (2 / 3 + 1 / 2 + 0) / 3)
    assert result.of1_pct == pytest.approx(100 * 2 * (3 / 5) * (3 / 6) / (3 / 5 + 3 / 6))
    mean_precision, mean_recall = (2 / 3 + 1 / 2 + 0) / 3, (2 / 3 + 1 / 2 + 0) / 3
    assert result.cf1_of_means_pct == pytest.approx(
        100 * 2 * mean_precision * mean_recall / (mean_precision + mean_recall)
    )


def test_the_mean_of_the_classes_f1_is_not_the_f1_of_their_means() -> None:
    truth = np.array([[1, 1], [1, 0], [1, 0], [1, 0]], dtype=bool)
    predicted = np.array([[1, 1], [0, 1], [0, 1], [0, 1]], dtype=bool)
    # class 0: precision 1, recall 1/4; class 1: precision 1/4, recall 1
    result = multilabel_f1(predicted, truth)
    assert result.cf1_pct == pytest.approx(40.0)
    assert result.cf1_of_means_pct == pytest.approx(62.5)


def test_nothing_predicted_is_zero_and_shapes_must_fit() -> None:
    assert multilabel_f1(np.zeros((2, 2), bool), np.ones((2, 2), bool)).of1_pct == 0.0
    with pytest.raises(UsageError):
        multilabel_f1(np.zeros((2, 2), bool), np.ones((2, 3), bool))


def test_a_label_is_given_where_it_is_more_likely_than_not() -> None:
    logits = np.array([[0.01, -0.01, 0.0]])
    assert decisions(logits).tolist() == (1 / (1 + np.exp(-logits)) > 0.5).tolist() == [[True, False, False]]
    for bad in (np.array([0.1, 0.2]), np.array([[np.nan]])):
        with pytest.raises(UsageError):
            decisions(bad)
