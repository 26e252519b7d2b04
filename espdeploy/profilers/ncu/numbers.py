"""Numbers as ncu writes them, whatever the locale that it ran in.

It takes the locale's marks for thousands and decimals: ``1491586`` and ``1.05`` in C, ``1,491,586`` and ``1.05`` in
en_US, ``1.491.586`` and ``1,05`` in de_DE, ``1 491 586`` in fr_FR (of whose mark 2020.3 writes one byte of three),
``1'491'586`` in de_CH. The raw page mixes: figures with six decimals have a point and no marks anywhere, all others
follow the locale (2020.3, 2022.3 and 2024.1 under six locales, the same recordings). Two facts tell the marks apart:
ncu never prints exactly three decimals, and it marks either all of a file's whole numbers above 999 or none.
"""

from __future__ import annotations

import re

_ANY = "[.,' \u00a0\u202f\u2019\ufffd]"
_MARKS = re.compile(_ANY)
_NUMBER = re.compile(rf"[+-]?\d{{1,30}}(?:(?P<mark>{_ANY})\d{{1,30}}(?:{_ANY}\d{{1,30}}){{0,12}})?")
#: between lines that each hold one number
_POINT_GROUP = re.compile(r"(?<!\n0)\.(?=\d{3}(?:[.,\n]|\Z))")
_NO_GROUP = re.compile(r",(?!\d{3}(?:[.,\n]|\Z))|\n0*,")
_EXPONENT = re.compile(r"[+-]?\d{1,30}(?:\.\d{0,30})?e[+-]?\d{1,3}", re.IGNORECASE)
_OTHER_MARKS = "' \u00a0\u202f\u2019\ufffd"
_UNMARKED = re.compile(r"[+-]?\d{4,30}(?:[.,]\d{2})?")
#: what stands where there is no figure
_UNTOLD = frozenset({"nan", "-nan", "inf", "-inf", "n/a", "na", "-", "<overflow>", "no data", "error"})
_GREATEST = 1e25


def is_untold(text: str) -> bool:
    """Whether ncu says here that it has no figure, as in ``(!) nan`` of a launch that failed."""
    return text.removeprefix("(!)").strip().lower() in _UNTOLD


class Numbers:
    """Reads the numbers of one file; shown its cells first, it knows the marks in them.

    ``point_groups`` and ``comma_groups`` tell whether that character marks thousands; None until a cell shows it.
    ``guessed`` counts numbers that were taken to have thousands since nothing showed the opposite.
    """

    def __init__(self) -> None:
        self.point_groups: bool | None = None
        self.comma_groups: bool | None = None
        self.guessed = 0

    @property
    def decided(self) -> bool:
        """Whether nothing that is still to come could be read in two ways."""
        return self.point_groups is not None and self.comma_groups is not None

    def see(self, text: str) -> None:
        """Learn from a cell; one without a number teaches nothing."""
        if _UNMARKED.fullmatch(text):
            self.point_groups = self.comma_groups = False
            return
        if _NUMBER.fullmatch(text) is None or (marks := _MARKS.findall(text)) == []:
            return
        first, last = marks[0], marks[-1]
        tail = len(text) - 1 - text.rfind(last)
        if first != last or (len(marks) > 1 and tail == 3):
            self._groups(first)
        elif first == "," and tail != 3:
            self.comma_groups = False  # a decimal comma; what marks thousands is still to be seen

    def _groups(self, mark: str) -> None:
        self.point_groups, self.comma_groups = mark == ".", mark == ","

    def values(self, texts: tuple[str, ...]) -> list[float] | None:
        """All numbers of many cells at once; None where one of them needs a closer look, or the marks are unknown."""
        if self.point_groups is None:
            return None
        joined = "\n" + "\n".join(texts)
        if self.point_groups:
            joined = _POINT_GROUP.sub("", joined).replace(",", ".")
        elif self.comma_groups and "," in joined:
            if _NO_GROUP.search(joined):
                return None
            joined = joined.replace(",", "")
        try:
            found = list(map(float, joined.split("\n")[1:]))
        except ValueError:
            return None
        return found if abs(sum(found)) < _GREATEST else None

    def value(self, text: str) -> float | None:
        """The finite number in a cell; None for anything else. Values of instances behind it are left out."""
        text = text.strip()
        if text.endswith(")") and " (" in text:
            text = text.partition(" (")[0]
        match = _NUMBER.fullmatch(text)
        if match is None:
            return _finite(text) if _EXPONENT.fullmatch(text) else None
        return _finite(text if match["mark"] is None else self._unmarked(text))

    def _unmarked(self, text: str) -> str:
        """With a point before the decimals and no marks; empty where the marks make no sense."""
        marks = _MARKS.findall(text)
        first, last = marks[0], marks[-1]
        head, tail = text[: text.rfind(last)], text[text.rfind(last) + 1 :]
        if len(marks) == 1:
            return head + tail if self._is_group(last, head, tail) else _decimal(last, head, tail)
        if any(mark != first for mark in marks[:-1]):
            return ""
        if last == first:
            return head.replace(first, "") + tail if len(tail) == 3 else ""
        return _decimal(last, head.replace(first, ""), tail)

    def _is_group(self, mark: str, head: str, tail: str) -> bool:
        """Whether the one mark in a number is one of thousands."""
        digits = head.lstrip("+-")
        if len(tail) != 3 or len(digits) > 3 or digits.startswith("0"):
            return False
        known = {".": self.point_groups, ",": self.comma_groups}.get(mark, True)
        self.guessed += known is None
        return known is not False


def _decimal(mark: str, head: str, tail: str) -> str:
    return "" if mark in _OTHER_MARKS else f"{head}.{tail}"


def _finite(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < _GREATEST else None
