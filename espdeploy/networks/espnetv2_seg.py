"""ESPNetv2 for segmentation, with the decoder of the paper's figures or with that of the released checkpoints.

``paper``: the paper (section 4.2, Figure 7c) prints the counts of a decoder that it does not describe. The structure
is that of the authors' public network: level 4, projected and up-sampled, joins level 3 in an EESP unit and a pyramid
of poolings; class scores are then taken up through levels 2 and 1, which join by point-wise convolutions. Its
parameters (99,418 at scale 0.5, 725,166 at 1.5) and multiply-adds (54,011,284 and 321,679,380 at 224x224) are exactly
those counted with the authors' code. It was not compared with outputs: no weights for it are at hand.

``edgenets``: efficient pyramid pooling at every level, joined to the encoder by gated convolutions, as the tensors
of the released files have it; the authors' outputs confirm it. Importing this module loads PyTorch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from espdeploy.errors import UsageError
from espdeploy.networks.adaptive_pooling import adaptive_average, extent
from espdeploy.networks.espnetv2 import Encoder, Features, Widths, widths
from espdeploy.networks.espnetv2_blocks import EESP, ConvNormAct, HalfSize, NormAct

#: the decoder's EESP unit works at level 3, yet keeps its kernels as narrow as level 4 does
_PAPER_REACH = 7
_POOLINGS = 4
#: channels of the released decoder are multiples of this
_BASE = 16
#: the sizes at which efficient pyramid pooling looks at its input
_SCALES = (2.0, 1.5, 1.0, 0.5, 0.1)
#: no map in it has a side of less
_LEAST = 5


def double(x: Tensor) -> Tensor:
    """Twice the size, bilinear, corners on corners. Shapes: (N, C, H, W) -> (N, C, 2 H, 2 W)."""
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Another size, bilinear, corners on corners. Shapes: (N, C, H, W) -> (N, C, *size)."""
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=True)


class PoolingPyramid(nn.Module):
    """The input beside depth-wise convolutions of it at 1/2, 1/4, 1/8 and 1/16 of its size, mixed point-wise."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shrink = HalfSize()
        self.stages = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False) for _ in range(_POOLINGS)
        )
        self.project = ConvNormAct((_POOLINGS + 1) * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, C, H, W) -> the same."""
        size, maps, small = extent(x), [x], x
        for stage in self.stages:
            small = self.shrink(small)
            maps.append(resize(stage(small), size))
        return self.project(torch.cat(maps, 1))


class PaperDecoder(nn.Module):
    """The decoder that the paper's counts are of.

    Args:
        channels: of the encoder's levels.
        classes: channels of the output, and of the maps at levels 2 and 1.
    """

    def __init__(self, channels: Widths, *, classes: int) -> None:
        super().__init__()
        self.project4 = ConvNormAct(channels.level4, channels.level3, 1)
        self.mix3 = EESP(2 * channels.level3, channels.level3, reach=_PAPER_REACH)
        self.pyramid3 = PoolingPyramid(channels.level3)
        self.scores3 = nn.Conv2d(channels.level3, classes, 1, bias=False)
        self.act3 = NormAct(classes)
        self.mix2 = ConvNormAct(channels.level2 + classes, classes, 1)
        self.scores1 = nn.Conv2d(channels.level1 + classes, classes, 1, bias=False)

    def forward(self, features: Features) -> Tensor:
        """Shapes: :class:`Features` of an (H, W) image -> (N, classes, H, W)."""
        level3 = torch.cat([features.level3, double(self.project4(features.level4))], 1)
        level3 = self.act3(self.scores3(self.pyramid3(self.mix3(level3))))
        level2 = self.mix2(torch.cat([features.level2, double(level3)], 1))
        return double(self.scores1(torch.cat([features.level1, double(level2)], 1)))


