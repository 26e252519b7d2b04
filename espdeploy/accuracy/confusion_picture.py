"""A confusion matrix as a picture: what each true class was taken for, as shares of its pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from espdeploy.accuracy.confusion_text import row_shares_pct, shown_classes
from espdeploy.accuracy.drawing import Box, Drawing, Words

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Counts = NDArray[np.int64]

Part = Box | Words
Colour = tuple[int, int, int]

_MOST_WITH_NUMBERS = 40  # classes; beyond, cells are small and hold no numbers
_MARGIN, _GAP, _PAD = 16.0, 1.0, 6.0
_TITLE_HEIGHT, _LEGEND_HEIGHT, _TOTALS_WIDTH, _LEAST_WIDTH = 64.0, 56.0, 60.0, 420.0
_CORNER_WIDTH = 116.0  # of the words beside the corner of the matrix, where all names are short
_STRIP, _STRIP_STEPS = 110.0, 11
_NAME_CHARS = 28
_LETTER = 0.56  # mean advance of a letter, as a share of the font size
_LEAST_NUMBER_PCT = 0.5
_INK, _FAINT_INK = "#1f2933", "#5f6b7a"
_DARK_INK, _LIGHT_INK = "#000000", "#ffffff"  # of numbers, on any colour
_EMPTY: Colour = (246, 247, 249)
#: blue for what is right, orange for what is wrong: told apart by readers who confuse red and green
_RIGHT: Colour = (8, 69, 148)
_WRONG: Colour = (166, 54, 3)
#: a mistake of half a class is as dark as mistakes get, and small ones are raised: a few percent are to be seen
_FULL_WRONG_PCT, _WRONG_POWER = 50.0, 0.6
_LIGHT_INK_BELOW = 0.18  # relative luminance at which white letters become easier to read than dark ones


@dataclass(frozen=True, kw_only=True)
class _Grid:
    """Where the matrix stands: its corner, the side of a cell and the size of the letters."""

    left: float
    top: float
    cell: float
    font: float
    side: float
    numbers: bool


def picture(counts: Counts, names: Sequence[str], *, title: str, subtitle: str) -> Drawing:
    """Rows are true classes, columns what they were taken for; a cell is its share of the row, with its count.

    Right decisions are blue, mistakes orange, darker the more there are. Classes that do not occur are left out.
    """
    shown = shown_classes(counts)
    heads = [_clipped(names[index]) for index in shown]
    grid = _grid(heads)
    right = grid.left + grid.side + _TOTALS_WIDTH
    told = _MARGIN * 2 + max(len(title) * 16, len(subtitle) * 12) * _LETTER
    parts: list[Part] = [
        Words(x=_MARGIN, y=_MARGIN + 8, text=title, size=16, fill=_INK),
        Words(x=_MARGIN, y=_MARGIN + 32, text=subtitle, size=12, fill=_FAINT_INK),
        Box(x=grid.left, y=grid.top, width=grid.side, height=grid.side, fill=_hex(_EMPTY)),
        *_heads(heads, grid),
        *_totals(counts, shown, grid),
        *_cells(counts, names, shown, grid),
        *_legend(_MARGIN, grid.top + grid.side + 28),
    ]
    return Drawing(
        width=max(right + _MARGIN, told, _LEAST_WIDTH),
        height=grid.top + grid.side + _LEGEND_HEIGHT + _MARGIN,
        title=f"{title}. {subtitle}",
        parts=tuple(parts),
    )


def _grid(heads: Sequence[str]) -> _Grid:
    numbers = len(heads) <= _MOST_WITH_NUMBERS
    cell, font = (34.0, 12.0) if numbers else (12.0, 9.0)
    longest = max((len(head) for head in heads), default=0) * font * _LETTER + 2 * _PAD
    return _Grid(
        left=max(_MARGIN + longest, _CORNER_WIDTH),
        top=_TITLE_HEIGHT + max(longest, 34.0),
        cell=cell,
        font=font,
        side=cell * len(heads),
        numbers=numbers,
    )


def _heads(heads: Sequence[str], grid: _Grid) -> Iterator[Part]:
    """The names of rows and columns, and which are which."""
    for place, head in enumerate(heads):
        middle = (place + 0.5) * grid.cell
        yield Words(x=grid.left - _PAD, y=grid.top + middle, text=head, size=grid.font, anchor="end", fill=_INK)
        yield Words(x=grid.left + middle, y=grid.top - _PAD, text=head, size=grid.font, upright=True, fill=_INK)
    corner = grid.left - _PAD
    yield Words(x=corner, y=grid.top - 26, text="columns: taken for", size=11, anchor="end", fill=_FAINT_INK)
    yield Words(x=corner, y=grid.top - 11, text="rows: true class", size=11, anchor="end", fill=_FAINT_INK)


def _totals(counts: Counts, shown: Sequence[int], grid: _Grid) -> Iterator[Part]:
    """How much of the labels each true class is."""
    x, total = grid.left + grid.side + _PAD, max(int(counts.sum()), 1)
    yield Words(x=x, y=grid.top - 11, text="of pixels", size=11, fill=_FAINT_INK)
    for place, index in enumerate(shown):
        share_pct = 100.0 * int(counts[index].sum()) / total
        text = "none" if not counts[index].any() else f"{share_pct:.1f} %" if share_pct >= 0.05 else "< 0.1 %"
        y = grid.top + (place + 0.5) * grid.cell
        yield Words(x=x, y=y, text=text, size=grid.font - 1, fill=_FAINT_INK)


def _cells(counts: Counts, names: Sequence[str], shown: Sequence[int], grid: _Grid) -> Iterator[Part]:
    shares = row_shares_pct(counts)
    for row, true in enumerate(shown):
        for column, taken in enumerate(shown):
            count = int(counts[true, taken])
            if not count:
                continue
            share_pct = float(shares[true, taken])
            x, y = grid.left + column * grid.cell, grid.top + row * grid.cell
            side = grid.cell - _GAP
            strength = _strength(share_pct, right=true == taken)
            colour = _mixed(_RIGHT if true == taken else _WRONG, strength)
            told = f"true {names[true]}, taken for {names[taken]}: {share_pct:.2f} %, {count:,} pixels"
            yield Box(x=x, y=y, width=side, height=side, fill=_hex(colour), told=told)
            if grid.numbers and share_pct >= _LEAST_NUMBER_PCT:
                ink = _LIGHT_INK if _luminance(colour) < _LIGHT_INK_BELOW else _DARK_INK
                middle = side / 2
                yield Words(x=x + middle, y=y + middle, text=f"{share_pct:.0f}", size=11, fill=ink, anchor="middle")


def _legend(x: float, y: float) -> Iterator[Part]:
    """The two scales of colour, each with what its ends mean."""
    for right, text in ((True, "right: 0 … 100 % of the class"), (False, "mistaken: 0 … 50 % and more")):
        most_pct = 100.0 if right else _FULL_WRONG_PCT
        for step in range(_STRIP_STEPS):
            strength = _strength(most_pct * step / (_STRIP_STEPS - 1), right=right)
            width = _STRIP / _STRIP_STEPS
            fill = _hex(_mixed(_RIGHT if right else _WRONG, strength))
            yield Box(x=x + step * width, y=y, width=width, height=12, fill=fill)
        yield Words(x=x + _STRIP + _PAD, y=y + 6, text=text, size=11, fill=_FAINT_INK)
        y += 20


def _strength(share_pct: float, *, right: bool) -> float:
    """How dark a share is drawn, 0 to 1."""
    if right:
        return float(share_pct / 100.0)
    return float(min(share_pct / _FULL_WRONG_PCT, 1.0) ** _WRONG_POWER)


def _mixed(colour: Colour, strength: float) -> Colour:
    red, green, blue = (round(paper + (full - paper) * strength) for paper, full in zip(_EMPTY, colour, strict=True))
    return red, green, blue


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _luminance(colour: Colour) -> float:
    """Relative luminance, 0 to 1 (WCAG 2, with its gamma taken as 2.2)."""
    red, green, blue = ((value / 255) ** 2.2 for value in colour)
    return float(0.2126 * red + 0.7152 * green + 0.0722 * blue)


def _clipped(name: str) -> str:
    return name if len(name) <= _NAME_CHARS else name[: _NAME_CHARS - 1] + "…"
