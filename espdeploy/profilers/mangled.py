"""The function behind a mangled C++ name, as a profiler prints it with demangling off. Source: Itanium C++ ABI, 5.1."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LENGTH = re.compile(r"\d{1,4}")
_NESTED = re.compile(r"_ZN[rVKRO]*")
_ANONYMOUS = "_GLOBAL__N_"
_STANDARD = {"St": "std", "Sa": "std::allocator", "Ss": "std::string"}
#: values of template arguments (Li4E is 4) and references back, which have figures too
_NO_NAMES = re.compile(r"L[a-z]n?\d+E|[ST][0-9A-Z]*_")
_MOST_PARTS = 64


@dataclass(frozen=True, kw_only=True)
class Demangled:
    """The function with its namespaces, and the names that stand behind it: of template arguments and parameters."""

    function: str
    words: tuple[str, ...]


def demangled(name: str) -> Demangled | None:
    """``at::native::fill`` for ``_ZN2at6native4fillILi4EEEvi``; None for no mangled name, or one not understood."""
    if not name.startswith("_Z"):
        return None
    nested = _NESTED.match(name)
    at = nested.end() if nested else 2
    found: list[str] = []
    while len(found) < _MOST_PARTS and (nested or not found):
        if name[at : at + 2] in _STANDARD:
            found.append(_STANDARD[name[at : at + 2]])
            at += 2
            continue
        part, at = _source_name(name, at + (name[at : at + 1] == "L"))  # L: a name with internal linkage
        if not part:
            break
        if not part.startswith(_ANONYMOUS):
            found.append(part)
    return Demangled(function="::".join(found), words=_words(_NO_NAMES.sub("", name[at:]))) if found else None


def _source_name(name: str, at: int) -> tuple[str, int]:
    length = _LENGTH.match(name, at)
    if length is None:
        return "", at
    end = length.end() + int(length[0])
    return name[length.end() : end], end


def _words(name: str) -> tuple[str, ...]:
    found: list[str] = []
    at = 0
    while len(found) < _MOST_PARTS and (length := _LENGTH.search(name, at)) is not None:
        part, end = _source_name(name, length.start())
        at = end if part[:1].isalpha() or part[:1] == "_" else length.end()
        if at == end and end <= len(name):
            found.append(part)
    return tuple(found)
