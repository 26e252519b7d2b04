"""ENet ("ENet: A Deep Neural Network Architecture for Real-Time Semantic Segmentation", Paszke et al., 2016).

Two forms are in use, and differ where the paper leaves it open: see :class:`Form`. Dropout, which inference does not
see, is left out. Importing this module loads PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from espdeploy.networks.max_unpool import MaxPoolWithWinners, MaxUnpool, Winners

IMAGE_CHANNELS = 3
LEVEL1, LEVEL2, LEVEL3 = 16, 64, 128
#: a bottleneck's inside is so many times narrower
NARROWING = 4
#: section 4, Table 1: stages 2 and 3 run these eight bottlenecks; a number is a dilation, "5x1" a factorised 5x5
STAGE: tuple[int | str, ...] = (1, 2, "5x1", 4, 1, 8, "5x1", 16)


@dataclass(frozen=True, kw_only=True)
class Form:
    """What differs between the two forms of ENet.

    ``narrow_by_output``: a bottleneck's inside is a quarter of its output, else of its input. ``up_kernel`` and
    ``last_kernel`` are those of the transposed convolutions inside the bottlenecks and at the end.
    """

    narrow_by_output: bool
    slope_per_channel: bool  # of PReLU; else one for all
    activate_each: bool  # also the expansion before the sum, and (normalised too) between 5x1 and 1x5
    bias: bool  # of the spatial convolutions
    first_pool: int  # window beside the first convolution
    up_kernel: int
    last_kernel: int
    norm_eps: float

    def inner(self, in_channels: int, out_channels: int) -> int:
        """The channels inside a bottleneck."""
        return (out_channels if self.narrow_by_output else in_channels) // NARROWING

    def act(self, channels: int, *, decoding: bool) -> nn.Module:
        """PReLU in the encoder, ReLU in the decoder (section 4)."""
        return nn.ReLU() if decoding else nn.PReLU(channels if self.slope_per_channel else 1)

    def norm(self, channels: int) -> nn.Module:
        """Batch normalisation."""
        return nn.BatchNorm2d(channels, eps=self.norm_eps)

    def upsample(self, inputs: int, outputs: int, kernel: int) -> nn.Module:
        """A transposed convolution that doubles the resolution. ``kernel`` is 2 or 3."""
        margin = kernel - 2
        return nn.ConvTranspose2d(
            inputs, outputs, kernel, stride=2, padding=margin, output_padding=margin, bias=self.bias
        )


#: what the literature's counts tell apart: 351,804 parameters at 20 classes, and 364,376
FORMS = {
    "pytorch": Form(
        narrow_by_output=False,
        slope_per_channel=False,
        activate_each=True,
        bias=False,
        first_pool=3,
        up_kernel=2,
        last_kernel=3,
        norm_eps=1e-5,
    ),
    "torch7": Form(
        narrow_by_output=True,
        slope_per_channel=True,
        activate_each=False,
        bias=True,
        first_pool=2,
        up_kernel=3,
        last_kernel=2,
        norm_eps=1e-3,
    ),
}


class Initial(nn.Module):
    """Figure 2a: a strided 3x3 convolution beside the pooled image."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        self.conv = nn.Conv2d(IMAGE_CHANNELS, LEVEL1 - IMAGE_CHANNELS, 3, stride=2, padding=1, bias=form.bias)
        self.pool = nn.MaxPool2d(form.first_pool, stride=2, padding=form.first_pool - 2)
        self.norm = form.norm(LEVEL1)
        self.act = form.act(LEVEL1, decoding=False)

    def forward(self, image: Tensor) -> Tensor:
        """Shapes: (N, 3, H, W) with even H and W -> (N, 16, H / 2, W / 2)."""
        return self.act(self.norm(torch.cat([self.conv(image), self.pool(image)], 1)))


