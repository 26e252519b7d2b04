"""Which kernel of one file is which of another: tools spell one name in different ways, and text tables cut it.

Each way to compare is tried in turn, the strictest first, and only where it names exactly one kernel on either side:
two kernels that differ in what a tool left out stay apart.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable

from espdeploy.profilers.names import parts, spelled, spelled_function

#: what is left of a name that was cut must tell so much
_LEAST_TOLD = 12
#: tables cut names to a hundred characters or two
_LONGEST_CUT = 1000
_LAST_WORD = re.compile(r"\(?[\w: ]*$")
_CUT = re.compile(r"\s*(?:\.\.\.|…)$")


def joined(known: Iterable[str], new: Iterable[str]) -> dict[str, str]:
    """For each name of ``new`` the one of ``known`` that is the same kernel; names without one are absent."""
    left_known, left_new = list(dict.fromkeys(known)), list(dict.fromkeys(new))
    found: dict[str, str] = {}
    for pairs in (_same(str), _same(spelled), _same(spelled_function), _plain, _cut):
        found |= pairs(left_known, left_new)
        taken = set(found.values())
        left_known = [name for name in left_known if name not in taken]
        left_new = [name for name in left_new if name not in found]
    return found


_Way = Callable[[list[str], list[str]], dict[str, str]]


def _same(spelling: Callable[[str], str]) -> _Way:
    """Names that are the same in one spelling."""

    def pairs(known: list[str], new: list[str]) -> dict[str, str]:
        of_known, of_new = _alone(known, spelling), _alone(new, spelling)
        return {name: of_known[key] for key, name in of_new.items() if key in of_known}

    return pairs


def _plain(known: list[str], new: list[str]) -> dict[str, str]:
    """One side tells the function alone, without template arguments."""
    of_known, of_new = _alone(known, _tail), _alone(new, _tail)
    return {
        name: of_known[key]
        for key, name in of_new.items()
        if key in of_known and not (parts(name).arguments and parts(of_known[key]).arguments)
    }


def _cut(known: list[str], new: list[str]) -> dict[str, str]:
    """A name that was cut, and the only one of the other side that begins like it."""
    found = {**_continued(new, known), **{name: cut for cut, name in _continued(known, new).items()}}
    taken = list(found.values())
    return {name: other for name, other in found.items() if taken.count(other) == 1}


def _continued(maybe_cut: list[str], others: list[str]) -> dict[str, str]:
    cut = [name for name in maybe_cut if len(name) <= _LONGEST_CUT and _CUT.search(name)]
    flats = sorted((_flat(other), other) for other in others) if cut else []
    found = {}
    for name in cut:
        for begin in _begins(name):
            at = bisect_left(flats, (begin, ""))
            going_on = [other for flat, other in flats[at : at + 2] if flat.startswith(begin)]
            if len(going_on) == 1 and len(begin) >= _LEAST_TOLD:
                found[name] = going_on[0]
                break
    return found


def _begins(cut: str) -> tuple[str, str]:
    """What a whole name begins with: all that is left, or all but the last word, which may be a namespace's half."""
    text = _CUT.sub("", cut)
    return _flat(text), _flat(_LAST_WORD.sub("", text))


def _flat(name: str) -> str:
    return spelled_function(name).removesuffix(">")


def _tail(name: str) -> str:
    return parts(name).tail


def _alone(names: Iterable[str], spelling: Callable[[str], str]) -> dict[str, str]:
    """The names by a spelling; those that it cannot tell apart are left out."""
    found: dict[str, str] = {}
    shared: set[str] = set()
    for name in names:
        key = spelling(name)
        if key in found:
            shared.add(key)
        found.setdefault(key, name)
    return {key: name for key, name in found.items() if key not in shared and key.strip("<>()")}