class EfficientPyramidPool(nn.Module):
    """Depth-wise convolutions of the projected input at five sizes, back at its own, shuffled and merged.

    Args:
        in_channels: of the input.
        narrow: channels of each of the five maps.
        out_channels: of the output.
        scores: whether the output is class scores: with a bias, without normalisation and activation.
    """

    def __init__(self, in_channels: int, narrow: int, out_channels: int, *, scores: bool = False) -> None:
        super().__init__()
        wide = len(_SCALES) * narrow
        self.narrow = narrow
        self.project = ConvNormAct(in_channels, narrow, 1)
        self.stages = nn.ModuleList(nn.Conv2d(narrow, narrow, 3, padding=1, groups=narrow, bias=False) for _ in _SCALES)
        self.join = NormAct(wide)
        self.merge = ConvNormAct(wide, narrow, 3, groups=narrow)
        self.expand = nn.Conv2d(narrow, out_channels, 1, bias=scores)
        self.out = nn.Identity() if scores else NormAct(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, M, H, W) -> (N, N', H, W)."""
        small = self.project(x)
        size = extent(small)
        maps = [_at_scale(stage, small, scale) for stage, scale in zip(self.stages, _SCALES, strict=True)]
        joined = self.join(torch.cat(maps, 1))
        # the shuffle: the five maps of one channel come side by side, a group of the merging convolution
        by_map = joined.reshape(-1, len(_SCALES), self.narrow, *size)
        shuffled = by_map.transpose(1, 2).reshape(-1, len(_SCALES) * self.narrow, *size)
        return self.out(self.expand(self.merge(shuffled)))


def _at_scale(stage: nn.Module, x: Tensor, scale: float) -> Tensor:
    """``stage`` at a multiple of the size of ``x``, and back: one way by pooling, the other bilinear."""
    if scale == 1:
        return stage(x)
    own = extent(x)
    size = max(_LEAST, math.ceil(own[0] * scale)), max(_LEAST, math.ceil(own[1] * scale))
    if scale < 1:
        return resize(stage(adaptive_average(x, size)), own)
    return adaptive_average(stage(resize(x, size)), own)


class GatedConvolution(nn.Module):
    """A grouped 3x3 convolution whose channels are weighed by the means of its input."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.weigh = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.expand = ConvNormAct(in_channels, out_channels, 3, groups=math.gcd(in_channels, out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, M, H, W) -> (N, N', H, W)."""
        return self.expand(x) * torch.sigmoid(self.weigh(self.mean(x)))


class EdgeNetsDecoder(nn.Module):
    """The decoder of the released checkpoints.

    Args:
        channels: of the encoder's levels.
        classes: channels of the output.
    """

    def __init__(self, channels: Widths, *, classes: int) -> None:
        super().__init__()
        narrow = min(classes // 2, _BASE)
        width3, width2, width1 = 4 * _BASE, 3 * _BASE, 2 * _BASE
        self.pyramid4 = EfficientPyramidPool(channels.level4, narrow, width3)
        self.gate3, self.act3 = GatedConvolution(channels.level3, width3), NormAct(width3)
        self.pyramid3 = EfficientPyramidPool(width3, narrow, width2)
        self.gate2, self.act2 = GatedConvolution(channels.level2, width2), NormAct(width2)
        self.pyramid2 = EfficientPyramidPool(width2, narrow, width1)
        self.gate1, self.act1 = GatedConvolution(channels.level1, width1), NormAct(width1)
        self.pyramid1 = EfficientPyramidPool(width1, narrow, classes, scores=True)

    def forward(self, features: Features) -> Tensor:
        """Shapes: :class:`Features` of an (H, W) image -> (N, classes, H, W)."""
        level4 = self.pyramid4(features.level4)
        level3 = self.pyramid3(self.act3(self.gate3(features.level3) + double(level4)))
        level2 = self.pyramid2(self.act2(self.gate2(features.level2) + double(level3)))
        return double(self.pyramid1(self.act1(self.gate1(features.level1) + double(level2))))


class ESPNetv2Segmentation(nn.Module):
    """Levels 1 to 4 of ESPNetv2 with a decoder; class scores at the image's size."""

    def __init__(self, *, scale: float, decoder: type[PaperDecoder | EdgeNetsDecoder], classes: int) -> None:
        super().__init__()
        channels = widths(scale)
        self.encoder = Encoder(channels)
        self.decoder = decoder(channels, classes=classes)

    def forward(self, image: Tensor) -> Tensor:
        """Shapes: (N, 3, H, W) with H and W multiples of 16 -> (N, classes, H, W)."""
        return self.decoder(self.encoder(image))


def espnetv2_seg(*, scale: float, head: str, classes: int) -> nn.Module:
    """ESPNetv2 for segmentation; ``head`` is ``paper`` or ``edgenets``.

    Raises:
        UsageError: a single class with the released decoder, whose pyramids have half as many channels as classes.
    """
    if head == "paper":
        return ESPNetv2Segmentation(scale=scale, decoder=PaperDecoder, classes=classes)
    if classes < 2:
        raise UsageError(
            f"espnetv2-seg with head={head} and classes={classes} cannot be built",
            why="its pyramids have half as many channels as there are classes",
            do="--set classes=2, or --set head=paper",
        )
    return ESPNetv2Segmentation(scale=scale, decoder=EdgeNetsDecoder, classes=classes)
