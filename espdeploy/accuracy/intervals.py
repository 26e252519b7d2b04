"""How far a score would move with other images of the same kind: 95 % intervals over images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Counts = NDArray[np.int64]

_BOOTSTRAP_ROUNDS = 1000
_DRAWS_AT_ONCE = 4_000_000  # of the bootstrap, in memory: 32 MB however many images there are
_CI_PERCENTILES = (2.5, 97.5)
_Z_95 = 1.959964  # standard normal, two-sided 95 %


def miou_ci95_pct(per_image: Sequence[Counts], *, seed: int = 0) -> tuple[float, float] | None:
    """95 % interval of the mean IOU over images, by bootstrap.

    ``per_image`` is as :func:`espdeploy.accuracy.confusion.class_tallies` gives it. Images are drawn with replacement
    and their pixels pooled. None for fewer than two images, or where no pixel counts.
    """
    if len(per_image) < 2:
        return None
    return _between(_resampled_mious_pct(per_image, seed))


def miou_drop_ci95_pct(
    reference: Sequence[Counts], own: Sequence[Counts], *, seed: int = 0
) -> tuple[float, float] | None:
    """95 % interval of the reference's mean IOU less the network's own, in points, for the same images in both.

    Each draw of images scores both networks, so that what makes images hard for both cancels out: the interval is
    far narrower than the two networks' own intervals let suppose. None as for :func:`miou_ci95_pct`.
    """
    if len(own) < 2:
        return None
    return _between(_resampled_mious_pct(reference, seed) - _resampled_mious_pct(own, seed))


def share_ci95_pct(hits: int, total: int) -> tuple[float, float] | None:
    """95 % interval of a share ``hits / total`` of independent cases, in percent (Wilson 1927); None without cases."""
    if total < 1:
        return None
    share, z2 = hits / total, _Z_95**2
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = _Z_95 * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2)) / (1 + z2 / total)
    return 100.0 * max(0.0, centre - half), 100.0 * min(1.0, centre + half)


def share_drop_ci95_pct(lost: int, won: int, total: int, *, seed: int = 0) -> tuple[float, float] | None:
    """95 % interval of the drop ``(lost - won) / total`` between two networks on the same cases, in points.

    ``lost`` are the cases that the reference alone has right, ``won`` those that the network alone has right. By
    bootstrap over the cases; None for fewer than two.
    """
    if total < 2:
        return None
    shares = np.array([lost, won, total - lost - won]) / total
    drawn = np.random.default_rng(seed).multinomial(total, shares, size=_BOOTSTRAP_ROUNDS)
    return _between(100.0 * (drawn[:, 0] - drawn[:, 1]) / total)


def _resampled_mious_pct(per_image: Sequence[Counts], seed: int) -> NDArray[np.float64]:
    """The mean IOU of each bootstrap draw; NaN for a draw in which no pixel counts. One seed, the same draws."""
    images = len(per_image)
    tallies = np.stack(per_image).astype(np.float64)
    random = np.random.default_rng(seed)
    at_once = max(1, _DRAWS_AT_ONCE // images)
    pieces = []
    for start in range(0, _BOOTSTRAP_ROUNDS, at_once):
        rounds = min(at_once, _BOOTSTRAP_ROUNDS - start)
        drawn = random.multinomial(images, np.full(images, 1 / images), size=rounds).astype(np.float64)
        pieces.append(_mean_ious_pct(drawn @ tallies[:, 0], drawn @ tallies[:, 1]))
    return np.concatenate(pieces)


def _mean_ious_pct(hits: NDArray[np.float64], unions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean IOU over the classes that occur, for each row."""
    present = unions > 0
    ious = np.divide(hits, unions, out=np.zeros_like(hits), where=present)
    counted = present.sum(axis=1)
    means: NDArray[np.float64] = np.divide(
        100.0 * ious.sum(axis=1), counted, out=np.full(len(hits), np.nan), where=counted > 0
    )
    return means


def _between(values: NDArray[np.float64]) -> tuple[float, float] | None:
    known = values[~np.isnan(values)]
    if not known.size:
        return None
    low, high = np.percentile(known, _CI_PERCENTILES)
    return float(low), float(high)
