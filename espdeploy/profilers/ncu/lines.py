"""A file's lines without their ends; those of megabytes are passed over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

#: lines of more characters than this are passed over and counted; a raw page's have some 10 KB
LONGEST = 1 << 20


class Lines:
    """Iterate over it once; then ``overlong`` counts what was passed over.

    Args:
        stream: the file's text, read piece by piece, so that a file of any size needs a few MB.
    """

    def __init__(self, stream: IO[str]) -> None:
        self.overlong = 0
        self._stream = stream

    def __iter__(self) -> Iterator[str]:
        first = True
        while line := self._stream.readline(LONGEST):
            if len(line) >= LONGEST and not line.endswith("\n"):
                self.overlong += 1
                while line and not line.endswith("\n"):
                    line = self._stream.readline(LONGEST)
                continue
            yield (line.removeprefix("\ufeff") if first else line).rstrip("\r\n")
            first = False
