"""Where a network's parameters and multiply-adds are: by layer, by kind of layer, and by kind of block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from espdeploy.lazy import require
from espdeploy.networks.counting import LayerCount, ModelCounts, count_network
from espdeploy.networks.entry import NetworkEntry, SettingValue
from espdeploy.networks.factories import make
from espdeploy.specs import ImageSize

if TYPE_CHECKING:
    from torch import nn

#: they only hold other modules, and compute nothing of their own
_CONTAINERS = ("Sequential", "ModuleList", "ModuleDict")


@dataclass(frozen=True, kw_only=True)
class KindCount:
    """All layers, or all blocks, of one kind. ``macs`` is None where one of them has unknown shapes."""

    kind: str
    count: int
    params: int
    macs: int | None


@dataclass(frozen=True, kw_only=True)
class Breakdown:
    """The parts of a count. Layers and their kinds add up to the whole; a block inside another counts in both."""

    layers: tuple[LayerCount, ...]
    kinds: tuple[KindCount, ...]
    blocks: tuple[KindCount, ...]
    note: str


def of_network(network: NetworkEntry, settings: Mapping[str, SettingValue], *, size: ImageSize) -> Breakdown:
    """The parts of a network of the zoo, every module with parameters of its own being a layer.

    Raises:
        UsageError: the settings do not go together.
        MissingCapability: PyTorch is not installed.
    """
    counts = count_network(network, settings, size=size)
    torch = require("torch", extra="export")
    with torch.device("meta"):
        module = make(network, settings)
    layers = tuple(_layers(module, {layer.name: layer.macs for layer in counts.layers}))
    return Breakdown(layers=layers, kinds=kinds(layers), blocks=_blocks(module, layers), note=counts.note)


def of_counts(counts: ModelCounts) -> Breakdown:
    """The parts of a count that lists every layer already, such as that of an ONNX graph."""
    return Breakdown(layers=counts.layers, kinds=kinds(counts.layers), blocks=(), note=counts.note)


def kinds(layers: Iterable[LayerCount]) -> tuple[KindCount, ...]:
    """Layers of one kind together, those with the most multiply-adds first."""
    grouped: dict[str, list[LayerCount]] = {}
    for layer in layers:
        grouped.setdefault(layer.kind, []).append(layer)
    totals = [_total(kind, members, len(members)) for kind, members in grouped.items()]
    return tuple(sorted(totals, key=lambda total: (-(total.macs or 0), -total.params, total.kind)))


def _total(kind: str, layers: list[LayerCount], count: int) -> KindCount:
    known = [layer.macs for layer in layers if layer.macs is not None]
    return KindCount(
        kind=kind,
        count=count,
        params=sum(layer.params for layer in layers),
        macs=sum(known) if len(known) == len(layers) else None,
    )


def _layers(module: nn.Module, macs: Mapping[str, int | None]) -> Iterator[LayerCount]:
    """Modules with own parameters or multiply-adds, in the network's order; a shared parameter counts at its first."""
    seen: set[int] = set()
    for name, layer in module.named_modules():
        own = {id(item): item.numel() for item in layer.parameters(recurse=False) if id(item) not in seen}
        seen.update(own)
        if own or name in macs:
            yield LayerCount(name=name, kind=type(layer).__name__, params=sum(own.values()), macs=macs.get(name, 0))


def _blocks(module: nn.Module, layers: tuple[LayerCount, ...]) -> tuple[KindCount, ...]:
    """Composite modules by their class, without the network itself; one inside another of its class does not count."""
    places: dict[str, list[str]] = {}
    for name, block in module.named_modules():
        kind = type(block).__name__
        if not name or kind in _CONTAINERS or not any(True for _ in block.children()):
            continue
        found = places.setdefault(kind, [])
        if not any(name.startswith(f"{outer}.") for outer in found):
            found.append(name)
    totals = []
    for kind, names in places.items():
        inside = [layer for layer in layers if any(layer.name.startswith(f"{name}.") for name in names)]
        totals.append(_total(kind, inside, len(names)))
    return tuple(sorted(totals, key=lambda total: (-(total.macs or 0), -total.params, total.kind)))
