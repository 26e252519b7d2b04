"""The plain data that the templates place: tables, cards, facts and figures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from espdeploy.report.charts.courses import Courses
from espdeploy.report.charts.curves import Curves
from espdeploy.report.charts.histogram import Histogram
from espdeploy.report.charts.ranges import Ranges
from espdeploy.report.charts.roofline import Roofline
from espdeploy.report.charts.scatter import Scatter
from espdeploy.report.charts.shares import Shares
from espdeploy.report.charts.steps import Steps
from espdeploy.report.charts.timeline import Timeline
from espdeploy.report.text import DASH

Chart = Courses | Curves | Histogram | Ranges | Roofline | Scatter | Shares | Steps | Timeline


@dataclass(frozen=True, kw_only=True)
class Tag:
    """A short verdict; ``kind`` is ``good``, ``warning``, ``error``, ``simulated`` or ``plain``."""

    text: str
    kind: str = "plain"


@dataclass(frozen=True, kw_only=True)
class Column:
    """A head with its unit; numbers stand at the right."""

    head: str
    unit: str = ""
    numeric: bool = True


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A value with a smaller line below it. ``note`` is the mark of a footnote, ``link`` an anchor on the page."""

    text: str
    below: str = ""
    title: str = ""
    note: str = ""
    link: str = ""
    tags: tuple[Tag, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under columns, with the footnotes that their marks point to."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Card:
    """One figure at the head of the page."""

    label: str
    value: str
    unit: str = ""
    below: str = ""


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A name and its value, with the unit written."""

    name: str
    value: str


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A chart with what stands below it and the numbers it was drawn from."""

    anchor: str
    chart: Chart
    captions: tuple[str, ...]
    numbers: Table
    name: str  # on the page, shorter than the chart's own title
    simulated: bool = False  # where the chart itself does not say so


@dataclass
class Footnotes:
    """Collects reasons; the same reason keeps the same mark."""

    _texts: list[str] = field(default_factory=list)

    def mark(self, text: str) -> str:
        """The mark of ``text``: a, b, … z, aa, …"""
        if text not in self._texts:
            self._texts.append(text)
        return _letters(self._texts.index(text))

    def missing(self, reason: str) -> Cell:
        """The cell of a value that is unknown."""
        return Cell(text=DASH, title=reason, note=self.mark(reason))

    def all(self) -> tuple[tuple[str, str], ...]:
        """Mark and text of each reason, in order."""
        return tuple((_letters(index), text) for index, text in enumerate(self._texts))


def cells(texts: Iterable[str]) -> tuple[Cell, ...]:
    """A row of plain values."""
    return tuple(Cell(text=text) for text in texts)


def _letters(index: int) -> str:
    before = _letters(index // 26 - 1) if index >= 26 else ""
    return before + chr(ord("a") + index % 26)
