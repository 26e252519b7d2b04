"""Building blocks of ESPNetv2 (paper sections 3.1 to 3.3, Figures 1c and 2).

The order of layers and the names of what is learned are those that the released checkpoints hold; the authors'
outputs confirm them. Importing this module loads PyTorch.
"""

from __future__ import annotations

from itertools import accumulate

import torch
from torch import Tensor, nn

IMAGE_CHANNELS = 3
#: branches of the pyramid, and groups of every grouped point-wise convolution ("g = K", section 3.3)
BRANCHES = 4
#: side of the branches' effective kernels where nothing limits them
_REACHES = tuple(range(3, 3 + 2 * BRANCHES, 2))


class NormAct(nn.Module):
    """Batch normalisation and a PReLU with one slope per channel; PyTorch's own epsilon, unlike ESPNet's."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.act = nn.PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, C, H, W) -> the same."""
        return self.act(self.norm(x))


class ConvNorm(nn.Module):
    """A point-wise convolution without bias, and batch normalisation."""

    def __init__(self, in_channels: int, out_channels: int, *, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, M, H, W) -> (N, N', H, W)."""
        return self.norm(self.conv(x))


class ConvNormAct(nn.Module):
    """A convolution without bias that keeps the size (or divides it by its stride), normalisation and PReLU."""

    def __init__(self, in_channels: int, out_channels: int, size: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, size, stride=stride, padding=size // 2, groups=groups, bias=False
        )
        self.norm = nn.BatchNorm2d(out_channels)
        self.act = nn.PReLU(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, M, H, W) -> (N, N', ceil(H / stride), ceil(W / stride))."""
        return self.act(self.norm(self.conv(x)))


def dilations(reach: int) -> tuple[int, ...]:
    """The branches' dilations where no kernel may see more than ``reach`` pixels a side (section 3.3).

    Undilated, the branches would see 3, 5, 7 and 9 pixels; one that would see more than ``reach`` sees 3. They are
    sorted, so that fusion goes from the narrowest to the widest.
    """
    return tuple(sorted((side - 1) // 2 if side <= reach else 1 for side in _REACHES))


class DepthwisePyramid(nn.Module):
    """Parallel depth-wise 3x3 convolutions with different dilations, fused and concatenated.

    Args:
        channels: of the input, and of each branch.
        reach: the limit on the effective kernels, in pixels a side.
        stride: 2 halves the size.
        hff: hierarchical feature fusion: each branch is added to the sum of those before it.
    """

    def __init__(self, channels: int, *, reach: int, stride: int, hff: bool) -> None:
        super().__init__()
        self.hff = hff
        self.branches = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, stride=stride, padding=rate, dilation=rate, groups=channels, bias=False)
            for rate in dilations(reach)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, d, H, W) -> (N, 4 d, ceil(H / stride), ceil(W / stride))."""
        maps = [branch(x) for branch in self.branches]
        return torch.cat(list(accumulate(maps)) if self.hff else maps, 1)


class EESP(nn.Module):
    """The EESP unit (Figure 1c): grouped reduction, depth-wise dilated pyramid, grouped expansion, residual sum.

    Args:
        in_channels: of the input; it is added to the result where the shapes agree.
        out_channels: of the output; both must be multiples of 4.
        reach: the limit on the effective kernels, in pixels a side.
        stride: 2 makes the branch of the strided unit, which ends with its normalisation.
        hff: hierarchical feature fusion (Table 4).
        grouped: whether the reduction is grouped (Table 5 studies the plain one).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        reach: int,
        stride: int = 1,
        hff: bool = True,
        grouped: bool = True,
    ) -> None:
        super().__init__()
        narrow = out_channels // BRANCHES
        self.reduce = ConvNormAct(in_channels, narrow, 1, groups=BRANCHES if grouped else 1)
        self.pyramid = DepthwisePyramid(narrow, reach=reach, stride=stride, hff=hff)
        self.merge = NormAct(out_channels)
        self.expand = ConvNorm(out_channels, out_channels, groups=BRANCHES)
        # the authors' strided units hold this activation without using it; files and printed counts include it
        self.act = nn.PReLU(out_channels)
        self.strided = stride > 1
        self.residual = in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, M, H, W) -> (N, N', ceil(H / stride), ceil(W / stride))."""
        expanded = self.expand(self.merge(self.pyramid(self.reduce(x))))
        if self.strided:
            return expanded
        return self.act(expanded + x if self.residual else expanded)


class HalfSize(nn.Module):
    """3x3 average pooling of stride 2; the border counts as zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, C, H, W) -> (N, C, ceil(H / 2), ceil(W / 2))."""
        return self.pool(x)


class ImageShortcut(nn.Module):
    """The long-range shortcut's two convolutions: 3x3 on the small image, point-wise to the unit's channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.spatial = ConvNormAct(IMAGE_CHANNELS, IMAGE_CHANNELS, 3)
        self.project = ConvNorm(IMAGE_CHANNELS, channels)

    def forward(self, image: Tensor) -> Tensor:
        """Shapes: (N, 3, H, W) -> (N, C, H, W)."""
        return self.project(self.spatial(image))


class StridedEESP(nn.Module):
    """The strided EESP unit (Figure 2): pooled input beside a strided EESP unit, plus what the image adds.

    Args:
        in_channels: of the input.
        out_channels: of the output, more than ``in_channels``: the unit makes what the pooled input lacks.
        reach: the limit on the effective kernels, in pixels a side.
        hff: hierarchical feature fusion.
        grouped: whether the reduction is grouped.
        shortcut: whether the image is added (Table 4, "LRSC").
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, reach: int, hff: bool, grouped: bool, shortcut: bool
    ) -> None:
        super().__init__()
        self.shrink = HalfSize()
        made = out_channels - in_channels
        self.eesp = EESP(in_channels, made, reach=reach, stride=2, hff=hff, grouped=grouped)
        self.shortcut = ImageShortcut(out_channels) if shortcut else None
        self.act = nn.PReLU(out_channels)

    def forward(self, x: Tensor, image: Tensor | None) -> Tensor:
        """Shapes: (N, M, H, W), image (N, 3, ceil(H / 2), ceil(W / 2)) -> (N, N', ceil(H / 2), ceil(W / 2))."""
        joined = torch.cat([self.shrink(x), self.eesp(x)], 1)
        if self.shortcut is not None and image is not None:
            joined = joined + self.shortcut(image)
        return self.act(joined)
