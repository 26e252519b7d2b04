"""How many parameters and multiply-adds a PyTorch network has.

Counted are the multiply-adds of convolutions, transposed convolutions and linear layers (what the papers call
FLOPs); biases, normalisation, activations, pooling, sums and functional calls such as ``torch.matmul`` are not.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from espdeploy.errors import UsageError
from espdeploy.lazy import require
from espdeploy.networks.entry import NetworkEntry, SettingValue, Shape
from espdeploy.specs import ImageSize

if TYPE_CHECKING:
    from torch import Tensor, nn

IMAGE_CHANNELS = 3


@dataclass(frozen=True, kw_only=True)
class LayerCount:
    """One layer: its parameters, and its multiply-adds for the whole input (None where shapes are unknown)."""

    name: str
    kind: str
    params: int
    macs: int | None


@dataclass(frozen=True, kw_only=True)
class ModelCounts:
    """A network's counts. ``macs`` is None where it cannot be known; ``note`` says what was counted."""

    params: int
    macs: int | None
    layers: tuple[LayerCount, ...]
    note: str


def count_params(module: nn.Module) -> int:
    """The learned parameters; one that several layers share counts once. Buffers do not count."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_macs(module: nn.Module, shape: Shape) -> int:
    """The multiply-adds for one input of ``shape`` (N, C, H, W), from shapes alone.

    Raises:
        UsageError: the network does not take an input of this shape.
    """
    return sum(layer.macs or 0 for layer in count_layers(module, shape))


def count_layers(module: nn.Module, shape: Shape) -> tuple[LayerCount, ...]:
    """Every convolution and linear layer in the order of their first call.

    A layer that is called several times adds up. A network that cannot run on shapes alone runs once for real.

    Raises:
        UsageError: the network does not take an input of this shape.
    """
    torch = require("torch", extra="export")
    counted = (torch.nn.modules.conv._ConvNd, torch.nn.Linear)
    found: dict[str, LayerCount] = {}

    def hook_for(name: str) -> object:
        def add(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            before = found[name].macs or 0 if name in found else 0
            macs = before + _layer_macs(layer, inputs[0], output)
            found[name] = LayerCount(name=name, kind=type(layer).__name__, params=count_params(layer), macs=macs)

        return add

    handles = [
        layer.register_forward_hook(hook_for(name))
        for name, layer in module.named_modules()
        if isinstance(layer, counted)
    ]
    try:
        _run_on_shapes(module, shape, restart=found.clear)
    finally:
        for handle in handles:
            handle.remove()
    return tuple(found.values())
