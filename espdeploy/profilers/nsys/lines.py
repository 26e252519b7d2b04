"""The lines of a console or a file, in bounded memory.

``nsys profile --stats=true`` redraws its progress with carriage returns on one line: each drawing is a line here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import IO

#: lines of more characters than this are passed over and counted
LONGEST = 1 << 20
_PROGRESS = re.compile(r"\[\d+/\d+\] \[[^\]]*\d+%")


class Lines:
    """Iterate over it once, in lists of lines without their ends; then ``overlong`` counts what was passed over.

    Args:
        head: what was read of the stream before.
        stream: the rest.
    """

    def __init__(self, head: str, stream: IO[str]) -> None:
        self.overlong = 0
        self._head = head.removeprefix("\ufeff")
        self._stream = stream

    def __iter__(self) -> Iterator[list[str]]:
        rest, dropping = "", False
        while piece := self._read():
            lines = (rest + piece).split("\n")
            rest = lines.pop()
            if lines and (dropping or len(lines[0]) > LONGEST):
                dropping = False
                self.overlong += 1
                del lines[0]
            if dropping or len(rest) > LONGEST:
                rest, dropping = "", True
            yield _without_returns(lines) if "\r" in piece or "\r" in lines[:1] else lines
        self.overlong += dropping
        if rest and not dropping:
            yield _without_returns([rest])

    def _read(self) -> str:
        head, self._head = self._head, ""
        return head or self._stream.read(LONGEST)


def is_progress(line: str) -> bool:
    """Whether a line is a progress bar."""
    return _PROGRESS.match(line) is not None


def _without_returns(lines: list[str]) -> list[str]:
    return [part for line in lines for part in line.rstrip("\r").split("\r")]
