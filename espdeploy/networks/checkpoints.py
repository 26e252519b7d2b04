"""What a checkpoint file is, read off its tensors' names and shapes; nothing in it is ever executed."""

from __future__ import annotations

import importlib
import pickle
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from espdeploy.errors import InputFileError, UsageError
from espdeploy.lazy import require
from espdeploy.networks.entry import NetworkEntry, SettingValue, Shape
from espdeploy.networks.factories import make
from espdeploy.networks.registry import REGISTRY, allowed, with_defaults

if TYPE_CHECKING:
    from torch import Tensor

    Tensors = dict[str, Tensor]

#: where training scripts put the tensors in a larger dictionary
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network")
#: what DataParallel and torch.compile put before every name
_PREFIXES = ("module.", "_orig_mod.")
#: a counter that PyTorch added after the first releases; inference does not read it
_OPTIONAL_SUFFIX = ".num_batches_tracked"
_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Identified:
    """A checkpoint of a network of the zoo: the settings its shapes tell, and its tensors by our names."""

    network: str
    settings: dict[str, SettingValue]
    tensors: Tensors


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """How well tensors fit a network: which are shared, and what is in the way."""

    network: str
    settings: dict[str, SettingValue]
    renamed: Tensors
    shared: int
    alike_shapes: int  # whatever their names
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    differing: tuple[str, ...]

    @property
    def exact(self) -> bool:
        return not (self.missing or self.unexpected or self.differing)

    @property
    def score(self) -> tuple[float, int]:
        """The share of all names concerned that fit (1: exactly); where none does, the shapes decide."""
        concerned = self.shared + len(self.missing) + len(self.unexpected) + len(self.differing)
        return self.shared / max(1, concerned), self.alike_shapes

    def describe(self) -> str:
        """What does not fit, in one line."""
        parts = [
            _some(self.missing, "missing"),
            _some(self.unexpected, "unknown there"),
            _some(self.differing, "of another shape"),
        ]
        return "; ".join(part for part in parts if part)


def load(path: Path) -> Tensors:
    """The tensors of a checkpoint by their names, on the CPU, without wrapper and common prefix.

    Raises:
        InputFileError: the file is missing, damaged, holds more than tensors, or is no state dict.
        MissingCapability: PyTorch is not installed.
    """
    tensors = _unwrap(_read(path), path)
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    _check_plain(tensors, path)
    broken = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if broken:
        raise InputFileError(
            f"{path} holds values that are not finite numbers",
            why=_some(broken, "affected"),
            do="use a checkpoint from before the training diverged",
        )
    return tensors


def _check_plain(tensors: Tensors, path: Path) -> None:
    """Refuse tensors that do not hold real numbers one by one: they would be misread, or fail deep inside PyTorch."""
    torch = require("torch", extra="export")
    odd = [
        name
        for name, tensor in tensors.items()
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta or tensor.is_complex()
    ]
    if odd:
        raise InputFileError(
            f"{path} holds sparse, quantised, complex or empty tensors",
            why=_some(odd, "affected"),
            do="save the network's state dict with plain dense tensors",
        )


def identify(tensors: Tensors, *, path: Path, expect: str | None = None) -> Identified:
    """Which network of the zoo the tensors are of, with which settings.

    Args:
        tensors: as from :func:`load`, by the released names or by ours.
        path: the file, for messages.
        expect: the network that was asked for; it is tried first.

    Raises:
        InputFileError: they are of another network than ``expect``, or of none; names the nearest one.
    """
    names = sorted(REGISTRY, key=lambda name: name != expect)
    best: _Fit | None = None
    for fit in (fit for name in names for fit in _fits(REGISTRY[name], tensors)):
        if best is None or fit.score > best.score:
            best = fit
        if fit.exact:
            break
    if best is None or not best.exact:
        raise _no_fit(path, tensors, best)
    if expect is not None and best.network != expect:
        raise InputFileError(
            f"{path} holds weights of {best.network} ({_listed(best.settings)}), not of {expect}",
            do=f"--model {best.network} --weights {path}",
        )
    return Identified(network=best.network, settings=best.settings, tensors=best.renamed)


def check_agreement(read: Mapping[str, SettingValue], given: Mapping[str, SettingValue], *, path: Path) -> None:
    """Check that ``--set`` asks for what the checkpoint holds.

    Raises:
        UsageError: they contradict each other; names both.
    """
    for name, value in given.items():
        if name in read and read[name] != value:
            raise UsageError(
                f"--set {name}={value} contradicts {name}={read[name]}, read from {path}",
                why="with --weights the settings are those of the checkpoint",
                do=f"leave --set {name} out, or give a checkpoint with {name}={value}",
            )


def _read(path: Path) -> object:
    """What the file holds, through PyTorch's restricted reader."""
    torch = require("torch", extra="export")
    if not path.is_file():
        is_folder = path.is_dir()
        raise InputFileError(
            f"{path} is a folder, not a checkpoint" if is_folder else f"there is no checkpoint {path}",
            do="check the path that --weights names",
        )
    try:
        with warnings.catch_warnings(), path.open("rb") as stream:
            warnings.simplefilter("ignore")  # about pickle protocols; a file that cannot be read is an error below
            return torch.load(stream, weights_only=True, map_location="cpu")
    except PermissionError as error:
        raise InputFileError(f"{path} cannot be read: {error.strerror}", do="check the file's permissions") from error
    except pickle.UnpicklingError as error:
        raise _holds_code(path, error) from error
    except Exception as error:  # damaged bytes make the reader raise nearly anything
        raise _unreadable(path, error) from error


