"""A file's lines, many at a time, and the marks that nvprof sets before its own.

nvprof writes ``==PID== `` before what it says of a live process and ``======== `` before what it says of a recording or
before there is a process. It shares its channel with the application, so a mark may follow text that has no line end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import IO

#: lines of more characters than this are passed over and counted
LONGEST = 1 << 20
_MARK = re.compile(r"(?<!=)(?:==(?P<pid>\d{1,10})==|={8}) (?P<said>.*)", re.DOTALL)


class Lines:
    """Iterate over it once, in lists of lines without their ends; then ``overlong`` counts what was passed over.

    Args:
        stream: the file's text, read piece by piece, so that a file of any size needs a few MB.
    """

    def __init__(self, stream: IO[str]) -> None:
        self.overlong = 0
        #: whether the line given last had no end: the file may have been cut in it
        self.cut = False
        self._stream = stream

    def __iter__(self) -> Iterator[list[str]]:
        rest, dropping, first = "", False, True
        while piece := self._stream.read(LONGEST):
            lines = (rest + piece.removeprefix("\ufeff") if first else rest + piece).split("\n")
            first = False
            rest = lines.pop()
            if lines and (dropping or len(lines[0]) > LONGEST):
                dropping = False
                self.overlong += 1
                del lines[0]
            if dropping or len(rest) > LONGEST:
                rest, dropping = "", True
            if "\r" in piece:
                lines = [line.rstrip("\r") for line in lines]
            yield lines
        self.overlong += dropping
        if rest and not dropping:
            self.cut = True
            yield [rest.rstrip("\r")]


def said(line: str) -> tuple[str | None, str] | None:
    """The process and what nvprof said of it; None for a line without its mark."""
    match = _MARK.search(line) if "== " in line else None
    return (match["pid"], match["said"].strip()) if match else None
