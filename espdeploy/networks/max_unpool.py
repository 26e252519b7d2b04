"""2x2 max-pooling that remembers where its winners stood, and the unpooling that puts values back there.

``torch.nn.MaxUnpool2d`` takes flat indices, which no exporter writes and TensorRT does not read. Here the place of a
winner is three truth values of each window, found by comparing its four values, and unpooling is a choice between the
value and zero for each of the four places: comparisons, Where and DepthToSpace, which every opset from 11 on and
TensorRT have. The results are those of ``MaxPool2d(2, return_indices=True)`` and ``MaxUnpool2d(2)``.

Importing this module loads PyTorch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # PyTorch's own abbreviation


class Winners(NamedTuple):
    """Where the greatest value of each 2x2 window stands; of equal ones the first, row by row, as in ``MaxPool2d``.

    Truth values of shape (N, C, H / 2, W / 2).
    """

    below: Tensor  # in the lower row
    right_above: Tensor  # the right one wins within the upper row
    right_below: Tensor  # the right one wins within the lower row


class MaxPoolWithWinners(nn.Module):
    """2x2 max-pooling of stride 2. Values must not be NaN."""

    def forward(self, x: Tensor) -> tuple[Tensor, Winners]:
        """Shapes: (N, C, H, W) with even H and W -> (N, C, H / 2, W / 2) and its winners."""
        above, below = x[:, :, 0::2], x[:, :, 1::2]
        above_left, above_right = above[..., 0::2], above[..., 1::2]
        below_left, below_right = below[..., 0::2], below[..., 1::2]
        above_max = torch.maximum(above_left, above_right)
        below_max = torch.maximum(below_left, below_right)
        # greater, not greater or equal: the earlier place keeps what is equal
        winners = Winners(
            below=below_max > above_max, right_above=above_right > above_left, right_below=below_right > below_left
        )
        return torch.maximum(above_max, below_max), winners


class MaxUnpool(nn.Module):
    """The reverse: each value to its winner's place, zeros elsewhere."""

    def forward(self, x: Tensor, winners: Winners) -> Tensor:
        """Shapes: (N, C, H, W) and winners of the same shape -> (N, C, 2 * H, 2 * W)."""
        zero = torch.zeros((), dtype=x.dtype, device=x.device)
        above = torch.where(winners.below, zero, x)
        below = torch.where(winners.below, x, zero)
        places = [
            torch.where(winners.right_above, zero, above),
            torch.where(winners.right_above, above, zero),
            torch.where(winners.right_below, zero, below),
            torch.where(winners.right_below, below, zero),
        ]
        # DepthToSpace wants the four places of a channel next to each other
        _, channels, height, width = x.shape
        return F.pixel_shuffle(torch.stack(places, 2).reshape(-1, 4 * channels, height, width), 2)
