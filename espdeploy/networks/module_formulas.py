"""What the ESPNet paper's formulas say of its module and of those that it is compared with: arithmetic, no PyTorch.

Section 3.1 (ESP), section 3.2 and Figure 3 (the others); two stacked n x n convolutions for ResNet (section 4.2).
M and N are the channels in and out, d = floor(N / K) those of a branch, g the groups, n the kernel's side. Where K does
not divide N, the paper's footnote 4 applies: the first branch makes N - (K - 1) d channels, so that K branches make N
together; the formulas below write N for the paper's K d. For ShuffleNet, d is the next lower multiple of g.

Parameters are weights of convolutions, without normalisations and activations. Memory is, as in Figure 3, what the
convolutional layers write: their output values, at 4 bytes each. The effective receptive field is the side in pixels of
what one output pixel sees.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from espdeploy.networks.entry import ModuleFigures, SettingValue
from espdeploy.specs import ImageSize

#: the modules of Figures 3 and 5; what ``espnet-c --set module=…`` takes
MODULES = ("esp", "mobilenet", "shufflenet", "inception", "resnext", "resnet", "asp")
#: those whose sketch adds the input to the output
WITH_RESIDUAL = ("esp", "shufflenet", "resnext", "resnet")
#: ShuffleNet's groups in the study (caption of Figure 5)
GROUPS = 4
KERNEL = 3
#: channels of ESPNet's levels, which its modules take and give
LEVEL_CHANNELS = {2: 64, 3: 128}


@dataclass(frozen=True, kw_only=True)
class ModuleShape:
    """What a module is built for. ``width`` and ``height`` are of its maps, in pixels."""

    in_channels: int
    out_channels: int
    width: int
    height: int
    k: int
    kernel: int = KERNEL
    groups: int = GROUPS


def narrow(kind: str, out_channels: int, *, k: int, groups: int = GROUPS) -> int:
    """Channels of a branch, d: the floor of N / K; with ShuffleNet a multiple of its groups, and at least that."""
    width = out_channels // k
    return max(groups, width // groups * groups) if kind == "shufflenet" else width


def params(kind: str, shape: ModuleShape) -> int:
    """Weights of the module's convolutions."""
    m, n_out, k, g = shape.in_channels, shape.out_channels, shape.k, shape.groups
    taps, d = shape.kernel**2, narrow(kind, n_out, k=k, groups=g)
    return {
        "esp": m * d + taps * d * n_out,
        "mobilenet": m * (taps + n_out),
        "shufflenet": d * (m + n_out) // g + taps * d,
        "inception": k * m * d + taps * d * n_out,
        "resnext": k * (m * d + taps * d * d + d * n_out),
        "resnet": taps * (m * n_out + n_out * n_out),
        "asp": k * taps * m * n_out,
    }[kind]


def memory_floats(kind: str, shape: ModuleShape) -> int:
    """Values that the module's convolutions write for one image."""
    m, n_out, k = shape.in_channels, shape.out_channels, shape.k
    d = narrow(kind, n_out, k=k, groups=shape.groups)
    channels = {
        "esp": d + n_out,
        "mobilenet": m + n_out,
        "shufflenet": 2 * d + n_out,
        "inception": k * d + n_out,
        "resnext": k * (2 * d + n_out),
        "resnet": 2 * n_out,
        "asp": k * n_out,
    }[kind]
    return channels * shape.width * shape.height


def effective_receptive_field(kind: str, shape: ModuleShape) -> int:
    """The side, in pixels, of what one output pixel sees: (n - 1) 2^(K - 1) + 1 with dilations up to 2^(K - 1)."""
    if kind in ("esp", "asp"):
        return ((shape.kernel - 1) << (shape.k - 1)) + 1
    return 2 * (shape.kernel - 1) + 1 if kind == "resnet" else shape.kernel


def figures(settings: Mapping[str, SettingValue], size: ImageSize) -> tuple[ModuleFigures, ...]:
    """The formulas' figures for the modules of levels 2 and 3 of ESPNet-C; ``counted_params`` is left open."""
    kind, found = str(settings["module"]), []
    for level, channels in LEVEL_CHANNELS.items():
        shape = ModuleShape(
            in_channels=channels,
            out_channels=channels,
            width=size.width >> level,
            height=size.height >> level,
            k=int(settings["k"]),
        )
        found.append(
            ModuleFigures(
                name=kind,
                path=f"stage{level}.0",
                repeats=int(settings[f"alpha{level}"]),
                in_channels=channels,
                out_channels=channels,
                map_size=ImageSize(width=shape.width, height=shape.height),
                params=params(kind, shape),
                memory_floats=memory_floats(kind, shape),
                effective_receptive_field=effective_receptive_field(kind, shape),
            )
        )
    return tuple(found)
