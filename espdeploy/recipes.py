"""Facts kept as TOML outside the code (engines/, calibration/, benchmarks/), read into specs."""

from __future__ import annotations

import dataclasses
import sys
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from espdeploy.errors import InputFileError, UsageError, nearest
from espdeploy.specs import DeviceProfile

_PACKAGE = Path(__file__).resolve().parent


def fact_folders(kind: str) -> tuple[Path, ...]:
    """Where facts of a kind are looked for, first found wins: here, the checkout, the installed package."""
    candidates = (Path.cwd() / kind, _PACKAGE.parent / kind, _PACKAGE / "_facts" / kind)
    unique = dict.fromkeys(folder for folder in candidates if folder.is_dir() and any(folder.glob("*.toml")))
    return tuple(unique)


def device_profiles() -> dict[str, DeviceProfile]:
    """Every device profile by name, in alphabetical order."""
    found: dict[str, DeviceProfile] = {}
    for folder in fact_folders("engines"):
        for path in sorted(folder.glob("*.toml")):
            if path.stem not in found:
                found[path.stem] = read_device(path)
    return dict(sorted(found.items()))


def device_profile(name: str) -> DeviceProfile:
    """The profile of that name or alias.

    Raises:
        UsageError: there is none; the nearest name is given.
    """
    profiles = device_profiles()
    wanted = name.lower()
    for profile in profiles.values():
        if wanted in (profile.name, *profile.aliases):
            return profile
    raise UsageError(f'unknown device "{name}"', why=nearest(wanted, profiles), do="espdeploy devices")


def read_device(path: Path) -> DeviceProfile:
    """One device from its TOML.

    Raises:
        InputFileError: not TOML, an unknown key (the nearest is named), or a value of a wrong type.
    """
    content = _load_toml(path)
    _reject_unknown_keys(content, DeviceProfile, path, "")
    try:
        profile = msgspec.convert(content, DeviceProfile)
    except msgspec.ValidationError as error:
        raise InputFileError(f"{path}: {error}", do="see engines/README.md and the other devices there") from error
    if profile.name != path.stem:
        raise InputFileError(f'{path}: name = "{profile.name}"', why="a device's file is named after it")
    return dataclasses.replace(profile, source=str(path))


def _load_toml(path: Path) -> dict[str, object]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        content: dict[str, object] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputFileError(f"cannot read {path}", why=str(error), do="mend the file, or remove it") from error
    return content


def _reject_unknown_keys(content: Mapping[str, object], kind: type, path: Path, where: str) -> None:
    """A misspelt key would otherwise be ignored, and the fact it holds with it."""
    known = typing.get_type_hints(kind)
    for key, value in content.items():
        if key not in known:
            raise InputFileError(f'{path}: unknown key "{where}{key}"', why=nearest(key, known))
        for nested in _dataclasses_in(known[key]):
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, dict):
                    _reject_unknown_keys(item, nested, path, f"{where}{key}.")


def _dataclasses_in(hint: object) -> Iterator[type]:
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        yield hint
    for argument in typing.get_args(hint):
        yield from _dataclasses_in(argument)
