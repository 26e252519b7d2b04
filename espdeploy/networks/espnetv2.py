"""ESPNetv2 for classification (ESPNetv2 paper, section 3.3 and Table 2), and the encoder that segmentation shares.

Importing this module loads PyTorch; the registry names its factories as text.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from espdeploy.networks.espnetv2_blocks import (
    BRANCHES,
    EESP,
    IMAGE_CHANNELS,
    ConvNormAct,
    HalfSize,
    StridedEESP,
)

#: channels of level 2 at scale 1; each level after it has twice as many
_LEVEL2 = 64
#: the image's first convolution never has more channels than at scale 1
_LEVEL1_MAX = 32
#: how often the EESP unit follows the strided one at levels 3, 4 and 5
_REPEATS = (3, 7, 3)
#: no kernel sees more pixels a side than this: 5 + Z / 7 at levels of Z = 56, 28, 14 and 7 pixels a side, odd, with a
#: step between for the strided unit from 56 to 28; like it, the units to 14 and to 7 keep to the level they start from
_REACHES = (13, 11, 9, 7, 5)
#: channels before the classifier, from which scale on
_WIDE, _WIDE_FROM = 1280, 1.75
_NARROW = 1024


class Widths(NamedTuple):
    """Channels of the levels at 1/2, 1/4, 1/8, 1/16 and 1/32 of the image's size, and before the classifier."""

    level1: int
    level2: int
    level3: int
    level4: int
    level5: int
    last: int


def widths(scale: float) -> Widths:
    """The channels at a scale (Table 2)."""
    level2 = int(_LEVEL2 * scale)
    return Widths(
        level1=min(_LEVEL1_MAX, level2 // 2),
        level2=level2,
        level3=2 * level2,
        level4=4 * level2,
        level5=8 * level2,
        last=_WIDE if scale >= _WIDE_FROM else _NARROW,
    )


class Features(NamedTuple):
    """What the encoder makes, at 1/2, 1/4, 1/8 and 1/16 of the image's size."""

    level1: Tensor
    level2: Tensor
    level3: Tensor
    level4: Tensor


class Encoder(nn.Module):
    """Levels 1 to 4 of ESPNetv2.

    Args:
        channels: of the levels.
        hff: hierarchical feature fusion in every unit.
        shortcut: the image joins every strided unit.
        grouped: the reductions are grouped.
    """

    def __init__(self, channels: Widths, *, hff: bool = True, shortcut: bool = True, grouped: bool = True) -> None:
        super().__init__()
        options = {"hff": hff, "grouped": grouped}
        self.shrink = HalfSize()
        self.level1 = ConvNormAct(IMAGE_CHANNELS, channels.level1, 3, stride=2)
        self.down2 = StridedEESP(channels.level1, channels.level2, reach=_REACHES[0], shortcut=shortcut, **options)
        self.down3 = StridedEESP(channels.level2, channels.level3, reach=_REACHES[1], shortcut=shortcut, **options)
        self.stage3 = _stage(channels.level3, _REPEATS[0], reach=_REACHES[2], **options)
        self.down4 = StridedEESP(channels.level3, channels.level4, reach=_REACHES[2], shortcut=shortcut, **options)
        self.stage4 = _stage(channels.level4, _REPEATS[1], reach=_REACHES[3], **options)

    def forward(self, image: Tensor) -> Features:
        """Shapes: (N, 3, H, W) -> see :class:`Features`; odd sizes round up."""
        quarter = self.shrink(self.shrink(image))
        eighth = self.shrink(quarter)
        sixteenth = self.shrink(eighth)
        level1 = self.level1(image)
        level2 = self.down2(level1, quarter)
        level3 = self.stage3(self.down3(level2, eighth))
        level4 = self.stage4(self.down4(level3, sixteenth))
        return Features(level1=level1, level2=level2, level3=level3, level4=level4)


def _stage(channels: int, repeats: int, *, reach: int, hff: bool, grouped: bool) -> nn.Sequential:
    """EESP units in a row."""
    return nn.Sequential(*(EESP(channels, channels, reach=reach, hff=hff, grouped=grouped) for _ in range(repeats)))


class ESPNetv2(nn.Module):
    """ESPNetv2 with its classifier."""

    def __init__(self, *, scale: float, classes: int, hff: bool, shortcut: bool, grouped: bool) -> None:
        super().__init__()
        channels = widths(scale)
        options = {"hff": hff, "grouped": grouped}
        self.encoder = Encoder(channels, shortcut=shortcut, **options)
        # the authors' network holds the image's shortcut here without using it; files and exact counts include it
        self.down5 = StridedEESP(channels.level4, channels.level5, reach=_REACHES[3], shortcut=shortcut, **options)
        self.stage5 = _stage(channels.level5, _REPEATS[2], reach=_REACHES[4], **options)
        self.depthwise = ConvNormAct(channels.level5, channels.level5, 3, groups=channels.level5)
        self.widen = ConvNormAct(channels.level5, channels.last, 1, groups=BRANCHES)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels.last, classes)

    def forward(self, image: Tensor) -> Tensor:
        """Shapes: (N, 3, H, W) -> (N, classes)."""
        level5 = self.stage5(self.down5(self.encoder(image).level4, None))
        return self.classifier(self.pool(self.widen(self.depthwise(level5))).flatten(1))


def espnetv2(*, scale: float, classes: int, hff: bool, shortcut: bool, reduction: str) -> nn.Module:
    """ESPNetv2 for classification; ``reduction`` is ``group`` or ``pointwise`` (Table 5)."""
    return ESPNetv2(scale=scale, classes=classes, hff=hff, shortcut=shortcut, grouped=reduction == "group")
