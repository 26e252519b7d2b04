"""Records of a CSV text of any size: mostly lines; a quoted cell may hold a line end."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import IO

_LONGEST_CHARS = 1 << 16
#: an open quote that no later line of so many closes was none
_MOST_LINES = 4


def records(head: str, rest: IO[str]) -> Iterator[str]:
    """Each record without its line end; lines of more than 64 KiB come in pieces."""
    held: list[str] = []
    for line in _lines(head, rest):
        held.append(line)
        if "".join(held).count('"') % 2 == 0:
            yield "\n".join(held)
            held = []
        elif len(held) == _MOST_LINES:
            yield held[0]
            held = held[1:]
    yield from held


def _lines(head: str, rest: IO[str]) -> Iterator[str]:
    begun = io.StringIO(head)
    while line := begun.readline(_LONGEST_CHARS) or rest.readline(_LONGEST_CHARS):
        if not line.endswith("\n") and len(line) < _LONGEST_CHARS:  # the head's last line goes on in the rest
            line += rest.readline(_LONGEST_CHARS)
        yield line.rstrip("\r\n")
