"""The modules that the ESPNet paper compares its own with (section 3.2, Figure 3), in the place of an ESP module.

Each keeps the size, and is built of the convolutions that Figure 3 sketches, without biases; the formulas for them are
in ``module_formulas``. After every convolution come batch normalisation and PReLU (section 4.1), where branches or the
input are added only after the sum. Importing this module loads PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from espdeploy.errors import UsageError
from espdeploy.networks.blocks import BATCH_NORM_EPS, ESP, NormAct
from espdeploy.networks.module_formulas import GROUPS, WITH_RESIDUAL, narrow
from espdeploy.networks.shufflenet import Shuffle


def conv(in_channels: int, out_channels: int, size: int, *, dilation: int = 1, groups: int = 1) -> nn.Module:
    """A convolution without bias that keeps the size of its maps."""
    return nn.Conv2d(
        in_channels,
        out_channels,
        size,
        padding=dilation * (size // 2),
        dilation=dilation,
        groups=groups,
        bias=False,
    )


def branch_widths(out_channels: int, branches: int) -> list[int]:
    """Channels of branches that are concatenated; the first takes what the division leaves over (footnote 4)."""
    width = out_channels // branches
    return [out_channels - (branches - 1) * width] + [width] * (branches - 1)


class MobileNetModule(nn.Module):
    """Figure 3a: depth-wise 3x3, then point-wise; no sum."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.depthwise = conv(in_channels, in_channels, 3, groups=in_channels)
        self.mid = NormAct(in_channels)
        self.pointwise = conv(in_channels, out_channels, 1)
        self.out = NormAct(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, M, H, W) -> (N, N', H, W)."""
        return self.out(self.pointwise(self.mid(self.depthwise(x))))


class ShuffleNetModule(nn.Module):
    """Figure 3b: grouped reduction, depth-wise 3x3, grouped expansion, and the input.

    The channels are shuffled after the reduction, as ShuffleNet does; without it no group would ever see another.
    """

    def __init__(self, channels: int, *, k: int, residual: bool) -> None:
        super().__init__()
        inner = narrow("shufflenet", channels, k=k)
        self.reduce = conv(channels, inner, 1, groups=GROUPS)
        self.act = NormAct(inner)
        self.shuffle = Shuffle(GROUPS)
        self.depthwise = conv(inner, inner, 3, groups=inner)
        self.norm = nn.BatchNorm2d(inner, eps=BATCH_NORM_EPS)
        self.expand = conv(inner, channels, 1, groups=GROUPS)
        self.out = NormAct(channels)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, C, H, W) -> the same."""
        filtered = self.norm(self.depthwise(self.shuffle(self.act(self.reduce(x)))))
        expanded = self.expand(filtered)
        return self.out(expanded + x if self.residual else expanded)


class InceptionModule(nn.Module):
    """Figure 3c, the homogeneous form: K times reduction and 3x3 side by side, concatenated; no sum."""

    def __init__(self, in_channels: int, out_channels: int, *, k: int) -> None:
        super().__init__()
        inner = narrow("inception", out_channels, k=k)
        self.towers = nn.ModuleList(
            nn.Sequential(conv(in_channels, inner, 1), NormAct(inner), conv(inner, width, 3))
            for width in branch_widths(out_channels, k)
        )
        self.out = NormAct(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, M, H, W) -> (N, N', H, W)."""
        return self.out(torch.cat([tower(x) for tower in self.towers], 1))


class ResNextModule(nn.Module):
    """Figure 3d: K bottlenecks side by side, added up, and the input."""

    def __init__(self, channels: int, *, k: int, residual: bool) -> None:
        super().__init__()
        inner = narrow("resnext", channels, k=k)
        self.paths = nn.ModuleList(
            nn.Sequential(
                conv(channels, inner, 1),
                NormAct(inner),
                conv(inner, inner, 3),
                NormAct(inner),
                conv(inner, channels, 1),
            )
            for _ in range(k)
        )
        self.out = NormAct(channels)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, C, H, W) -> the same."""
        total = _total(path(x) for path in self.paths)
        return self.out(total + x if self.residual else total)


class ResNetModule(nn.Module):
    """Section 4.2, the basic ResNet module: two 3x3 convolutions and the input."""

    def __init__(self, channels: int, *, residual: bool) -> None:
        super().__init__()
        self.first = conv(channels, channels, 3)
        self.mid = NormAct(channels)
        self.second = conv(channels, channels, 3)
        self.out = NormAct(channels)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, C, H, W) -> the same."""
        filtered = self.second(self.mid(self.first(x)))
        return self.out(filtered + x if self.residual else filtered)


class AtrousPyramid(nn.Module):
    """Figure 3e, ASP: K full 3x3 convolutions with dilations 1, 2, 4, … added up; no sum with the input."""

    def __init__(self, in_channels: int, out_channels: int, *, k: int) -> None:
        super().__init__()
        self.atrous = nn.ModuleList(conv(in_channels, out_channels, 3, dilation=2**index) for index in range(k))
        self.out = NormAct(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, M, H, W) -> (N, N', H, W)."""
        return self.out(_total(branch(x) for branch in self.atrous))


def module(kind: str, channels: int, *, k: int, hff: bool = True, residual: bool = True) -> nn.Module:
    """A module of the study that takes and gives ``channels`` channels; ``kind`` is one of ``MODULES``."""
    makers: dict[str, Callable[[], nn.Module]] = {
        "esp": lambda: ESP(channels, channels, k=k, hff=hff, residual=residual),
        "mobilenet": lambda: MobileNetModule(channels, channels),
        "shufflenet": lambda: ShuffleNetModule(channels, k=k, residual=residual),
        "inception": lambda: InceptionModule(channels, channels, k=k),
        "resnext": lambda: ResNextModule(channels, k=k, residual=residual),
        "resnet": lambda: ResNetModule(channels, residual=residual),
        "asp": lambda: AtrousPyramid(channels, channels, k=k),
    }
    return makers[kind]()


def check_switches(kind: str, *, hff: bool, residual: bool) -> None:
    """Check that what is switched off is there.

    Raises:
        UsageError: the module has no hierarchical feature fusion, or does not add its input.
    """
    if not hff and kind != "esp":
        raise UsageError(
            f"hff=false does not apply to module={kind}",
            why="hierarchical feature fusion joins the dilated branches of ESP modules alone",
            do="leave --set hff out, or --set module=esp",
        )
    if not residual and kind not in WITH_RESIDUAL:
        raise UsageError(
            f"residual=false does not apply to module={kind}",
            why=f"its input is not added (ESPNet paper, Figure 3); it is in {', '.join(WITH_RESIDUAL)}",
            do="leave --set residual out, or choose one of these",
        )


def _total(maps: Iterable[Tensor]) -> Tensor:
    first, *others = maps
    for other in others:
        first = first + other
    return first
