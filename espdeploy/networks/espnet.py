"""ESPNet-A, -B, -C and ESPNet (ESPNet paper, section 4.1, appendix B and Figure 4).

Importing this module loads PyTorch; the registry names its factories as text.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from espdeploy.errors import UsageError
from espdeploy.networks.blocks import BATCH_NORM_EPS, ESP, ConvUnit, HalfImage, NormAct, StridedESP, upsample
from espdeploy.networks.module_formulas import LEVEL_CHANNELS
from espdeploy.networks.modules import check_switches, module

IMAGE_CHANNELS = 3
LEVEL1, LEVEL2, LEVEL3 = 16, LEVEL_CHANNELS[2], LEVEL_CHANNELS[3]


class Study(NamedTuple):
    """What the paper's studies vary in the encoder: Figure 5 the module, Table 2b the residual sum, section 3.1 HFF."""

    module: str = "esp"
    hff: bool = True
    residual: bool = True


class Features(NamedTuple):
    """What the encoder hands to the decoder, at 1/2, 1/2, 1/4 and 1/8 of the image's size."""

    level1: Tensor
    level1_merged: Tensor  # level 1 with the input reinforcement
    level2: Tensor
    scores: Tensor  # per class


_PAPER = Study()


class Encoder(nn.Module):
    """ESPNet without a decoder; class scores at 1/8 of the image's size.

    Args:
        alpha2: how often the ESP module is repeated at level 2.
        alpha3: the same at level 3.
        k: width divider and number of branches of every ESP module.
        classes: channels of the output.
        share: concatenate each level's strided ESP module with its last ESP module (ESPNet-B).
        reinforce: concatenate the down-sampled image too (ESPNet-C); only together with ``share``.
        study: the module in the place of ESP, and what is switched off. Another module replaces the ESP modules of
            ``stage2`` and ``stage3``; down-sampling is then "standard strided convolution" (caption of Figure 5).
    """

    def __init__(
        self,
        *,
        alpha2: int,
        alpha3: int,
        k: int,
        classes: int,
        share: bool = True,
        reinforce: bool = True,
        study: Study = _PAPER,
    ) -> None:
        super().__init__()
        image = IMAGE_CHANNELS if reinforce else 0
        width1 = LEVEL1 + image
        width2 = LEVEL2 * (2 if share else 1) + image
        width3 = LEVEL3 * (2 if share else 1)
        self.share, self.reinforce = share, reinforce
        self.half_image = HalfImage()
        self.level1 = ConvUnit(IMAGE_CHANNELS, LEVEL1, stride=2)
        # ESPNet-B normalises level 1 a second time although nothing is joined there; its printed count says so
        self.merge1 = NormAct(width1) if share else nn.Identity()
        self.down2 = _down(study, width1, LEVEL2, k=k)
        self.stage2 = _stage(study, LEVEL2, k=k, repeats=alpha2)
        self.merge2 = NormAct(width2) if share else nn.Identity()
        self.down3 = _down(study, width2, LEVEL3, k=k)
        self.stage3 = _stage(study, LEVEL3, k=k, repeats=alpha3)
        self.merge3 = NormAct(width3) if share else nn.Identity()
        self.classifier = nn.Conv2d(width3, classes, 1, bias=False)

    def features(self, image: Tensor) -> Features:
        """The maps of every level. Shapes: (N, 3, H, W) -> see :class:`Features`."""
        half = [self.half_image(image)] if self.reinforce else []
        quarter = [self.half_image(half[0])] if self.reinforce else []
        level1 = self.level1(image)
        level1_merged = self.merge1(torch.cat([level1, *half], 1) if half else level1)
        down2 = self.down2(level1_merged)
        shared2 = [down2, *quarter] if self.share else []
        level2 = self.merge2(_join(self.stage2(down2), after=shared2))
        down3 = self.down3(level2)
        level3 = self.stage3(down3)
        if self.share:
            level3 = torch.cat([down3, level3], 1)
        scores = self.classifier(self.merge3(level3))
        return Features(level1=level1, level1_merged=level1_merged, level2=level2, scores=scores)

    def forward(self, image: Tensor) -> Tensor:
        """Shapes: (N, 3, H, W) -> (N, classes, H / 8, W / 8)."""
        return self.features(image).scores


def _down(study: Study, in_channels: int, out_channels: int, *, k: int) -> nn.Module:
    if study.module == "esp":
        return StridedESP(in_channels, out_channels, k=k, hff=study.hff)
    return ConvUnit(in_channels, out_channels, stride=2)


