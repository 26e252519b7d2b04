"""Scores of language models."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from espdeploy.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def negative_log_likelihood(logits: NDArray[np.floating], targets: NDArray[np.integer]) -> float:
    """What the true words cost in total, in nats; ``logits`` (T, V) before softmax, ``targets`` (T,).

    Costs of successive pieces of a text add up.

    Raises:
        UsageError: shapes that do not fit, or a word outside the vocabulary.
    """
    if logits.ndim != 2 or targets.shape != logits.shape[:1]:
        raise UsageError(f"logits (T, V) and words (T,) are needed, given were {logits.shape} and {targets.shape}")
    if targets.size and (targets.min() < 0 or targets.max() >= logits.shape[1]):
        raise UsageError(f"a word outside the vocabulary of {logits.shape[1]}: {targets.min()} to {targets.max()}")
    values = logits.astype(np.float64)
    highest = values.max(axis=1) if len(values) else np.zeros(0)
    log_total = highest + np.log(np.exp(values - highest[:, None]).sum(axis=1))
    own = values[np.arange(len(values)), targets]
    return float((log_total - own).sum())


def perplexity(nll_nats: float, words: int) -> float:
    """Word-level perplexity ``exp(cost per word)``; infinite where it is above what a float holds.

    Raises:
        UsageError: no words, or a cost that is not a number.
    """
    if words < 1 or math.isnan(nll_nats):
        raise UsageError(f"perplexity needs at least one word and a known cost, given were {words} and {nll_nats}")
    try:
        return math.exp(nll_nats / words)
    except OverflowError:
        return math.inf
