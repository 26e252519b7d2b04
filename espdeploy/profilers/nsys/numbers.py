"""Figures as ``nsys stats`` writes them.

CSV holds plain figures with a point, in every locale, as long as times are in nanoseconds. Text tables follow the
locale: groups of three or four digits, set apart by ``,`` ``.`` ``'`` or a narrow blank, and a point or a comma before
the decimals (2022.4 under de_DE: ``4.105.892`` ns and ``4,194`` MB; under zh_TW of a Jetson: ``8,4521,1450``). What a
mark means follows from whether a column has decimals: nanoseconds and counts have none, every other unit has.
"""

from __future__ import annotations

import re

TIME_NS = {"ns": 1.0, "us": 1e3, "\u03bcs": 1e3, "\u00b5s": 1e3, "ms": 1e6, "s": 1e9, "sec": 1e9}
SIZE_BYTES = {
    "B": 1.0,
    "KB": 1e3,
    "MB": 1e6,
    "GB": 1e9,
    "KBi": 2.0**10,
    "MBi": 2.0**20,
    "GBi": 2.0**30,
    "KiB": 2.0**10,
    "MiB": 2.0**20,
    "GiB": 2.0**30,
}
_LONGEST = 40
_GREATEST = 1e25
_BLANKS = re.compile("[\u202f\u00a0\u2009\u2019' ]")
_MARKS = re.compile("[.,]")
_SHAPE = re.compile(r"\d[\d.,]*(?:[eE][+-]?\d{1,3})?", re.ASCII)


def figure(text: str, *, whole: bool = False) -> float | None:
    """A figure that is not negative; None for anything else.

    Args:
        text: the cell.
        whole: whether its column has no decimals, so that every mark groups digits.
    """
    if len(text) > 2 * _LONGEST:
        return None
    text = _BLANKS.sub("", text.strip())
    if len(text) > _LONGEST or not _SHAPE.fullmatch(text):
        return None
    marks, _, exponent = text.lower().partition("e")
    at = -1 if whole and not exponent else _decimal_mark(marks)
    before, after = (marks, "") if at == -1 else (marks[:at], marks[at + 1 :])
    value = float(f"{_MARKS.sub('', before)}.{after}e{exponent or 0}")
    return value if value < _GREATEST else None


def count(text: str) -> int | None:
    """A number of calls."""
    value = figure(text, whole=True)
    return int(value) if value is not None and value < 1e15 else None


def _decimal_mark(text: str) -> int:
    """Where the decimals begin; -1 where every mark groups digits."""
    at = max(text.rfind("."), text.rfind(","))
    return -1 if at == -1 or text.count(text[at]) > 1 else at
