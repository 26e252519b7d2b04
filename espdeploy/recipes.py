"""Facts kept as TOML outside the code (engines/, calibration/, benchmarks/), read into specs."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

from espdeploy.errors import InputFileError, UsageError, nearest
from espdeploy.facts import check_name, fact_files, read_facts
from espdeploy.specs import CalibrationRecipe, DeviceProfile, VersionRange

_VERSION = re.compile(r"\d{1,4}(\.\d{1,4}){0,3}")
_CAPABILITY = re.compile(r"\d{1,2}\.\d")


def device_profiles() -> dict[str, DeviceProfile]:
    """Every device profile by name, in alphabetical order."""
    return {name: read_device(path) for name, path in fact_files("engines").items()}


def device_profile(name: str) -> DeviceProfile:
    """The profile of that name or alias.

    Raises:
        UsageError: there is none; the nearest name is given.
    """
    wanted = name.lower()
    path = fact_files("engines").get(wanted)
    if path is not None:  # the others need not be read, and may be in need of mending
        return read_device(path)
    profiles = device_profiles()
    for profile in profiles.values():
        if wanted in profile.aliases:
            return profile
    raise UsageError(f'unknown device "{name}"', why=nearest(wanted, profiles), do="espdeploy devices")


def read_device(path: Path) -> DeviceProfile:
    """One device from its TOML.

    Raises:
        InputFileError: not TOML, an unknown key (the nearest is named), a value of a wrong type, or one that cannot be.
    """
    advice = "see engines/README.md and the other devices there"
    profile = read_facts(path, DeviceProfile, do=advice)
    check_name(profile.name, path, "a device's")
    for wrong in _impossible(profile):
        raise InputFileError(f"{path}: {wrong}", do=advice)
    return dataclasses.replace(profile, source=str(path))


def calibration_recipe_names() -> tuple[str, ...]:
    """The names of all calibration recipes, in alphabetical order; no file is read."""
    return tuple(fact_files("calibration"))


def calibration_recipe(name: str) -> CalibrationRecipe:
    """The recipe of that name, or in that file where it is a path (with a folder, or the suffix ``.toml``).

    Raises:
        UsageError: there is none; the nearest name is given.
        InputFileError: as :func:`read_calibration`.
    """
    known = fact_files("calibration")
    path = Path(name) if name.endswith(".toml") or "/" in name else known.get(name.lower())
    if path is None or not path.is_file():
        raise UsageError(
            f'unknown calibration recipe "{name}"' if path is None else f"there is no recipe {path}",
            why=nearest(Path(name).stem, known),
            do="give one of these names, or a TOML file of your own: --recipe ./mine.toml",
        )
    return read_calibration(path)


def read_calibration(path: Path) -> CalibrationRecipe:
    """One calibration recipe from its TOML.

    Raises:
        InputFileError: not TOML, an unknown key (the nearest is named), a value of a wrong type, or one that cannot be.
    """
    advice = "see calibration/README.md and the other recipes there"
    recipe = read_facts(path, CalibrationRecipe, do=advice)
    check_name(recipe.name, path, "a recipe's")
    if recipe.count is not None and recipe.count < 1:
        raise InputFileError(f"{path}: count = {recipe.count} leaves no image", do="give 1 or more, or leave it away")
    if Path(recipe.folder).is_absolute() or ".." in Path(recipe.folder).parts:
        raise InputFileError(f'{path}: folder = "{recipe.folder}" is not below the data', do=advice)
    return dataclasses.replace(recipe, source=str(path))


def _impossible(profile: DeviceProfile) -> Iterator[str]:
    """What no device can be like, so that nobody who uses the facts has to think of it."""
    for key in ("runtimes", "precisions"):
        if not getattr(profile, key):
            yield f"{key} is empty"
    both = set(profile.precisions) & set(profile.refused_precisions)
    if both:
        yield f"{', '.join(sorted(both))} stands in precisions and in refused_precisions"
    for versions in _version_ranges(profile):
        for text in (versions.oldest, versions.newest):
            if not _VERSION.fullmatch(text):
                yield f'"{text}" is no version; write it like 8.2'
    if profile.gpu is not None:
        steps = profile.gpu.frequencies_mhz
        if not _CAPABILITY.fullmatch(profile.gpu.compute_capability):
            yield f'"{profile.gpu.compute_capability}" is no compute capability; write it like 6.2'
        if list(steps) != sorted(set(steps)) or any(step <= 0 for step in steps):
            yield "frequencies_mhz do not ascend"


def _version_ranges(profile: DeviceProfile) -> Iterator[VersionRange]:
    if profile.tensorrt is not None:
        yield profile.tensorrt
        yield from profile.tensorrt.without
    if profile.jetpack is not None:
        yield profile.jetpack
        yield VersionRange(oldest=profile.jetpack.l4t_oldest, newest=profile.jetpack.l4t_newest)
    if profile.dla is not None:
        yield from profile.dla.tensorrt
