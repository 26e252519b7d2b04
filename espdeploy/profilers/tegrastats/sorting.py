"""Lines of a log sorted into samples of a shape that is known, samples to be read one by one, and the rest."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from espdeploy.profilers.tegrastats.columns import Shape
from espdeploy.profilers.tegrastats.values import Log
from espdeploy.profilers.tegrastats.wrapped import rejoined
from espdeploy.readings.tegrastats import fields_of, is_doubtful, split_line

#: a sample that was broken into more lines is not put together again
MOST_PIECES = 8
_MOST_SHAPES = 4096
_MOST_NAMES = 1024
_RAM = "RAM "
_WORD = re.compile(r"[A-Za-z]\w{0,31}")


class Sorter:
    """Sorts some lines. ``shapes`` are those that are known, and gain what these lines teach.

    ``groups`` are the lines of each known shape by their numbers, ``singles`` numbers and texts of other samples.
    """

    def __init__(self, lines: Sequence[str], kinds: Sequence[bytes], shapes: dict[bytes, Shape], log: Log) -> None:
        self.groups: defaultdict[bytes, list[int]] = defaultdict(list)
        self.singles: list[tuple[int, str]] = []
        self._lines = lines
        self._kinds = kinds
        self._shapes = shapes
        self._log = log
        self._pieces = 0
        self._joined_at = -1

    def sort(self) -> None:
        """Give each line its place; those without one are counted as skipped."""
        shapes, groups = self._shapes, self.groups
        for index, kind in enumerate(self._kinds):
            if kind in shapes:
                groups[kind].append(index)
            elif _RAM in self._lines[index]:
                self._sample(index, kind)
            elif not self._is_rest(index) and self._lines[index].strip():
                self._log.skipped += 1

    def _sample(self, index: int, kind: bytes) -> None:
        line = self._lines[index]
        pieces = [(piece.split(), piece) for piece in split_line(line)]
        fields = [fields_of(tokens) for tokens, _ in pieces]
        whole = len(pieces) == 1 and pieces[0][1] == line and any(each.kind == "ram" for each in fields[0])
        if whole and len(self._shapes) < _MOST_SHAPES and not is_doubtful(pieces[0][0], fields[0]):
            self._shapes[kind] = Shape(fields[0], width=len(pieces[0][0]))
            self._learn_words(line)
            self.groups[kind].append(index)
            return
        for (_, piece), found in zip(pieces, fields, strict=True):
            if any(each.kind == "ram" for each in found):
                self.singles.append((index, piece))
            else:
                self._log.skipped += 1

    def _learn_words(self, line: str) -> None:
        if len(self._log.words) < _MOST_NAMES:
            self._log.words.update(_WORD.findall(line))

    def _is_rest(self, index: int) -> bool:
        """Put the line behind the sample before it, where it is the rest of that."""
        begun = self._before(index)
        whole = rejoined(begun, self._lines[index]) if begun else None
        if whole is None:
            return False
        self._pieces = self._pieces + 1 if self._joined_at == index - 1 else 2
        if self._pieces > MOST_PIECES:
            return False
        self._log.rejoined += self._pieces == 2
        self._joined_at = index
        self._take_back(index - 1)
        self.singles.append((index, whole))
        return True

    def _before(self, index: int) -> str | None:
        """The sample that the line before holds."""
        if self.singles and self.singles[-1][0] == index - 1:
            return self.singles[-1][1]
        return self._lines[index - 1] if index and self._group_of(index - 1) else None

    def _take_back(self, index: int) -> None:
        group = self._group_of(index)
        if group:
            group.pop()
        else:
            self.singles.pop()

    def _group_of(self, index: int) -> list[int] | None:
        group = self.groups.get(self._kinds[index])
        return group if group and group[-1] == index else None