class Branch(nn.Module):
    """What a bottleneck adds to its main branch: reduce, convolve, expand; each normalised.

    Args:
        form: of the network.
        channels: of the input, inside, and of the output.
        step: ``down`` halves the resolution, ``up`` doubles it.
        kind: of the spatial convolution, as in :data:`STAGE`; not with ``up``.
        decoding: whether it stands in the decoder.
    """

    def __init__(
        self, form: Form, channels: tuple[int, int, int], *, step: str = "", kind: int | str = 1, decoding: bool = False
    ) -> None:
        super().__init__()
        inputs, inner, outputs = channels
        side = 2 if step == "down" else 1
        reduce = nn.Conv2d(inputs, inner, side, stride=side, bias=False)
        self.reduce = nn.Sequential(reduce, form.norm(inner), form.act(inner, decoding=decoding))
        spatial = [form.upsample(inner, inner, form.up_kernel)] if step == "up" else _spatial(form, inner, kind)
        self.spatial = nn.Sequential(*spatial, form.norm(inner), form.act(inner, decoding=decoding))
        self.expand = nn.Sequential(nn.Conv2d(inner, outputs, 1, bias=False), form.norm(outputs))
        self.act = form.act(outputs, decoding=decoding) if form.activate_each else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, M, H, W) -> (N, N', …) with H and W as they are, halved or doubled."""
        return self.act(self.expand(self.spatial(self.reduce(x))))


def _spatial(form: Form, channels: int, kind: int | str) -> list[nn.Module]:
    """A dilated 3x3 convolution, or 5x1 and 1x5 one after the other."""
    if isinstance(kind, int):
        return [nn.Conv2d(channels, channels, 3, padding=kind, dilation=kind, bias=form.bias)]
    column = nn.Conv2d(channels, channels, (5, 1), padding=(2, 0), bias=False)
    row = nn.Conv2d(channels, channels, (1, 5), padding=(0, 2), bias=form.bias)
    between = [form.norm(channels), form.act(channels, decoding=False)] if form.activate_each else []
    return [column, *between, row]


class Bottleneck(nn.Module):
    """Figure 2b: the input and a branch. ``kind`` is as in :data:`STAGE`."""

    def __init__(self, form: Form, channels: int, *, kind: int | str = 1, decoding: bool = False) -> None:
        super().__init__()
        widths = (channels, channels // NARROWING, channels)
        self.branch = Branch(form, widths, kind=kind, decoding=decoding)
        self.act = form.act(channels, decoding=decoding)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, C, H, W) -> the same."""
        return self.act(x + self.branch(x))


class DownBottleneck(nn.Module):
    """The bottleneck that halves the resolution; beside it the max-pooled input, with as many channels as that has.

    The paper fills those up with zeros. Adding to the first channels alone is the same, and needs no padding of
    channels, which older TensorRT does not take.
    """

    def __init__(self, form: Form, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.channels = [in_channels, out_channels - in_channels]
        self.pool = MaxPoolWithWinners()
        self.branch = Branch(form, (in_channels, form.inner(in_channels, out_channels), out_channels), step="down")
        self.act = form.act(out_channels, decoding=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Winners]:
        """Shapes: (N, M, H, W) with even H and W -> (N, N', H / 2, W / 2), and where the M channels' maxima stood."""
        pooled, winners = self.pool(x)
        beside, beyond = self.branch(x).split(self.channels, 1)
        return self.act(torch.cat([pooled + beside, beyond], 1)), winners


class UpBottleneck(nn.Module):
    """The bottleneck that doubles the resolution; beside it the max-unpooled input."""

    def __init__(self, form: Form, in_channels: int, out_channels: int) -> None:
        super().__init__()
        widths = (in_channels, form.inner(in_channels, out_channels), out_channels)
        self.project = nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, bias=False), form.norm(out_channels))
        self.unpool = MaxUnpool()
        self.branch = Branch(form, widths, step="up", decoding=True)
        self.act = nn.ReLU()

    def forward(self, x: Tensor, winners: Winners) -> Tensor:
        """Shapes: (N, M, H, W) and winners of N' channels -> (N, N', 2 * H, 2 * W)."""
        return self.act(self.unpool(self.project(x), winners) + self.branch(x))


class ENet(nn.Module):
    """The whole network; class scores at the image's size."""

    def __init__(self, form: Form, *, classes: int) -> None:
        super().__init__()
        self.initial = Initial(form)
        self.down1 = DownBottleneck(form, LEVEL1, LEVEL2)
        self.stage1 = nn.Sequential(*(Bottleneck(form, LEVEL2) for _ in range(4)))
        self.down2 = DownBottleneck(form, LEVEL2, LEVEL3)
        self.stage2 = nn.Sequential(*(Bottleneck(form, LEVEL3, kind=kind) for kind in STAGE))
        self.stage3 = nn.Sequential(*(Bottleneck(form, LEVEL3, kind=kind) for kind in STAGE))
        self.up4 = UpBottleneck(form, LEVEL3, LEVEL2)
        self.stage4 = nn.Sequential(*(Bottleneck(form, LEVEL2, decoding=True) for _ in range(2)))
        self.up5 = UpBottleneck(form, LEVEL2, LEVEL1)
        self.stage5 = Bottleneck(form, LEVEL1, decoding=True)
        self.classifier = form.upsample(LEVEL1, classes, form.last_kernel)

    def forward(self, image: Tensor) -> Tensor:
        """Shapes: (N, 3, H, W) with H and W multiples of 8 -> (N, classes, H, W)."""
        level2, winners1 = self.down1(self.initial(image))
        level3, winners2 = self.down2(self.stage1(level2))
        level3 = self.stage3(self.stage2(level3))
        level2 = self.stage4(self.up4(level3, winners2))
        return self.classifier(self.stage5(self.up5(level2, winners1)))


def enet(*, form: str, classes: int) -> nn.Module:
    """ENet in the form of that name (see :data:`FORMS`)."""
    return ENet(FORMS[form], classes=classes)
