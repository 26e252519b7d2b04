"""Lines of a text of any size, many at a time; memory stays bounded whatever comes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

_PIECE_CHARS = 1 << 18
_LONGEST_CHARS = 1 << 20


class Readable(Protocol):
    """A text of which pieces are read."""

    def read(self, size: int, /) -> str:
        """The next characters; none at the end."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Lines without their ends. ``dropped`` are lines of more than 1 MiB; ``open_end``: the last has no line end."""

    lines: list[str]
    dropped: int = 0
    open_end: bool = False


def batches(stream: Readable) -> Iterator[Batch]:
    """About 256 KiB of lines at a time."""
    rest, in_dropped = "", False
    while piece := stream.read(_PIECE_CHARS):
        lines = (rest + piece).split("\n")
        rest = lines.pop()
        if in_dropped and lines:
            lines, in_dropped = lines[1:], False
        too_long = len(rest) > _LONGEST_CHARS and not in_dropped
        if too_long or in_dropped:
            rest, in_dropped = "", True
        yield Batch(lines=lines, dropped=int(too_long))
    if rest:
        yield Batch(lines=[rest], open_end=True)
