"""The numbers behind a chart, as a table of bounded length."""

from __future__ import annotations

from collections.abc import Sequence

from espdeploy.report.charts.thin import Bar, Point, slices
from espdeploy.report.parts import Column, Table, cells
from espdeploy.report.text import DASH, number

#: longer series are given as as many slices of time; every value stands in the record's file
MOST_ROWS, _BRIEF_ROWS = 60, 12
_SLICES = 40
_DIGITS = 4


def of_series(points: Sequence[Point], quantity: str, unit: str, *, brief: bool = False) -> Table:
    """Time and value of each sample, or of slices of time where there are many; fewer of both where ``brief``."""
    time = Column(head="Time", unit="s")
    if len(points) <= (_BRIEF_ROWS if brief else MOST_ROWS):
        rows = tuple(cells((_time(t), number(value, _DIGITS))) for t, value in points)
        return Table(caption="Every sample.", columns=(time, Column(head=quantity, unit=unit)), rows=rows)
    parts = slices(points, _BRIEF_ROWS if brief else _SLICES)
    rows = tuple(
        cells(
            (
                _time(part.start),
                _time(part.end),
                number(part.low, _DIGITS),
                number(part.median, _DIGITS),
                number(part.high, _DIGITS),
                f"{part.samples:,}",
            )
        )
        for part in parts
    )
    return Table(
        caption=f"{len(points):,} samples in {len(parts)} slices of time; each value stands in the record's file.",
        columns=(
            Column(head="From", unit="s"),
            Column(head="To", unit="s"),
            Column(head="Least", unit=unit),
            Column(head="Median", unit=unit),
            Column(head="Greatest", unit=unit),
            Column(head="Samples"),
        ),
        rows=rows,
    )


def of_bars(bars: Sequence[Bar], above: int) -> Table:
    """The edges of each bar of a histogram and the trials in it."""
    rows = [cells((number(bar.low, _DIGITS), number(bar.high, _DIGITS), f"{bar.count:,}")) for bar in bars]
    if above:
        rows.append(cells((number(bars[-1].high, _DIGITS), DASH, f"{above:,}")))
    columns = (Column(head="From", unit="ms"), Column(head="To", unit="ms"), Column(head="Trials"))
    return Table(caption="Trials by latency.", columns=columns, rows=tuple(rows))


def _time(t: float) -> str:
    return f"{t:,.3f}"
