"""Intervals over images against closed forms, and what pairing two networks on the same images buys."""

from __future__ import annotations

import math

import numpy as np
import pytest

from espdeploy.accuracy import intervals
from espdeploy.accuracy.intervals import miou_ci95_pct, miou_drop_ci95_pct, share_ci95_pct, share_drop_ci95_pct

PIXELS = 1000


def tallies(hits: np.ndarray) -> list[np.ndarray]:
    """One class with a union of 1000 pixels in every image: the pooled IOU is the mean of the images' shares."""
    return [np.array([[int(hit)], [PIXELS]]) for hit in hits]


def test_equal_images_leave_no_width() -> None:
    same = [np.array([[3, 1], [4, 2]])] * 5
    assert miou_ci95_pct(same) == pytest.approx((62.5, 62.5))


def test_the_interval_is_that_of_a_mean() -> None:
    hits = np.random.default_rng(5).integers(300, 900, 200)
    half = 1.96 * hits.std() / math.sqrt(len(hits)) * 100 / PIXELS
    low, high = miou_ci95_pct(tallies(hits)) or (0, 0)
    mean_pct = 100 * hits.mean() / PIXELS
    assert (low, high) == pytest.approx((mean_pct - half, mean_pct + half), abs=0.3)


def test_the_interval_covers_the_true_share() -> None:
    covered = 0
    for seed in range(60):
        hits = np.random.default_rng(seed).binomial(PIXELS, 0.7, 40)
        low, high = miou_ci95_pct(tallies(hits), seed=seed) or (0, 0)
        covered += low <= 70.0 <= high
    assert 50 <= covered <= 60


def test_one_image_or_none_that_counts_has_no_interval() -> None:
    assert miou_ci95_pct(tallies(np.array([5]))) is None
    assert miou_drop_ci95_pct(tallies(np.array([5])), tallies(np.array([4]))) is None
    nothing = [np.zeros((2, 3), int)] * 4
    assert miou_ci95_pct(nothing) is None
    assert miou_drop_ci95_pct(nothing, nothing) is None


def test_it_is_repeatable_however_many_draws_are_in_memory_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    hits = tallies(np.random.default_rng(1).integers(0, PIXELS, 30))
    whole = miou_ci95_pct(hits, seed=3)
    monkeypatch.setattr(intervals, "_DRAWS_AT_ONCE", 7 * 30)
    assert miou_ci95_pct(hits, seed=3) == whole


def test_a_drop_that_every_image_shares_is_certain_however_much_the_images_differ() -> None:
    hits = np.random.default_rng(2).integers(100, PIXELS, 25)
    own, reference = tallies(hits - 20), tallies(hits)
    assert miou_drop_ci95_pct(reference, own) == pytest.approx((2.0, 2.0))
    low, high = miou_ci95_pct(reference) or (0, 0)
    assert high - low > 10  # each network alone is far less certain


def test_the_interval_of_the_drop_covers_the_true_drop() -> None:
    covered = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        hard = rng.uniform(0.3, 0.9, 40)  # images differ; the network loses 0.05 on each of them
        reference, own = rng.binomial(PIXELS, hard), rng.binomial(PIXELS, hard - 0.05)
        low, high = miou_drop_ci95_pct(tallies(reference), tallies(own), seed=seed) or (0, 0)
        covered += low <= 5.0 <= high
    assert 50 <= covered <= 60


@pytest.mark.parametrize(("hits", "total"), [(8, 10), (1, 1), (0, 10), (350, 1000)])
def test_wilsons_bounds_are_the_shares_from_which_the_observed_one_is_just_2_sigma_away(hits: int, total: int) -> None:
    interval = share_ci95_pct(hits, total)
    assert interval is not None
    for bound in interval:
        true = bound / 100
        sigma = math.sqrt(true * (1 - true) / total)
        assert abs(hits / total - true) == pytest.approx(1.959964 * sigma, abs=1e-9)
    assert interval[0] <= 100 * hits / total <= interval[1]


def test_no_cases_have_no_share() -> None:
    assert share_ci95_pct(0, 0) is None
    assert share_drop_ci95_pct(0, 0, 1) is None


def test_the_drop_of_shares_is_that_of_paired_cases() -> None:
    lost, won, total = 60, 40, 1000
    sigma = math.sqrt(lost + won - (lost - won) ** 2 / total) / total  # McNemar's pairs, by their variance
    low, high = share_drop_ci95_pct(lost, won, total) or (0, 0)
    assert (low, high) == pytest.approx((2.0 - 196 * sigma, 2.0 + 196 * sigma), abs=0.25)
    assert share_drop_ci95_pct(0, 0, 50) == (0.0, 0.0)
