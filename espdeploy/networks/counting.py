"""How many parameters and multiply-adds a PyTorch network has.

Counted are the multiply-adds of convolutions, transposed convolutions and linear layers (what the papers call
FLOPs); biases, normalisation, activations, pooling, sums and functional calls such as ``torch.matmul`` are not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from espdeploy.errors import UsageError
from espdeploy.lazy import require
from espdeploy.networks.entry import NetworkEntry, SettingValue, Shape
from espdeploy.networks.factories import last_line, make
from espdeploy.networks.registry import IMAGE_INPUT, inputs_of
from espdeploy.protocols import TensorInfo
from espdeploy.specs import ImageSize

if TYPE_CHECKING:
    from torch import Tensor, nn

#: the shape of the one input, or all inputs by name
Given = Shape | Sequence[TensorInfo]
NOTE = "multiply-adds of convolution and linear layers; parameters are all that are learned"


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

    def params_in(self, paths: Sequence[str]) -> tuple[int, ...]:
        """The parameters of the counted layers inside each of the modules at ``paths``."""
        return tuple(sum(layer.params for layer in self.layers if layer.name.startswith(f"{path}.")) for path in paths)


def count_params(module: nn.Module) -> int:
    """The learned parameters; one that several layers share counts once. Buffers do not count."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_macs(module: nn.Module, shape: Given) -> int:
    """The multiply-adds for one input of ``shape`` (N, C, H, W), from shapes alone.

    Raises:
        UsageError: the network does not take an input of this shape.
    """
    return sum(layer.macs or 0 for layer in count_layers(module, shape))


def count_layers(module: nn.Module, shape: Given) -> tuple[LayerCount, ...]:
    """Every convolution and linear layer in the order of their first call; one called several times adds up.

    Raises:
        UsageError: the network does not take an input of this shape.
    """
    tally = _Tally()
    handles = [
        layer.register_forward_hook(tally.hook(name))
        for name, layer in module.named_modules()
        if isinstance(layer, _counted_types())
    ]
    try:
        _run(module, _inputs(shape), tally)
    finally:
        for handle in handles:
            handle.remove()
    return tuple(tally.layers.values())


def count_module(module: nn.Module, shape: Given) -> ModelCounts:
    """Parameters and multiply-adds of any network for one input of ``shape`` (N, C, H, W), or for several inputs.

    Raises:
        UsageError: the network does not take an input of this shape.
    """
    layers = count_layers(module, shape)
    return ModelCounts(
        params=count_params(module),
        macs=sum(layer.macs or 0 for layer in layers) if layers else None,
        layers=layers,
        note=NOTE if layers else "no convolution or linear layer was seen: multiply-adds unknown",
    )


def count_network(network: NetworkEntry, settings: Mapping[str, SettingValue], *, size: ImageSize) -> ModelCounts:
    """Counts of a network of the zoo for one image, without allocating its weights.

    Raises:
        UsageError: the settings do not go together.
        MissingCapability: PyTorch is not installed.
    """
    torch = require("torch", extra="export")
    with torch.device("meta"):
        module = make(network, settings).eval()
    return count_module(module, inputs_of(network, settings, size))


class _Tally:
    """What the hooks see, by layer name."""

    def __init__(self) -> None:
        self.layers: dict[str, LayerCount] = {}

    def hook(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def add(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            before = self.layers.get(name)
            macs = _layer_macs(layer, inputs[0], output) + ((before.macs or 0) if before else 0)
            self.layers[name] = LayerCount(name=name, kind=type(layer).__name__, params=count_params(layer), macs=macs)

        return add


def _counted_types() -> tuple[type[Any], ...]:
    nn = require("torch", extra="export").nn
    convolutions = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    return (*convolutions, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)


def _layer_macs(layer: nn.Module, given: Tensor, output: Tensor) -> int:
    """Closed forms: each output value of a convolution takes (in / groups) * kernel multiply-adds."""
    if hasattr(layer, "in_features"):
        return int(output.numel() * layer.in_features)
    taps = prod(layer.kernel_size)
    if layer.transposed:  # the other way round: each input value feeds (out / groups) * kernel outputs
        return int(given.numel() * layer.out_channels // layer.groups * taps)
    return int(output.numel() * layer.in_channels // layer.groups * taps)


def _run(module: nn.Module, inputs: Sequence[TensorInfo], tally: _Tally) -> None:
    """Run on shapes alone; a network that cannot (it reads values, or holds hidden tensors) runs once for real."""
    torch = require("torch", extra="export")
    try:
        _run_on_meta(module, inputs)
    except Exception as on_meta:  # code of the user's: anything may come
        tally.layers.clear()
        if any(tensor.is_meta for tensor in module.parameters()):
            raise _does_not_run(module, inputs, on_meta) from on_meta
        try:
            with torch.no_grad():
                module(*_zeros(inputs, device="cpu"))
        except Exception as error:
            raise _does_not_run(module, inputs, error) from error


def _run_on_meta(module: nn.Module, inputs: Sequence[TensorInfo]) -> None:
    """One forward without data; the module keeps its own tensors."""
    torch = require("torch", extra="export")
    named = [*module.named_parameters(), *module.named_buffers()]
    shapes = {name: torch.empty_like(tensor, device="meta") for name, tensor in named}
    with torch.no_grad():
        torch.func.functional_call(module, shapes, _zeros(inputs, device="meta"))


def _inputs(shape: Given) -> tuple[TensorInfo, ...]:
    """All inputs by name; a bare shape is that of the one image."""
    named = tuple(item for item in shape if isinstance(item, TensorInfo))
    if named:
        return named
    return (TensorInfo(name=IMAGE_INPUT, shape=tuple(n for n in shape if isinstance(n, int)), dtype="float32"),)


def _zeros(inputs: Sequence[TensorInfo], *, device: str) -> tuple[Tensor, ...]:
    """A tensor for each input, with a batch of one."""
    torch = require("torch", extra="export")
    return tuple(torch.zeros(item.extents(1), dtype=getattr(torch, item.dtype), device=device) for item in inputs)


def _does_not_run(module: nn.Module, inputs: Sequence[TensorInfo], error: Exception) -> UsageError:
    shapes = ", ".join("x".join(map(str, item.extents(1))) for item in inputs)
    return UsageError(
        f"{type(module).__name__} does not run on an input of shape {shapes}",
        why=last_line(error),
        do="choose another --size, or give a network whose forward takes one image tensor (N, C, H, W)",
    )
