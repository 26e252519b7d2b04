"""Perplexity against closed forms and PyTorch's cross-entropy."""

from __future__ import annotations

import math

import numpy as np
import pytest

from espdeploy.accuracy.language import negative_log_likelihood, perplexity
from espdeploy.errors import UsageError


def test_a_uniform_model_is_as_perplexed_as_its_vocabulary_is_large() -> None:
    nll = negative_log_likelihood(np.full((5, 1000), 3.0), np.arange(5))
    assert perplexity(nll, 5) == pytest.approx(1000.0)


def test_cost_is_pytorchs_cross_entropy_and_adds_up_over_pieces() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    logits, targets = rng.standard_normal((7, 11)) * 50, rng.integers(0, 11, 7)
    whole = negative_log_likelihood(logits, targets)
    expected = torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(targets), reduction="sum")
    assert whole == pytest.approx(expected.item())
    pieces = negative_log_likelihood(logits[:3], targets[:3]) + negative_log_likelihood(logits[3:], targets[3:])
    assert pieces == pytest.approx(whole)


def test_extremes() -> None:
    assert perplexity(0.0, 3) == 1.0
    assert perplexity(1e9, 1) == math.inf
    assert negative_log_likelihood(np.zeros((0, 4)), np.zeros(0, dtype=int)) == 0.0
    with pytest.raises(UsageError):
        perplexity(1.0, 0)
    with pytest.raises(UsageError):
        negative_log_likelihood(np.zeros((2, 4)), np.array([0, 4]))
