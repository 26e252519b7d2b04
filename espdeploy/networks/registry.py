"""The zoo as one dictionary that one can read, and what is asked of it without PyTorch."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from espdeploy.errors import UsageError, nearest
from espdeploy.networks import entries_compared, entries_eru, entries_espnet, entries_espnetv2
from espdeploy.networks.entry import ModuleFigures, NetworkEntry, NetworkSummary, Setting, SettingValue
from espdeploy.protocols import BATCH, TensorInfo
from espdeploy.specs import ImageSize

#: every network by its name, in the order in which it is listed
REGISTRY: dict[str, NetworkEntry] = {
    entry.name: entry
    for entry in (
        *entries_espnet.ENTRIES,
        *entries_espnetv2.ENTRIES,
        *entries_compared.ENTRIES,
        *entries_eru.ENTRIES,
    )
}
#: what a network of images calls its one input, and its channels
IMAGE_INPUT, IMAGE_CHANNELS = "input", 3

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def entry(name: str) -> NetworkEntry:
    """The network of this name.

    Raises:
        UsageError: the zoo has none such; names the nearest one.
    """
    found = REGISTRY.get(name)
    if found is None:
        raise UsageError(
            f'the zoo has no network "{name}"',
            why=nearest(name, REGISTRY),
            do="espdeploy models lists the zoo; a network of your own is given as package.module:factory",
        )
    return found


def parse_settings(network: NetworkEntry, raw: Mapping[str, str]) -> dict[str, SettingValue]:
    """The given settings with their types, without the defaults.

    Args:
        network: the entry whose settings they are.
        raw: what ``--set`` gave, by name.

    Raises:
        UsageError: an unknown name, a value of another type, or one out of range.
    """
    known = {setting.name: setting for setting in network.settings}
    parsed: dict[str, SettingValue] = {}
    for name, text in raw.items():
        setting = known.get(name)
        if setting is None:
            raise UsageError(
                f'{network.name} has no setting "{name}" (--set {name}={text})',
                why=nearest(name, known),
                do=f"espdeploy models {network.name}",
            )
        parsed[name] = _parse(setting, text, network=network)
    return parsed


def with_defaults(network: NetworkEntry, given: Mapping[str, SettingValue]) -> dict[str, SettingValue]:
    """Every setting of the network: the given ones, and the defaults of the others."""
    return {**network.defaults, **given}


def check_size(network: NetworkEntry, size: ImageSize) -> None:
    """Check that the network takes images of this size.

    Raises:
        UsageError: a side is no multiple of what the network needs, or too small; names the sizes that fit.
    """
    least, step = network.min_size, network.size_multiple
    low = ImageSize(
        width=max(least.width, size.width // step * step), height=max(least.height, size.height // step * step)
    )
    high = ImageSize(
        width=max(least.width, -(-size.width // step) * step), height=max(least.height, -(-size.height // step) * step)
    )
    if low == high == size:
        return
    fits = str(low) if low == high else f"{low} or {high}"
    multiples = f"must be multiples of {step}, from {least} up" if step > 1 else f"start at {least}"
    raise UsageError(
        f"{network.name} cannot take images of {size}",
        why=f"width and height {multiples}",
        do=f"--size {fits}",
    )


def check_length(network: NetworkEntry, settings: Mapping[str, SettingValue], size: ImageSize) -> None:
    """Check that no image size is asked for where the network takes text, whose length is a setting.

    Raises:
        UsageError: the size is not (``seq_len``, 1).
    """
    if network.inputs is not None and size != size_for(network, settings):
        raise UsageError(
            f"{network.name} takes no images, and --size {size} does not fit it",
            why=f"its input is a text of seq_len={settings['seq_len']} tokens",
            do=f"--set seq_len={size.width} instead of --size",
        )


def inputs_of(network: NetworkEntry, settings: Mapping[str, SettingValue], size: ImageSize) -> tuple[TensorInfo, ...]:
    """The network's inputs; the extent that counts images or texts is named ``batch``.

    Args:
        network: the entry.
        settings: all of them.
        size: of the images.
    """
    if network.inputs is None:
        return (image_input(size),)
    inputs: Callable[..., tuple[TensorInfo, ...]] = _resolve(network.inputs)
    return inputs(settings)


def image_input(size: ImageSize) -> TensorInfo:
    """The one input of a network of images, (batch, 3, H, W)."""
    return TensorInfo(name=IMAGE_INPUT, shape=(BATCH, IMAGE_CHANNELS, size.height, size.width), dtype="float32")


def summary(
    network: NetworkEntry, settings: Mapping[str, SettingValue] | None = None, *, size: ImageSize | None = None
) -> NetworkSummary:
    """What the zoo tells of a network; with its default settings and size this needs no PyTorch.

    Args:
        network: the entry.
        settings: as from :func:`parse_settings`; missing ones have their default.
        size: of the images; None is the network's own for that number of classes.

    Raises:
        UsageError: the size does not fit, or the settings do not go together.
        MissingCapability: other settings or sizes are counted anew, and PyTorch is not installed.
    """
    full = with_defaults(network, settings or {})
    at = size or size_for(network, full)
    check_size(network, at)
    check_length(network, full, at)
    params, macs, in_modules = network.params, network.macs, network.counted_modules
    modules = _modules(network, full, at)
    if full != network.defaults or at != network.default_size:
        from espdeploy.networks.counting import count_network  # loads PyTorch, which the facts do without

        counts = count_network(network, full, size=at)
        params, macs = counts.params, counts.macs or 0
        in_modules = counts.params_in([module.path for module in modules])
    return NetworkSummary(
        name=network.name,
        task=network.task,
        params=params,
        macs=macs,
        input_size=at,
        source=network.paper,
        settings=full,
        checkpoints=network.checkpoints,
        published=network.published,
        note=network.note,
        modules=tuple(replace(module, counted_params=count) for module, count in zip(modules, in_modules, strict=True)),
    )


def _modules(network: NetworkEntry, settings: Mapping[str, SettingValue], size: ImageSize) -> Sequence[ModuleFigures]:
    """The formulas' figures of the network's modules; none where no paper gives any."""
    if network.modules is None:
        return ()
    figures: Callable[..., Sequence[ModuleFigures]] = _resolve(network.modules)
    return figures(settings, size)


def _resolve(reference: str) -> Callable[..., Any]:
    """The function behind ``module:function``, loaded when it is asked for."""
    module_name, _, function = reference.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module_name), function)
    return found


def size_for(network: NetworkEntry, settings: Mapping[str, SettingValue]) -> ImageSize:
    """The image size where none is asked for: that of the data set with as many classes, else the default.

    A network of texts has (``seq_len``, 1).
    """
    if network.inputs is not None:
        return ImageSize(width=int(settings["seq_len"]), height=1)
    classes = settings.get("classes")
    variant = network.variant_for(classes) if isinstance(classes, int) else None
    return variant.size if variant else network.default_size


def allowed(setting: Setting, value: SettingValue) -> bool:
    """Whether the value is in the setting's range; NaN never is."""
    if setting.choices:
        return value in setting.choices
    if isinstance(value, str | bool):
        return True
    above = setting.minimum is None or value >= setting.minimum
    return above and (setting.maximum is None or value <= setting.maximum) and value == value  # noqa: PLR0124


def _parse(setting: Setting, text: str, *, network: NetworkEntry) -> SettingValue:
    value = _typed(setting.kind, text.strip())
    if value is None or not allowed(setting, value):
        raise UsageError(
            f"--set {setting.name}={text} does not fit {network.name}",
            why=f"{setting.name} takes {setting.describe()}",
            do=f"--set {setting.name}={setting.default} is the default",
        )
    return value


def _typed(kind: str, text: str) -> SettingValue | None:
    """``text`` as ``kind``; None where it is not one."""
    try:
        if kind == "int":
            return int(text)
        if kind == "float":
            return float(text)
    except ValueError:
        return None
    if kind == "bool":
        lower = text.lower()
        return lower in _TRUE if lower in (*_TRUE, *_FALSE) else None
    return text
