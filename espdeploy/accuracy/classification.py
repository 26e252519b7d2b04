"""Scores of classification: top-k accuracy, and F1 where an image has several labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from espdeploy.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class MultiLabelF1:
    """F1 over images with several labels each, in percent.

    ``cf1_pct`` is the mean of the classes' own F1 and ``of1_pct`` the F1 of all decisions taken together: the
    class-wise and overall F1 of ESPNetv2's figure 6, as its authors' evaluation computes them. Other papers call the
    harmonic mean of the class-wise mean precision and mean recall class-wise F1: that is ``cf1_of_means_pct``.
    """

    cf1_pct: float
    of1_pct: float
    cf1_of_means_pct: float


def top_k_pct(scores: NDArray[np.floating], truth: NDArray[np.integer], ks: Sequence[int] = (1, 5)) -> dict[int, float]:
    """Share of images whose true class is among the ``k`` highest scores, in percent, for each ``k``.

    Arguments and ties as for :func:`true_ranks`.

    Raises:
        UsageError: as :func:`true_ranks`; no images, or a ``k`` outside 1..C.
    """
    ranks = true_ranks(scores, truth)
    if not ranks.size:
        raise UsageError("top-k needs at least one image")
    if any(not 1 <= k <= scores.shape[1] for k in ks):
        raise UsageError(f"top-k needs k from 1 to {scores.shape[1]}, asked were {', '.join(map(str, ks))}")
    return {k: 100.0 * float(np.mean(ranks < k)) for k in ks}


def true_ranks(scores: NDArray[np.floating], truth: NDArray[np.integer]) -> NDArray[np.intp]:
    """How many classes stand before the true one, for each image: 0 where it has the highest score.

    ``scores`` has shape (N, C), ``truth`` (N,). A class that ties with the true one counts as ahead of it when its
    index is lower, as ``argmax`` decides.

    Raises:
        UsageError: shapes that do not fit, a class outside 0..C-1, or NaN scores.
    """
    if scores.ndim != 2 or truth.shape != scores.shape[:1]:
        raise UsageError(f"scores (N, C) and classes (N,) are needed, given were {scores.shape} and {truth.shape}")
    count = scores.shape[1]
    if truth.size and not 0 <= truth.min() <= truth.max() < count:
        raise UsageError(f"true classes go from {truth.min()} to {truth.max()}, the scores have {count} classes")
    if np.isnan(scores).any():
        raise UsageError("the scores hold NaN")
    own = np.take_along_axis(scores, truth[:, None].astype(np.intp), axis=1)
    tied_ahead = (scores == own) & (np.arange(count)[None, :] < truth[:, None])
    return np.asarray(np.count_nonzero((scores > own) | tied_ahead, axis=1), dtype=np.intp)


def decisions(logits: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which labels a multi-label network gives, (N, C): those it holds more likely than not, its logit above 0.

    Raises:
        UsageError: NaN logits, or another shape.
    """
    if logits.ndim != 2 or np.isnan(logits).any():
        raise UsageError(f"logits (N, C) without NaN are needed, given was an array of shape {logits.shape}")
    return np.asarray(logits > 0, dtype=np.bool_)


def multilabel_f1(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> MultiLabelF1:
    """Class-wise and overall F1 of decisions (N, C) against labels (N, C).

    A class without a hit has F1 0 and is in the mean, even where it neither occurs nor is predicted: on MS-COCO's
    validation set every class occurs.

    Raises:
        UsageError: shapes that do not fit, or no images.
    """
    if predicted.ndim != 2 or predicted.shape != truth.shape or not predicted.size:
        raise UsageError(f"two arrays (N, C) are needed, given were {predicted.shape} and {truth.shape}")
    chosen, present = predicted.astype(bool), truth.astype(bool)
    hits = (chosen & present).sum(axis=0)
    precision = _ratio(hits, chosen.sum(axis=0))
    recall = _ratio(hits, present.sum(axis=0))
    overall_precision = _ratio(hits.sum(), chosen.sum())
    overall_recall = _ratio(hits.sum(), present.sum())
    return MultiLabelF1(
        cf1_pct=100.0 * float(_harmonic(precision, recall).mean()),
        of1_pct=100.0 * float(_harmonic(overall_precision, overall_recall)),
        cf1_of_means_pct=100.0 * float(_harmonic(precision.mean(), recall.mean())),
    )


def _ratio(part: NDArray[np.integer], whole: NDArray[np.integer]) -> NDArray[np.float64]:
    part, whole = np.asarray(part), np.asarray(whole)
    shares: NDArray[np.float64] = np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)
    return shares


def _harmonic(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    total = np.asarray(first + second)
    return np.divide(2 * first * second, total, out=np.zeros(total.shape), where=total > 0)
