"""MobileNetV1 (Howard et al., arXiv 1704.04861) and MobileNetV2 (Sandler et al., CVPR 2018).

The width multiplier scales every channel count to a multiple of 8. Dropout, which inference does not see, is left out.
Importing this module loads PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # PyTorch's own abbreviation

IMAGE_CHANNELS = 3
#: MobileNetV1, Table 1: channels and stride of each depth-wise separable convolution, after a strided 3x3 with 32
V1_STEM = 32
V1_LAYERS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
    (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip
#: MobileNetV2, Table 2: expansion, channels, repeats and first stride of each stage
V2_STEM = 32
V2_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
V2_HEAD = 1280
CHANNEL_STEP = 8
LEAST_SHARE = 0.9


def scaled(channels: int, width: float) -> int:
    """``channels * width`` as the nearest multiple of 8, at least 8 and not below 90 % of it."""
    wanted = channels * width
    nearest = max(CHANNEL_STEP, int(wanted + CHANNEL_STEP / 2) // CHANNEL_STEP * CHANNEL_STEP)
    return nearest if nearest >= LEAST_SHARE * wanted else nearest + CHANNEL_STEP


def conv_norm(inputs: int, outputs: int, *, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution that keeps the size but for its stride, without bias, and batch normalisation."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outputs)]


def depthwise(channels: int, *, stride: int = 1) -> list[nn.Module]:
    """A 3x3 convolution of each channel by itself, and batch normalisation."""
    return conv_norm(channels, channels, kernel=3, stride=stride, groups=channels)


class Classifier(nn.Module):
    """Global average pooling and a linear layer."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, C, H, W) -> (N, classes)."""
        return self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))


class InvertedResidual(nn.Module):
    """Expand, filter depth-wise, project without an activation; the input is added where the shapes agree."""

    def __init__(self, in_channels: int, out_channels: int, *, expansion: int, stride: int) -> None:
        super().__init__()
        inner = in_channels * expansion
        expand = [] if expansion == 1 else [*conv_norm(in_channels, inner, kernel=1), nn.ReLU6()]
        project = conv_norm(inner, out_channels, kernel=1)
        self.layers = nn.Sequential(*expand, *depthwise(inner, stride=stride), nn.ReLU6(), *project)
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, M, H, W) -> (N, N', ceil(H / stride), ceil(W / stride))."""
        return x + self.layers(x) if self.residual else self.layers(x)


def _stem(channels: int, activation: Callable[[], nn.Module]) -> nn.Sequential:
    return nn.Sequential(*conv_norm(IMAGE_CHANNELS, channels, kernel=3, stride=2), activation())


def _separable(inputs: int, outputs: int, *, stride: int) -> nn.Sequential:
    """MobileNetV1, Figure 3: a depth-wise 3x3 and a point-wise convolution, each normalised and activated."""
    pointwise = conv_norm(inputs, outputs, kernel=1)
    return nn.Sequential(*depthwise(inputs, stride=stride), nn.ReLU(), *pointwise, nn.ReLU())


def mobilenetv1(*, width: float, classes: int) -> nn.Module:
    """MobileNetV1. Shapes: (N, 3, H, W) -> (N, classes)."""
    channels = scaled(V1_STEM, width)
    layers = [_stem(channels, nn.ReLU)]
    for base, stride in V1_LAYERS:
        layers.append(_separable(channels, scaled(base, width), stride=stride))
        channels = scaled(base, width)
    return nn.Sequential(*layers, Classifier(channels, classes))


def mobilenetv2(*, width: float, classes: int) -> nn.Module:
    """MobileNetV2; its last convolution never has fewer than 1280 channels (section 6.1).

    Shapes: (N, 3, H, W) -> (N, classes).
    """
    channels = scaled(V2_STEM, width)
    layers: list[nn.Module] = [_stem(channels, nn.ReLU6)]
    for expansion, base, repeats, first_stride in V2_STAGES:
        for index in range(repeats):
            stride = first_stride if index == 0 else 1
            layers.append(InvertedResidual(channels, scaled(base, width), expansion=expansion, stride=stride))
            channels = scaled(base, width)
    head = scaled(V2_HEAD, max(width, 1.0))
    layers.append(nn.Sequential(*conv_norm(channels, head, kernel=1), nn.ReLU6()))
    return nn.Sequential(*layers, Classifier(head, classes))
