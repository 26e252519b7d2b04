"""Adaptive average pooling against PyTorch's own, and its sums by hand."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from espdeploy.networks.adaptive_pooling import adaptive_average


@pytest.mark.parametrize(
    ("given", "size"),
    [
        ((12, 8), (6, 2)),  # whole windows
        ((12, 24), (8, 16)),  # three to two
        ((9, 12), (6, 3)),  # three to two and whole windows
        ((64, 50), (7, 5)),  # windows of two lengths, and whole ones
        ((7, 11), (5, 7)),
        ((1, 2), (5, 5)),  # more outputs than inputs
        ((5, 5), (5, 5)),
        ((5, 8), (1, 1)),
    ],
)
def test_it_is_pytorchs_own(given: tuple[int, int], size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *given)
    torch.testing.assert_close(adaptive_average(x, size), functional.adaptive_avg_pool2d(x, size))


def test_windows_overlap_where_they_share_an_input() -> None:
    x = torch.tensor([[[[0.0, 10.0, 20.0, 30.0, 40.0]]]])
    assert adaptive_average(x, (1, 3)).flatten().tolist() == [5.0, 20.0, 35.0]
