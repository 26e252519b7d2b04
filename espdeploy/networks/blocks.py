"""Building blocks of the ESPNet family (ESPNet paper, section 3.1 and appendix B).

Importing this module loads PyTorch; the registry reaches it only when a network is built.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: the authors' code sets this; PyTorch's own default is 1e-5
BATCH_NORM_EPS = 1e-3


class NormAct(nn.Module):
    """Batch normalisation and a PReLU with one slope per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, eps=BATCH_NORM_EPS)
        self.act = nn.PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, C, H, W) -> the same."""
        return self.act(self.norm(x))


class ConvUnit(nn.Module):
    """A 3x3 convolution without bias, batch normalisation and PReLU."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels, eps=BATCH_NORM_EPS)
        self.act = nn.PReLU(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, M, H, W) -> (N, N', ceil(H / stride), ceil(W / stride))."""
        return self.act(self.norm(self.conv(x)))


class DilatedPyramid(nn.Module):
    """K parallel 3x3 convolutions with dilations 1, 2, 4, …, merged by hierarchical feature fusion.

    Each branch but the first is added to the sum of the dilated branches before it, which takes the gridding
    pattern out of the concatenation (section 3.1, "HFF"); ``hff`` off leaves the sums away. The first branch has what
    the division of ``out_channels`` by ``branches`` leaves over.
    """

    def __init__(self, in_channels: int, out_channels: int, *, branches: int, hff: bool = True) -> None:
        super().__init__()
        self.hff = hff
        narrow = out_channels // branches
        widths = [out_channels - (branches - 1) * narrow] + [narrow] * (branches - 1)
        for index, width in enumerate(widths):
            dilation = 2**index
            branch = nn.Conv2d(in_channels, width, 3, padding=dilation, dilation=dilation, bias=False)
            self.add_module(f"dilation{dilation}", branch)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, d, H, W) -> (N, out_channels, H, W)."""
        first, *others = (branch(x) for branch in self.children())
        if not self.hff:
            return torch.cat([first, *others], 1)
        merged = [first]
        for features in others:
            merged.append(features if len(merged) == 1 else merged[-1] + features)
        return torch.cat(merged, 1)


class ESP(nn.Module):
    """Efficient spatial pyramid: reduce (1x1), split, transform (dilated 3x3), merge; with a residual sum.

    The input is added where it has as many channels as the output, unless ``residual`` is off.
    """

    def __init__(self, in_channels: int, out_channels: int, *, k: int, hff: bool = True, residual: bool = True) -> None:
        super().__init__()
        reduced = out_channels // k
        self.reduce = nn.Conv2d(in_channels, reduced, 1, bias=False)
        self.pyramid = DilatedPyramid(reduced, out_channels, branches=k, hff=hff)
        self.norm = nn.BatchNorm2d(out_channels, eps=BATCH_NORM_EPS)
        self.act = nn.PReLU(out_channels)
        self.residual = residual and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, M, H, W) -> (N, N', H, W)."""
        merged = self.pyramid(self.reduce(x))
        return self.act(self.norm(merged + x if self.residual else merged))


class StridedESP(nn.Module):
    """The ESP module that halves the resolution: its reduction is a 3x3 convolution of stride 2, without a sum."""

    def __init__(self, in_channels: int, out_channels: int, *, k: int, hff: bool = True) -> None:
        super().__init__()
        reduced = out_channels // k
        self.reduce = nn.Conv2d(in_channels, reduced, 3, stride=2, padding=1, bias=False)
        self.pyramid = DilatedPyramid(reduced, out_channels, branches=k, hff=hff)
        self.norm = nn.BatchNorm2d(out_channels, eps=BATCH_NORM_EPS)
        self.act = nn.PReLU(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, M, H, W) -> (N, N', ceil(H / 2), ceil(W / 2))."""
        return self.act(self.norm(self.pyramid(self.reduce(x))))


class HalfImage(nn.Module):
    """Input reinforcement: the image at half its size, by 3x3 average pooling of stride 2."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(3, stride=2, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Shapes: (N, 3, H, W) -> (N, 3, ceil(H / 2), ceil(W / 2))."""
        return self.pool(image)


def upsample(channels: int) -> nn.Module:
    """A learned 2x2 transposed convolution that doubles the resolution (appendix B, "Upsample")."""
    return nn.ConvTranspose2d(channels, channels, 2, stride=2, bias=False)
