"""TOML files of facts outside the code, found and read strictly: a misspelt key is an error, never ignored."""

from __future__ import annotations

import dataclasses
import functools
import sys
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from espdeploy.errors import InputFileError, nearest

_PACKAGE = Path(__file__).resolve().parent

_Spec = TypeVar("_Spec")


def fact_folders(kind: str) -> tuple[Path, ...]:
    """Where facts of a kind are looked for, first found wins: here, the checkout, the installed package."""
    candidates = (Path.cwd() / kind, _PACKAGE.parent / kind, _PACKAGE / "_facts" / kind)
    unique = dict.fromkeys(folder for folder in candidates if folder.is_dir() and any(folder.glob("*.toml")))
    return tuple(unique)


def fact_files(kind: str) -> dict[str, Path]:
    """The files of a kind by name, in alphabetical order; of two with one name the first found stays."""
    found: dict[str, Path] = {}
    for folder in fact_folders(kind):
        for path in folder.glob("*.toml"):
            found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def read_facts(path: Path, kind: type[_Spec], *, do: str) -> _Spec:
    """One file as a value of ``kind``.

    Raises:
        InputFileError: not TOML, an unknown key (the nearest is named), or a value of a wrong type.
    """
    content = _load_toml(path)
    _reject_unknown_keys(content, kind, path, "")
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        raise InputFileError(f"{path}: {error}", do=do) from error


def check_name(name: str, path: Path, whose: str) -> None:
    """Refuse a file whose ``name`` is not its own.

    Raises:
        InputFileError: they differ.
    """
    if name != path.stem:
        raise InputFileError(f'{path}: name = "{name}"', why=f"{whose} file is named after it")


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
    known = _keys_of(kind)
    for key, value in content.items():
        if key not in known:
            raise InputFileError(f'{path}: unknown key "{where}{key}"', why=nearest(key, known))
        for nested in _dataclasses_in(known[key]):
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, dict):
                    _reject_unknown_keys(item, nested, path, f"{where}{key}.")


@functools.cache
def _keys_of(kind: type) -> dict[str, object]:
    """What a table of that kind may hold; worked out once, for it costs more than reading a file."""
    return typing.get_type_hints(kind)


def _dataclasses_in(hint: object) -> Iterator[type]:
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        yield hint
    for argument in typing.get_args(hint):
        yield from _dataclasses_in(argument)
