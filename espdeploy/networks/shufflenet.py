"""ShuffleNet (Zhang et al., CVPR 2018) and ShuffleNetV2 (Ma et al., ECCV 2018).

Importing this module loads PyTorch.
"""

from __future__ import annotations

from math import lcm

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # PyTorch's own abbreviation

from espdeploy.networks.mobilenet import Classifier, conv_norm, depthwise

IMAGE_CHANNELS = 3
#: units of each stage, in both papers
REPEATS = (4, 8, 4)
#: ShuffleNet, Table 1: channels of stage 2 by groups; each later stage has twice as many
V1_STAGE2 = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}
V1_NARROWING = 4
#: channels of the first convolution by width: the paper has them for 1.0 alone; with these come out the multiply-adds
#: and parameters that the authors list for the other widths
V1_STEM = {0.25: 12, 0.5: 12, 1.0: 24, 1.5: 24, 2.0: 48}
V2_STEM = 24
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
        _, channels, height, width = x.shape
        grouped = x.reshape(-1, self.groups, channels // self.groups, height, width)
        return grouped.transpose(1, 2).reshape(-1, channels, height, width)


def _pointwise(inputs: int, outputs: int, *, groups: int = 1) -> list[nn.Module]:
    return conv_norm(inputs, outputs, kernel=1, groups=groups)


def _stem(channels: int) -> nn.Sequential:
    """To a quarter of the image's size: a strided 3x3 convolution and max-pooling."""
    pool = nn.MaxPool2d(3, stride=2, padding=1)
    return nn.Sequential(*conv_norm(IMAGE_CHANNELS, channels, kernel=3, stride=2), nn.ReLU(), pool)


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
            *depthwise(inner, stride=stride),
            *_pointwise(inner, added, groups=groups),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, M, H, W) -> (N, N', ceil(H / stride), ceil(W / stride))."""
        features = self.layers(x)
        if self.strided:
            return F.relu(torch.cat([F.avg_pool2d(x, 3, stride=2, padding=1), features], 1))
        return F.relu(x + features)


class UnitV2(nn.Module):
    """ShuffleNetV2, Figure 3c: one half of the channels passes, the other is filtered; both are shuffled."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.half = channels // 2
        half = self.half
        self.layers = nn.Sequential(
            *_pointwise(half, half), nn.ReLU(), *depthwise(half), *_pointwise(half, half), nn.ReLU()
        )
        self.shuffle = Shuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, C, H, W) -> the same."""
        passing, filtered = x.split([self.half, self.half], 1)
        return self.shuffle(torch.cat([passing, self.layers(filtered)], 1))


class DownUnitV2(nn.Module):
    """ShuffleNetV2, Figure 3d: both branches see the whole input and halve the resolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.left = nn.Sequential(*depthwise(in_channels, stride=2), *_pointwise(in_channels, half), nn.ReLU())
        self.right = nn.Sequential(
            *_pointwise(in_channels, half), nn.ReLU(), *depthwise(half, stride=2), *_pointwise(half, half), nn.ReLU()
        )
        self.shuffle = Shuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, M, H, W) -> (N, N', ceil(H / 2), ceil(W / 2))."""
        return self.shuffle(torch.cat([self.left(x), self.right(x)], 1))


def multiple(channels: float, of: int) -> int:
    """The multiple of ``of`` nearest to ``channels``, the greater of two that are equally near."""
    return int(channels / of + 0.5) * of


def shufflenetv1(*, groups: int, width: float, classes: int) -> nn.Module:
    """ShuffleNet. Shapes: (N, 3, H, W) -> (N, classes)."""
    # the groups must divide what every grouped convolution takes and gives, in the first unit: what it adds to the stem
    channels = multiple(V1_STEM[width], of=lcm(V1_NARROWING, groups))
    stage_channels = multiple(V1_STAGE2[groups] * width, of=V1_NARROWING * groups)
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
    channels = V2_STEM
    layers: list[nn.Module] = [_stem(channels)]
    for stage_channels, repeats in zip(stages, REPEATS, strict=True):
        layers.append(DownUnitV2(channels, stage_channels))
        layers.extend(UnitV2(stage_channels) for _ in range(repeats - 1))
        channels = stage_channels
    layers.append(nn.Sequential(*_pointwise(channels, head), nn.ReLU()))
    return nn.Sequential(*layers, Classifier(head, classes))
