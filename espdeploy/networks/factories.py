"""From text to a PyTorch module: the zoo's factories, and ``package.module:factory`` of the user's own."""

from __future__ import annotations

import ast
import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

from espdeploy.errors import EspdeployError, UsageError, nearest
from espdeploy.lazy import require
from espdeploy.networks.entry import NetworkEntry, SettingValue

if TYPE_CHECKING:
    from torch import nn


def make(network: NetworkEntry, settings: Mapping[str, SettingValue]) -> nn.Module:
    """A network of the zoo with the given settings (all of them), freshly initialised by PyTorch's global generator.

    Raises:
        UsageError: the settings do not go together.
        MissingCapability: PyTorch is not installed.
    """
    require("torch", extra="export")
    module_name, _, function = network.factory.partition(":")
    factory: Callable[..., nn.Module] = getattr(importlib.import_module(module_name), function)
    return factory(**settings)


def make_from(reference: str, settings: Mapping[str, SettingValue]) -> nn.Module:
    """Call ``package.module:factory`` with ``settings`` as keyword arguments.

    The current directory is importable meanwhile, as for ``python -m``.

    Raises:
        UsageError: the reference names nothing, the user's code fails, or it returns no ``torch.nn.Module``.
        MissingCapability: PyTorch is not installed.
    """
    torch = require("torch", extra="export")
    with _current_directory_importable():
        factory = _resolve(reference)
        call = f"{reference}({', '.join(f'{name}={value!r}' for name, value in settings.items())})"
        module = _guarded(lambda: factory(**settings), doing=f"{call} failed")
    if not isinstance(module, torch.nn.Module):
        raise UsageError(
            f"{call} returned {type(module).__name__}, not a torch.nn.Module",
            do="name a function or class that returns the network itself",
        )
    return module


def literal(text: str) -> SettingValue:
    """A value by its literal form: ``3`` int, ``1e-3`` float, ``true`` bool, anything else str."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return value if isinstance(value, int | float | str) else text


def last_line(error: BaseException) -> str:
    """The exception's type and the first line of its message: what ends a traceback."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _resolve(reference: str) -> Callable[..., object]:
    """The object behind ``package.module:attribute``."""
    module_name, _, attribute = reference.partition(":")
    if not module_name or not attribute:
        raise UsageError(
            f'"{reference}" names no factory', do="give package.module:factory, for example mynets.unet:build"
        )
    module = _guarded(lambda: importlib.import_module(module_name), doing=f"cannot import {module_name}")
    try:
        found: object = reduce(getattr, attribute.split("."), module)
    except AttributeError as error:
        public = [name for name in vars(module) if not name.startswith("_")]
        raise UsageError(f"{module_name} has no {attribute}", why=nearest(attribute, public)) from error
    if not callable(found):
        raise UsageError(
            f"{reference} is of type {type(found).__name__} and cannot be called",
            do="name a function or class that returns the network",
        )
    return found


def _guarded(call: Callable[[], object], *, doing: str) -> object:
    """Run code of the user's; whatever it raises becomes a UsageError with its last line."""
    try:
        return call()
    except EspdeployError:
        raise
    except (Exception, SystemExit) as error:
        raise UsageError(doing, why=last_line(error), do="--debug shows the traceback") from error


@contextlib.contextmanager
def _current_directory_importable() -> Iterator[None]:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(here)
