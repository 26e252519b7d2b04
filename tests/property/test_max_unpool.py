"""Max-unpooling without indices is PyTorch's, whatever the values, shapes and ties."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import nn

from espdeploy.networks.max_unpool import MaxPoolWithWinners, MaxUnpool

HALVES = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 6), st.integers(1, 6))
#: few values: nearly every window holds a tie
FEW = st.sampled_from([-1.0, -0.0, 0.0, 1.0])
WIDE = st.floats(-1e6, 1e6, width=32)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """What is pooled, and what is put back: (N, C, 2 H, 2 W) and (N, C, H, W)."""
    images, channels, height, width = draw(HALVES)
    elements = draw(st.sampled_from([FEW, st.integers(-3, 3).map(float), WIDE]))
    pooled = draw(arrays.arrays(np.float32, (images, channels, 2 * height, 2 * width), elements=elements))
    values = draw(arrays.arrays(np.float32, (images, channels, height, width), elements=WIDE))
    return pooled, values


@given(pairs())
@settings(max_examples=150, deadline=None)
def test_it_is_pytorchs(pair: tuple[np.ndarray, np.ndarray]) -> None:
    x, values = map(torch.from_numpy, pair)
    expected, indices = nn.MaxPool2d(2, return_indices=True)(x)
    pooled, winners = MaxPoolWithWinners()(x)
    assert torch.equal(pooled, expected)
    assert torch.equal(MaxUnpool()(values, winners), nn.MaxUnpool2d(2)(values, indices))


@given(pairs())
@settings(max_examples=50, deadline=None)
def test_pooling_what_was_unpooled_gives_positive_values_back(pair: tuple[np.ndarray, np.ndarray]) -> None:
    x, values = map(torch.from_numpy, pair)
    positive = values.abs()
    _, winners = MaxPoolWithWinners()(x)
    again, _ = MaxPoolWithWinners()(MaxUnpool()(positive, winners))
    assert torch.equal(again, positive)
