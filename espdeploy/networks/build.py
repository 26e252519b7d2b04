"""From a specification to a network that is ready to be exported: built, loaded, counted and described."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from espdeploy import __version__
from espdeploy.artifacts import ClassSet, ModelCard, Preprocessing, sha256_of
from espdeploy.errors import InputFileError, UsageError
from espdeploy.lazy import require
from espdeploy.networks import checkpoints, classes, registry
from espdeploy.networks.counting import count_module
from espdeploy.networks.entry import NetworkEntry, ReleasedCheckpoint, SettingValue
from espdeploy.networks.factories import last_line, literal, make, make_from
from espdeploy.protocols import TensorInfo
from espdeploy.specs import ImageSize, ModelSpec

if TYPE_CHECKING:
    from torch import nn

#: for networks of the user's own, which state none
FACTORY_SIZE = ImageSize(width=224, height=224)


@dataclass(frozen=True, kw_only=True)
class BuiltNetwork:
    """A network in evaluation mode without gradients, with what is known about it.

    ``notes`` holds what was assumed for want of knowledge, one sentence each; ``released`` is set where the
    weights are a file that the authors released; ``jumps_pct`` is the registry entry's. ``inputs`` are what it takes,
    with a dynamic extent for the batch; ``outputs`` their names, empty where nobody gave any.
    """

    module: nn.Module
    card: ModelCard
    size: ImageSize
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    released: ReleasedCheckpoint | None = None
    jumps_pct: float = 0.0


@dataclass(frozen=True, kw_only=True)
class _Weights:
    """A checkpoint as it was read."""

    path: Path
    sha256: str
    identified: checkpoints.Identified
    released: ReleasedCheckpoint | None


def build(spec: ModelSpec, *, size: ImageSize | None = None, seed: int = 0) -> BuiltNetwork:
    """Build what ``spec`` names: a network of the zoo, or ``package.module:factory``.

    Args:
        spec: name, settings and weights.
        size: of the images; None is the checkpoint's or the network's own.
        seed: of the random initialisation; the caller's random state stays as it is.

    Raises:
        UsageError: an unknown network or setting, settings that contradict the weights, a size that does not
            fit, or a factory that fails.
        InputFileError: the weights cannot be used.
        MissingCapability: PyTorch is not installed.
    """
    if spec.is_onnx:
        raise UsageError(
            f"{spec.name} is an ONNX file and has no PyTorch network to build",
            do="use it as it is, or name a network of the zoo or package.module:factory",
        )
    if spec.is_factory:
        return _build_factory(spec, size=size or FACTORY_SIZE, seed=seed)
    return _build_zoo(spec, size=size, seed=seed)


def _build_zoo(spec: ModelSpec, *, size: ImageSize | None, seed: int) -> BuiltNetwork:
    network = registry.entry(spec.name)
    given = registry.parse_settings(network, spec.settings)
    weights = _read_weights(network, spec.weights, given) if spec.weights else None
    settings = _with_weights(network, weights, given) if weights else registry.with_defaults(network, given)
    released = weights.released if weights else None
    at = size or (released.size if released else registry.size_for(network, settings))
    registry.check_size(network, at)
    registry.check_length(network, settings, at)
    with _seeded(seed):
        module = make(network, settings)
    if weights:
        # strict is off for the batch counters alone, which old files lack; identify() has matched all the rest
        module.load_state_dict(weights.identified.tensors, strict=False)
    class_set, preprocessing, notes = _data_of(network, settings, released)
    if weights and not released and any(k.sha256 and k.name == weights.path.name for k in network.checkpoints):
        notes = (*notes, f"{weights.path.name} is named as a released file, but its SHA-256 is another")
    card = ModelCard(
        name=network.name,
        task=network.task,
        settings=dict(settings),
        preprocessing=preprocessing,
        classes=class_set,
        weights=weights.path.name if weights else f"random initialisation, seed {seed}",
        weights_sha256=weights.sha256 if weights else None,
    )
    inputs = registry.inputs_of(network, settings, at)
    finished = _finished(module, card, inputs=inputs, size=at, notes=notes)
    return replace(finished, released=released, jumps_pct=network.jumps_pct, outputs=network.outputs)


def _build_factory(spec: ModelSpec, *, size: ImageSize, seed: int) -> BuiltNetwork:
    settings = {name: literal(text) for name, text in spec.settings.items()}
    with _seeded(seed):
        module = make_from(spec.name, settings)
    if spec.weights:
        _load_strictly(module, spec.weights)
    card = ModelCard(
        name=spec.name,
        task="unknown",
        settings=dict(settings),
        weights=spec.weights.name if spec.weights else f"as the factory made them, seed {seed}",
        weights_sha256=sha256_of(spec.weights) if spec.weights else None,
    )
    notes = ("pre-processing and classes are unknown: the factory does not state them",)
    return _finished(module, card, inputs=(registry.image_input(size),), size=size, notes=notes)


def _finished(
    module: nn.Module,
    card: ModelCard,
    *,
    inputs: tuple[TensorInfo, ...],
    size: ImageSize,
    notes: tuple[str, ...],
) -> BuiltNetwork:
    """Ready for inference and counted, which proves that the network takes such inputs."""
    flushed = _flush_denormals(module)
    if flushed:
        notes = (*notes, f"{flushed:,} denormal weights were set to zero: they slow processors down and move no output")
    module.eval()
    module.requires_grad_(False)
    counts = count_module(module, inputs)
    full = replace(card, params=counts.params, macs=counts.macs, espdeploy_version=__version__)
    return BuiltNetwork(module=module, card=full, size=size, inputs=inputs, notes=notes)


def _flush_denormals(module: nn.Module) -> int:
    """Set weights too small for a normal float to zero, and say how many there were.

    The released ESPNet checkpoints hold thousands, left by weight decay. Processors take a slow path for them: with
    them a PyTorch inference took 12 times as long on the machine where this was found, with bit-identical output.
    """
    torch = require("torch", extra="export")
    count = 0
    with torch.no_grad():
        for values in module.parameters():
            if values.is_floating_point():
                denormal = (values != 0) & (values.abs() < torch.finfo(values.dtype).tiny)
                count += int(denormal.sum())
                values.masked_fill_(denormal, 0.0)
    return count


def _read_weights(network: NetworkEntry, path: Path, given: Mapping[str, SettingValue]) -> _Weights:
    """The checkpoint, checked against the network and the settings that were asked for."""
    identified = checkpoints.identify(checkpoints.load(path), path=path, expect=network.name)
    told = {name: value for name, value in identified.settings.items() if name not in _untold(network)}
    checkpoints.check_agreement(told, given, path=path)
    sha256 = sha256_of(path)
    released = next((known for known in network.checkpoints if known.sha256 == sha256), None)
    return _Weights(path=path, sha256=sha256, identified=identified, released=released)


def _untold(network: NetworkEntry) -> set[str]:
    """Settings that no checkpoint tells: what was asked for holds."""
    return {setting.name for setting in network.settings if not setting.in_weights}


def _with_weights(
    network: NetworkEntry, weights: _Weights, given: Mapping[str, SettingValue]
) -> dict[str, SettingValue]:
    return {**weights.identified.settings, **{name: given[name] for name in _untold(network) & set(given)}}


def _data_of(
    network: NetworkEntry, settings: Mapping[str, SettingValue], released: ReleasedCheckpoint | None
) -> tuple[ClassSet | None, Preprocessing | None, tuple[str, ...]]:
    """Classes and pre-processing: those of the released file, else of the data set with as many classes.

    Both are None where the network takes no images.
    """
    if network.inputs is not None:
        return None, None, ()
    count = int(settings["classes"])
    variant = network.variant(released.data) if released else network.variant_for(count)
    if variant is not None:
        return variant.classes, variant.preprocessing, ()
    default = network.data[0]
    note = f"no known data set has {count} classes: class names are numbers, pre-processing is that of {default.name}"
    return classes.generic(count), default.preprocessing, (note,)


def _load_strictly(module: nn.Module, path: Path) -> None:
    """Load a checkpoint whose names must be the module's own."""
    try:
        module.load_state_dict(checkpoints.load(path), strict=True)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:]]
        raise InputFileError(
            f"{path} does not fit {type(module).__name__}",
            why=" ".join(lines)[:300] or last_line(error),
            do="give the weights of this network, or the --set values that it was trained with",
        ) from error


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed PyTorch's CPU generator for the block, and give it back as it was."""
    torch = require("torch", extra="export")
    before = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(before)
