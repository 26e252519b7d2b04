"""Labels beside points that cover neither each other nor a point."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

_GAP = 8.0
_POINT = 6.0
_FURTHER = 8.0
_LINE, _STRIDE = 2.0, 8.0
#: so many are tried: among more points hardly one has room, and looking for it grows with the square of them
_MOST_TRIED = 120


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle in user units, with y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Whether the two share any area."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def within(self, other: Box) -> bool:
        """Whether this box lies inside the other one."""
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.top >= other.top
            and self.bottom <= other.bottom
        )


def place(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    area: Box,
    lines: Sequence[Sequence[tuple[float, float]]] = (),
) -> list[Box | None]:
    """For each point the box of its label (width and height in ``sizes``), or None where no place is free.

    Earlier points choose first, and of many points only those. A label goes right of its point, else left, above or
    below it, and upon none of ``lines``.
    """
    taken = [_around(x, y, _POINT) for x, y in points]
    taken += [_around(x, y, _LINE) for line in lines for x, y in _along(line)]
    placed: list[Box | None] = []
    for point, size in list(zip(points, sizes, strict=True))[:_MOST_TRIED]:
        free = (box for box in _places(point, size) if box.within(area) and not any(map(box.meets, taken)))
        chosen = next(free, None)
        placed.append(chosen)
        if chosen is not None:
            taken.append(chosen)
    return [*placed, *[None] * (len(points) - len(placed))]


def _around(x: float, y: float, reach: float) -> Box:
    return Box(left=x - reach, top=y - reach, right=x + reach, bottom=y + reach)


def _along(line: Sequence[tuple[float, float]]) -> Iterable[tuple[float, float]]:
    """Places on the line, so close that no label fits between two of them."""
    for (x0, y0), (x1, y1) in pairwise(line):
        steps = max(1, math.ceil(math.hypot(x1 - x0, y1 - y0) / _STRIDE))
        yield from ((x0 + (x1 - x0) * step / steps, y0 + (y1 - y0) * step / steps) for step in range(steps + 1))


def _places(point: tuple[float, float], size: tuple[float, float]) -> Iterable[Box]:
    (x, y), (width, height) = point, size
    above, below = y - _GAP - height, y + _GAP
    sides = (x + _GAP, x - _GAP - width)
    beside = [(side, y - height * raised) for raised in (0.5, 1.0, 0.0) for side in sides]
    rows = (above, below, above - _FURTHER, below + _FURTHER)
    columns = (x - width / 2, x - _POINT, x + _POINT - width)
    for left, top in (*beside, *((column, row) for row in rows for column in columns)):
        yield Box(left=left, top=top, right=left + width, bottom=top + height)