def _stage(study: Study, channels: int, *, k: int, repeats: int) -> nn.Sequential:
    kind, hff, residual = study
    return nn.Sequential(*(module(kind, channels, k=k, hff=hff, residual=residual) for _ in range(repeats)))


def _join(first: Tensor, *, after: list[Tensor]) -> Tensor:
    return torch.cat([first, *after], 1) if after else first


class Decoder(nn.Module):
    """Reduce, up-sample, merge (appendix B, "RUM"): from 1/8 back to the image's size.

    Args:
        classes: channels of every map in it.
        k: width divider of its ESP module.
        level1_channels: 16 joins level 1 alone before the last 3x3 convolution, 19 level 1 with the
            input reinforcement; the authors released both.
    """

    def __init__(self, *, classes: int, k: int, level1_channels: int) -> None:
        super().__init__()
        self.merged_level1 = level1_channels != LEVEL1
        self.norm3 = nn.BatchNorm2d(classes, eps=BATCH_NORM_EPS)
        self.up3 = upsample(classes)
        self.project2 = nn.Conv2d(2 * LEVEL2 + IMAGE_CHANNELS, classes, 1, bias=False)
        self.merge2 = NormAct(2 * classes)
        self.esp2 = ESP(2 * classes, classes, k=k)
        self.up2 = upsample(classes)
        self.act2 = NormAct(classes)
        self.mix1 = ConvUnit(classes + level1_channels, classes)
        self.up1 = upsample(classes)

    def forward(self, features: Features) -> Tensor:
        """Shapes: :class:`Features` of an (H, W) image -> (N, classes, H, W)."""
        level3 = self.up3(self.norm3(features.scores))
        level2 = torch.cat([self.project2(features.level2), level3], 1)
        level2 = self.act2(self.up2(self.esp2(self.merge2(level2))))
        level1 = features.level1_merged if self.merged_level1 else features.level1
        return self.up1(self.mix1(torch.cat([level2, level1], 1)))


class ESPNet(nn.Module):
    """ESPNet-C with the light-weight decoder; class scores at the image's size."""

    def __init__(self, *, alpha2: int, alpha3: int, k: int, classes: int, decoder: int) -> None:
        super().__init__()
        self.encoder = Encoder(alpha2=alpha2, alpha3=alpha3, k=k, classes=classes)
        self.decoder = Decoder(classes=classes, k=k, level1_channels=decoder)

    def forward(self, image: Tensor) -> Tensor:
        """Shapes: (N, 3, H, W) with H and W multiples of 8 -> (N, classes, H, W)."""
        return self.decoder(self.encoder.features(image))


def espnet_a(*, alpha2: int, alpha3: int, k: int, classes: int) -> nn.Module:
    """ESPNet-A: convolution and ESP modules in a row."""
    return Encoder(alpha2=alpha2, alpha3=alpha3, k=k, classes=classes, share=False, reinforce=False)


def espnet_b(*, alpha2: int, alpha3: int, k: int, classes: int) -> nn.Module:
    """ESPNet-B: ESPNet-A with the maps of each level's first and last module shared."""
    return Encoder(alpha2=alpha2, alpha3=alpha3, k=k, classes=classes, reinforce=False)


def espnet_c(
    *,
    alpha2: int,
    alpha3: int,
    k: int,
    classes: int,
    module: str = _PAPER.module,
    hff: bool = _PAPER.hff,
    residual: bool = _PAPER.residual,
) -> nn.Module:
    """ESPNet-C: ESPNet-B with the down-sampled image joined at levels 1 and 2.

    Raises:
        UsageError: ``hff`` or ``residual`` is off with a module that has none.
    """
    check_switches(module, hff=hff, residual=residual)
    study = Study(module=module, hff=hff, residual=residual)
    return Encoder(alpha2=alpha2, alpha3=alpha3, k=k, classes=classes, study=study)


def espnet(*, alpha2: int, alpha3: int, k: int, classes: int, decoder: int) -> nn.Module:
    """ESPNet: ESPNet-C with the decoder.

    Raises:
        UsageError: fewer classes than the decoder's ESP module has branches.
    """
    if classes < k:
        raise UsageError(
            f"espnet with classes={classes} and k={k} cannot be built",
            why=f"the decoder's ESP module splits its {classes} channels over k = {k} branches",
            do=f"--set k={max(classes, 2)}, or --model espnet-c, which has no decoder",
        )
    return ESPNet(alpha2=alpha2, alpha3=alpha3, k=k, classes=classes, decoder=decoder)
