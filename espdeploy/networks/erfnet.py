"""ERFNet ("ERFNet: Efficient Residual Factorized ConvNet for Real-Time Semantic Segmentation", Romera et al., 2018).

Dropout, which inference does not see, is left out. Importing this module loads PyTorch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

IMAGE_CHANNELS = 3
LEVEL1, LEVEL2, LEVEL3 = 16, 64, 128
BATCH_NORM_EPS = 1e-3
#: Table 1: five undilated modules at level 2; at level 3 these four, twice
LEVEL2_DEPTH = 5
LEVEL3_DILATIONS = (2, 4, 8, 16)


class Down(nn.Module):
    """Halve the resolution: a strided 3x3 convolution beside the max-pooled input, as ENet's first block."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels - in_channels, 3, stride=2, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.norm = nn.BatchNorm2d(out_channels, eps=BATCH_NORM_EPS)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, M, H, W) with even H and W -> (N, N', H / 2, W / 2)."""
        return self.act(self.norm(torch.cat([self.conv(x), self.pool(x)], 1)))


class Factorised(nn.Module):
    """The non-bottleneck-1D module (Figure 2c): two 3x3 convolutions, each as 3x1 and 1x3, and the input added.

    The second pair is dilated.
    """

    def __init__(self, channels: int, *, dilation: int = 1) -> None:
        super().__init__()
        self.first = _pair(channels, dilation=1)
        self.second = _pair(channels, dilation=dilation)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, C, H, W) -> the same."""
        return self.act(x + self.second(self.act(self.first(x))))


def _pair(channels: int, *, dilation: int) -> nn.Sequential:
    column = nn.Conv2d(channels, channels, (3, 1), padding=(dilation, 0), dilation=(dilation, 1))
    row = nn.Conv2d(channels, channels, (1, 3), padding=(0, dilation), dilation=(1, dilation))
    return nn.Sequential(column, nn.ReLU(), row, nn.BatchNorm2d(channels, eps=BATCH_NORM_EPS))


def _up(in_channels: int, out_channels: int) -> nn.Sequential:
    """Double the resolution by a transposed 3x3 convolution."""
    return nn.Sequential(
        nn.ConvTranspose2d(in_channels, out_channels, 3, stride=2, padding=1, output_padding=1),
        nn.BatchNorm2d(out_channels, eps=BATCH_NORM_EPS),
        nn.ReLU(),
    )


class ERFNet(nn.Module):
    """Encoder and decoder (Table 1); class scores at the image's size.

    ``encoder_classifier`` is the layer that the encoder was trained with before it got its decoder. The published
    network carries and counts it; forward does not run it, and an exported file does not have it.
    """

    def __init__(self, *, classes: int) -> None:
        super().__init__()
        self.down1 = Down(IMAGE_CHANNELS, LEVEL1)
        self.down2 = Down(LEVEL1, LEVEL2)
        self.stage2 = nn.Sequential(*(Factorised(LEVEL2) for _ in range(LEVEL2_DEPTH)))
        self.down3 = Down(LEVEL2, LEVEL3)
        self.stage3 = nn.Sequential(*(Factorised(LEVEL3, dilation=dilation) for dilation in 2 * LEVEL3_DILATIONS))
        self.encoder_classifier = nn.Conv2d(LEVEL3, classes, 1)
        self.up2 = _up(LEVEL3, LEVEL2)
        self.decode2 = nn.Sequential(Factorised(LEVEL2), Factorised(LEVEL2))
        self.up1 = _up(LEVEL2, LEVEL1)
        self.decode1 = nn.Sequential(Factorised(LEVEL1), Factorised(LEVEL1))
        self.classifier = nn.ConvTranspose2d(LEVEL1, classes, 2, stride=2)

    def forward(self, image: Tensor) -> Tensor:
        """Shapes: (N, 3, H, W) with H and W multiples of 8 -> (N, classes, H, W)."""
        level2 = self.stage2(self.down2(self.down1(image)))
        level3 = self.stage3(self.down3(level2))
        level2 = self.decode2(self.up2(level3))
        return self.classifier(self.decode1(self.up1(level2)))


def erfnet(*, classes: int) -> nn.Module:
    """ERFNet with so many classes."""
    return ERFNet(classes=classes)
