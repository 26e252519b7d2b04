"""Feeds for language models, and class axes that differ from output to output."""

from __future__ import annotations

import numpy as np

from espdeploy import parity
from espdeploy.protocols import TensorInfo

INPUTS = (
    TensorInfo(name="tokens", shape=("batch", 500), dtype="int64"),
    TensorInfo(name="h", shape=(3, "batch", 8), dtype="float32"),
)


def test_words_are_in_the_vocabulary_and_common_ones_common() -> None:
    first, second = parity.real_looking_texts(INPUTS, words=1000, count=2, seed=0, batch=4)
    for feed in (first, second):
        assert (feed["tokens"].shape, feed["tokens"].dtype) == ((4, 500), np.int64)
        assert (feed["h"].shape, feed["h"].dtype) == ((3, 4, 8), np.float32)
        assert 0 <= feed["tokens"].min() <= feed["tokens"].max() < 1000
        # Zipf: of 1000 words the ten commonest make sum(1/1..1/10) / sum(1/1..1/1000) = 39 % of a text
        assert 0.34 < (feed["tokens"] < 10).mean() < 0.44
    assert not first["h"].any()
    assert second["h"].any()
    assert np.abs(second["h"]).max() <= 1


def test_the_same_seed_gives_the_same_texts() -> None:
    once, again, other = (parity.real_looking_texts(INPUTS, words=50, count=2, seed=s)[1] for s in (1, 1, 2))
    for name in once:
        np.testing.assert_array_equal(once[name], again[name])
        assert not np.array_equal(once[name], other[name])


def test_each_output_may_have_its_own_class_axis() -> None:
    scores = np.zeros((1, 4, 3), np.float32)  # (N, T, words)
    scores[0, :, 1] = 1
    changed = scores.copy()
    changed[0, 2, 1], changed[0, 2, 0] = 0, 1  # another word wins at one of four places
    state = np.array([[[0.0, 1.0]]], np.float32)
    swapped = state[..., ::-1].copy()
    found = parity.compare(lambda _: [scores, state], lambda _: [changed, swapped], [scores], class_axis=[2, None])
    assert found.argmax_agreement_pct == 75.0
    assert found.max_abs_err == 1.0
