"""Labels beside points that cover neither each other nor a point."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_GAP = 8.0
_POINT = 6.0
_FURTHER = 8.0
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


def place(points: Sequence[tuple[float, float]], sizes: Sequence[tuple[float, float]], area: Box) -> list[Box | None]:
    """For each point the box of its label (width and height in ``sizes``), or None where no place is free.

    Earlier points choose first, and of many points only those. A label goes right of its point, else left, above or
    below it.
    """
    taken = [Box(left=x - _POINT, top=y - _POINT, right=x + _POINT, bottom=y + _POINT) for x, y in points]
    placed: list[Box | None] = []
    for point, size in list(zip(points, sizes, strict=True))[:_MOST_TRIED]:
        free = (box for box in _places(point, size) if box.within(area) and not any(map(box.meets, taken)))
        chosen = next(free, None)
        placed.append(chosen)
        if chosen is not None:
            taken.append(chosen)
    return [*placed, *[None] * (len(points) - len(placed))]


def _places(point: tuple[float, float], size: tuple[float, float]) -> Iterable[Box]:
    (x, y), (width, height) = point, size
    above, below = y - _GAP - height, y + _GAP
    sides = (x + _GAP, x - _GAP - width)
    beside = [(side, y - height * raised) for raised in (0.5, 1.0, 0.0) for side in sides]
    rows = (above, below, above - _FURTHER, below + _FURTHER)
    columns = (x - width / 2, x - _POINT, x + _POINT - width)
    for left, top in (*beside, *((column, row) for row in rows for column in columns)):
        yield Box(left=left, top=top, right=left + width, bottom=top + height)
