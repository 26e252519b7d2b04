"""Units as ncu spells them, without their prefixes.

Unless ``--print-units base`` is given, each figure has the prefix that makes it short, so that one kernel's duration is
in microseconds and the next one's in milliseconds. Prefixes are powers of 1000: one recording prints
``25.170048 Mbyte`` and, with base units, ``25170048 byte``. Up to 2024.1 it spells ``usecond`` and ``cycle/nsecond``,
from 2024.3 on ``us`` and ``Ghz``.
"""

from __future__ import annotations

import re
from functools import lru_cache

_TIMES_NS = {
    "second": 1e9, "msecond": 1e6, "usecond": 1e3, "nsecond": 1.0,
    "s": 1e9, "ms": 1e6, "us": 1e3, "ns": 1.0,
}  # fmt: skip
_PREFIXES = {"K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
_PREFIXED = re.compile(r"(?P<prefix>[KMGTP])(?P<unit>[a-z]{2,20})")
_RENAMED = {"cycle/s": "hz"}
_LONGEST = 40


@lru_cache(maxsize=1024)
def base(unit: str) -> tuple[str, float]:
    """The unit without prefixes, and what a figure is multiplied by to be in it: times in ns, rates per s.

    ``Gbyte/second`` is ``byte/s``, ``cycle/nsecond`` and ``Ghz`` are ``hz``; what is no unit of ncu's stays as it is.
    """
    unit = unit.strip()[:_LONGEST]
    above, slash, below = unit.partition("/")
    if not slash and above in _TIMES_NS:
        return "ns", _TIMES_NS[above]
    name, factor = _plain(above)
    if below in _TIMES_NS:
        per_s = f"{name}/s"
        return _RENAMED.get(per_s, per_s), factor * 1e9 / _TIMES_NS[below]
    return (f"{name}/{below}", factor) if slash else (name, factor)


def _plain(unit: str) -> tuple[str, float]:
    prefixed = _PREFIXED.fullmatch(unit)
    return (prefixed["unit"], _PREFIXES[prefixed["prefix"]]) if prefixed else (unit, 1.0)
