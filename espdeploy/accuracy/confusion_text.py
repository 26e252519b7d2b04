"""A confusion matrix in words and in columns of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Counts = NDArray[np.int64]
    Shares = NDArray[np.float64]

_CELL = 3  # characters: 100 fills it, and beside a 100 there are only dots, which keep away from it
_NAME_CHARS = 20
_LEAST_TOLD_PCT = 0.5
_TOLD = 2


def row_shares_pct(counts: Counts) -> Shares:
    """Each row as shares of its sum, in percent, shape (C, C); NaN where a true class has no pixel."""
    totals = counts.sum(axis=1, keepdims=True)
    shares: Shares = np.divide(100.0 * counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    return shares


def shown_classes(counts: Counts) -> list[int]:
    """The classes that occur in the labels or in the predictions."""
    return [int(index) for index in np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1))]


def taken_for(counts: Counts, names: Sequence[str], index: int) -> str:
    """The classes that a true class is most often taken for, such as ``car 4.1 %, fence 0.9 %``; empty where none."""
    shares = row_shares_pct(counts)[index]
    wrong = np.where(np.arange(len(names)) == index, 0.0, np.nan_to_num(shares))
    largest = np.argsort(-wrong, kind="stable")[:_TOLD]
    return ", ".join(f"{names[place]} {wrong[place]:.1f} %" for place in largest if wrong[place] >= _LEAST_TOLD_PCT)


def matrix_lines(counts: Counts, names: Sequence[str], *, width: int) -> list[str]:
    """The matrix as lines of at most ``width`` characters: a row for each true class, shares of it in percent.

    Classes that do not occur are left out, and columns that do not fit follow below, as a block of their own.
    """
    shown = shown_classes(counts)
    if not shown:
        return []
    shares = row_shares_pct(counts)
    rows = {index: f"{index:>2} {_clipped(names[index])}" for index in shown if counts[index].any()}
    left = max(map(len, rows.values()), default=0) + 1
    cell = _CELL if max(shown) < 100 else _CELL + 1  # room between the numbers of classes above 99
    at_once = max(1, (width - left) // cell)
    lines: list[str] = []
    for start in range(0, len(shown), at_once):
        columns = shown[start : start + at_once]
        lines += [""] if lines else []
        lines.append(" " * left + "".join(f"{index:>{cell}}" for index in columns))
        for row, head in rows.items():
            line = f"{head:<{left}}" + "".join(_share(shares[row, column], cell) for column in columns)
            lines.append(line.rstrip())
    return lines


def _share(share_pct: float, width: int) -> str:
    """A whole number, or a dot that keeps away from the number to its right."""
    return f"{share_pct:>{width}.0f}" if share_pct >= _LEAST_TOLD_PCT else f"{'.':>{width - 1}} "


def _clipped(name: str) -> str:
    return name if len(name) <= _NAME_CHARS else name[: _NAME_CHARS - 1] + "…"