def _holds_code(path: Path, error: Exception) -> InputFileError:
    named = re.search(r"GLOBAL (\S+)", str(error))
    what = f"it refers to {named[1]}" if named else "it holds instructions that a file of tensors has no need of"
    return InputFileError(
        f"{path} holds more than tensors, and espdeploy runs no code from a checkpoint",
        why=what,
        do="save the tensors alone: torch.save(network.state_dict(), FILE)",
    )


def _unreadable(path: Path, error: Exception) -> InputFileError:
    if "TorchScript" in str(error):
        return InputFileError(
            f"{path} is a TorchScript program, not a checkpoint",
            do="save the tensors alone: torch.save(network.state_dict(), FILE)",
        )
    return InputFileError(
        f"{path} is not a PyTorch checkpoint, or is damaged ({path.stat().st_size} bytes)",
        why=(str(error).splitlines() or ["it ends too early"])[0].partition(". ")[0],
        do="fetch the file again and compare its size and SHA-256 with the original's",
    )


def _unwrap(content: object, path: Path) -> Tensors:
    """The dictionary of tensors in what was read."""
    torch = require("torch", extra="export")
    named = _innermost(content)
    if named and all(isinstance(name, str) and torch.is_tensor(value) for name, value in named.items()):
        return {str(name): value for name, value in named.items()}
    held = type(content).__name__ if named is None else ", ".join(map(str, [*named][:_SHOWN])) or "nothing"
    raise InputFileError(
        f"{path} is not a state dict",
        why=f"it holds {held}, where tensors by name are expected",
        do="save the tensors alone: torch.save(network.state_dict(), FILE)",
    )


def _innermost(content: object) -> Mapping[object, object] | None:
    """The dictionary under the first known wrapper, or the content itself; None for anything else."""
    if not isinstance(content, dict):
        return None
    return next((content[name] for name in _WRAPPERS if isinstance(content.get(name), dict)), content)


def _fits(network: NetworkEntry, tensors: Tensors) -> Iterator[_Fit]:
    """How the tensors fit a network, under their own names and read as the released ones."""
    if network.weights_format is None:
        return
    reader = importlib.import_module(network.weights_format)
    for renames in ((), reader.RENAMES):
        names = {_rename(name, renames): name for name in tensors}
        if len(names) < len(tensors):
            continue  # two became one: these are not the names that the table is for
        shapes = {ours: tuple(tensors[theirs].shape) for ours, theirs in names.items()}
        settings = _possible(network, reader.read_settings(shapes))
        expected = _expected_shapes(network, settings)
        if expected is not None:
            renamed = {ours: tensors[theirs] for ours, theirs in names.items()}
            yield _compare(network, settings, expected=expected, renamed=renamed, names=names)


def _rename(name: str, renames: Iterable[tuple[str, str]]) -> str:
    for pattern, replacement in renames:
        name = re.sub(pattern, replacement, name)
    return name


def _possible(network: NetworkEntry, read: Mapping[str, SettingValue]) -> dict[str, SettingValue]:
    """All settings: those read that the network can have, the defaults of the others."""
    known = {setting.name: setting for setting in network.settings}
    fitting = {name: value for name, value in read.items() if name in known and allowed(known[name], value)}
    return with_defaults(network, fitting)


def _expected_shapes(network: NetworkEntry, settings: Mapping[str, SettingValue]) -> dict[str, Shape] | None:
    """The network's tensors with their shapes; None where the settings do not go together."""
    torch = require("torch", extra="export")
    try:
        with torch.device("meta"):
            module = make(network, settings)
    except UsageError:
        return None
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def _compare(
    network: NetworkEntry,
    settings: dict[str, SettingValue],
    *,
    expected: Mapping[str, Shape],
    renamed: Tensors,
    names: Mapping[str, str],
) -> _Fit:
    """Hold the tensors against what is expected; what the file has is named as the file names it."""
    common = [name for name in renamed if name in expected]
    differing = [name for name in common if tuple(renamed[name].shape) != expected[name]]
    return _Fit(
        network=network.name,
        settings=settings,
        renamed=renamed,
        shared=len(common) - len(differing),
        alike_shapes=(Counter(expected.values()) & Counter(tuple(t.shape) for t in renamed.values())).total(),
        missing=tuple(n for n in expected if n not in renamed and not n.endswith(_OPTIONAL_SUFFIX)),
        unexpected=tuple(names[name] for name in renamed if name not in expected),
        differing=tuple(f"{names[name]} {_by(renamed[name].shape)} for {_by(expected[name])}" for name in differing),
    )


def _no_fit(path: Path, tensors: Tensors, best: _Fit | None) -> InputFileError:
    why = "no network of the zoo reads checkpoints"
    if best is not None and best.shared:
        alike = f"{best.shared} of {len(tensors)} tensors alike"
        why = f"nearest is {best.network} ({_listed(best.settings)}), {alike}; {best.describe()}"
    elif best is not None:
        alike = f"by shapes alone, {best.alike_shapes} of {len(tensors)} tensors"
        why = f"nearest is {best.network}, {alike}; {_some(tuple(tensors), 'names it does not know')}"
    return InputFileError(
        f"{path} fits no network of the zoo",
        why=why,
        do="give the file that belongs to the network, or a network of your own as --model package.module:factory",
    )


def _some(names: Sequence[str], what: str) -> str:
    """A count and the first few: ``4 missing (a, b, c, …)``; empty where there are none."""
    if not names:
        return ""
    more = ", …" if len(names) > _SHOWN else ""
    return f"{len(names)} {what} ({', '.join(names[:_SHOWN])}{more})"


def _listed(settings: Mapping[str, SettingValue]) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items())


def _by(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"
