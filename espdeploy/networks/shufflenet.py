"""ShuffleNet (Zhang et al., CVPR 2018) and ShuffleNetV2 (Ma et al., ECCV 2018).

Importing this module loads PyTorch.
"""

from __future__ import annotations

from math import lcm

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # PyTorch's own abbreviation

IMAGE_CHANNELS = 3
STEM = 24
#: units of each stage, in both papers
REPEATS = (4, 8, 4)
#: ShuffleNet, Table 1: channels of stage 2 by groups; each later stage has twice as many
V1_STAGE2 = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}
V1_NARROWING = 4
#: ShuffleNetV2, Table 5: channels of stages 2 to 4 and of the last convolution, by width
V2_CHANNELS = {
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}


class Shuffle(nn.Module):
    """Channel shuffle: the channels of all groups in turn, as reshape, transpose and reshape."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, C, H, W) -> the same; C must be a multiple of the groups."""
        return x.unflatten(1, (self.groups, -1)).transpose(1, 2).flatten(1, 2)


def _conv(inputs: int, outputs: int, *, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution that keeps the size but for its stride, without bias, and batch normalisation."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outputs)]


def _depthwise(channels: int, *, stride: int = 1) -> list[nn.Module]:
    return _conv(channels, channels, kernel=3, stride=stride, groups=channels)


def _pointwise(inputs: int, outputs: int, *, groups: int = 1) -> list[nn.Module]:
    return _conv(inputs, outputs, kernel=1, groups=groups)


def _stem(channels: int) -> nn.Sequential:
    """To a quarter of the image's size: a strided 3x3 convolution and max-pooling."""
    pool = nn.MaxPool2d(3, stride=2, padding=1)
    return nn.Sequential(*_conv(IMAGE_CHANNELS, channels, kernel=3, stride=2), nn.ReLU(), pool)


class Classifier(nn.Module):
    """Global average pooling and a linear layer."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, C, H, W) -> (N, classes)."""
        return self.linear(x.mean((2, 3)))


class UnitV1(nn.Module):
    """ShuffleNet, Figure 2: grouped reduction, shuffle, depth-wise 3x3, grouped expansion; then the input.

    Where the resolution halves, the average-pooled input is concatenated, else the input is added. ``first_groups``
    is 1 in the network's first unit, whose input has too few channels to be grouped.
    """

    def __init__(self, in_channels: int, out_channels: int, *, groups: int, first_groups: int, stride: int) -> None:
        super().__init__()
        inner = out_channels // V1_NARROWING
        added = out_channels if stride == 1 else out_channels - in_channels
        self.strided = stride > 1
        self.layers = nn.Sequential(
            *_pointwise(in_channels, inner, groups=first_groups),
            nn.ReLU(),
            Shuffle(groups),
            *_depthwise(inner, stride=stride),
            *_pointwise(inner, added, groups=groups),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, M, H, W) -> (N, N', ceil(H / stride), ceil(W / stride))."""
        features = self.layers(x)
        if self.strided:
            features = torch.cat([F.avg_pool2d(x, 3, stride=2, padding=1), features], 1)
        else:
            features = features + x
        return F.relu(features)


class UnitV2(nn.Module):
    """ShuffleNetV2, Figure 3c: one half of the channels passes, the other is filtered; both are shuffled."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.layers = nn.Sequential(
            *_pointwise(half, half), nn.ReLU(), *_depthwise(half), *_pointwise(half, half), nn.ReLU()
        )
        self.shuffle = Shuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, C, H, W) -> the same."""
        passing, filtered = x.chunk(2, 1)
        return self.shuffle(torch.cat([passing, self.layers(filtered)], 1))


class DownUnitV2(nn.Module):
    """ShuffleNetV2, Figure 3d: both branches see the whole input and halve the resolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.left = nn.Sequential(*_depthwise(in_channels, stride=2), *_pointwise(in_channels, half), nn.ReLU())
        self.right = nn.Sequential(
            *_pointwise(in_channels, half), nn.ReLU(), *_depthwise(half, stride=2), *_pointwise(half, half), nn.ReLU()
        )
        self.shuffle = Shuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, M, H, W) -> (N, N', ceil(H / 2), ceil(W / 2))."""
        return self.shuffle(torch.cat([self.left(x), self.right(x)], 1))


def scaled(channels: int, width: float, *, step: int) -> int:
    """``channels * width`` as the nearest multiple of ``step``, at least ``step``."""
    return max(1, int(channels * width / step + 0.5)) * step


def shufflenetv1(*, groups: int, width: float, classes: int) -> nn.Module:
    """ShuffleNet. Shapes: (N, 3, H, W) -> (N, classes)."""
    # every grouped convolution's channels must divide: those inside the units, and what the first unit adds
    channels = scaled(STEM, width, step=lcm(V1_NARROWING, groups))
    stage_channels = scaled(V1_STAGE2[groups], width, step=V1_NARROWING * groups)
    layers: list[nn.Module] = [_stem(channels)]
    first_groups = 1
    for repeats in REPEATS:
        for index in range(repeats):
            stride = 2 if index == 0 else 1
            unit = UnitV1(channels, stage_channels, groups=groups, first_groups=first_groups, stride=stride)
            layers.append(unit)
            channels, first_groups = stage_channels, groups
        stage_channels *= 2
    return nn.Sequential(*layers, Classifier(channels, classes))


def shufflenetv2(*, width: float, classes: int) -> nn.Module:
    """ShuffleNetV2. Shapes: (N, 3, H, W) -> (N, classes)."""
    *stages, head = V2_CHANNELS[width]
    channels = STEM
    layers: list[nn.Module] = [_stem(channels)]
    for stage_channels, repeats in zip(stages, REPEATS, strict=True):
        layers.append(DownUnitV2(channels, stage_channels))
        layers.extend(UnitV2(stage_channels) for _ in range(repeats - 1))
        channels = stage_channels
    layers.append(nn.Sequential(*_pointwise(channels, head), nn.ReLU()))
    return nn.Sequential(*layers, Classifier(head, classes))
