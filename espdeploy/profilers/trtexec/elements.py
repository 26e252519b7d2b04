"""The elements of arrays in a JSON file, one after the other: files of any size, several documents in one, and damage.

trtexec writes its JSON by hand: documents are appended where runs write to one file, names are not escaped, and a
figure may be ``nan`` or ``inf``, which JSON has not. A damaged element is passed over and counted; the rest is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

_PIECE = 1 << 16
#: an element that is not whole by then is damaged; a layer with its tensors has some KB, a Myelin one some hundred
_LONGEST = 1 << 20
_BLANK = re.compile(r"[\s,:]*")
#: a string, which stays as it is, or a figure that JSON has not
_NOT_JSON = re.compile(r'("(?:[^"\\\n]|\\.)*")|(?<=[:\s\[,])-?(?:nan|inf)(?=[\s,}\]])', re.IGNORECASE)
_NEXT = re.compile(r"\n[\s,]*(?=[{\"])|(?<=\})\s*,\s*(?=\{)")


class Text(Protocol):
    """What is read from: an open file, or what stands for one."""

    def read(self, size: int, /) -> str:
        """Up to ``size`` characters; none at the end."""


@dataclass(frozen=True, kw_only=True)
class Element:
    """``section`` names the key whose array it is of; empty in a document that is an array. Documents count from 0."""

    document: int
    section: str
    value: object


class ElementReader:
    """Iterate over it once; ``documents`` and ``damaged`` hold once that is done.

    Args:
        stream: text, read piece by piece.
    """

    def __init__(self, stream: Text) -> None:
        self.documents = 0
        self.damaged = 0
        self._stream = stream
        self._text = ""
        self._at = 0
        self._ended = False
        self._decoder = json.JSONDecoder()

    def __iter__(self) -> Iterator[Element]:
        section, inside, in_object = "", False, False
        while True:
            char = self._next()
            if not char:
                return
            if inside and char != "]":
                yield from self._element(section)
            elif char == "[":
                self._at += 1
                self.documents += not in_object
                inside, section = True, section if in_object else ""
            elif char == "]":
                self._at += 1
                inside = False
            elif char in "{}":
                self._at += 1
                self.documents += char == "{"
                in_object = char == "{"
            elif char == '"' and in_object:
                section = self._key()
            else:
                self._at += 1

    def _element(self, section: str) -> Iterator[Element]:
        found, value = self._decode()
        if found:
            yield Element(document=max(self.documents - 1, 0), section=section, value=value)

    def _key(self) -> str:
        found, value = self._decode()
        return value if found and isinstance(value, str) else ""

    def _next(self) -> str:
        """The next character that means something; empty at the end."""
        while True:
            blank = _BLANK.match(self._text, self._at)
            self._at = blank.end() if blank else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def _decode(self) -> tuple[bool, object]:
        """The value that begins here; False where it is damaged, and then the place is the next element's."""
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except (ValueError, RecursionError):
                if len(self._text) - self._at < self._patience() and self._more():
                    continue
                return self._repaired()
            if end == len(self._text) and self._more():
                continue  # a number or a word may go on
            self._at = end
            return True, value

    def _patience(self) -> int:
        """How much text to wait for: a line is whole, as trtexec writes records; anything else may be longer."""
        end = self._text.find("\n", self._at)
        whole = end != -1 and self._text[self._at : end].rstrip().endswith("}")
        return 0 if whole else _LONGEST

    def _repaired(self) -> tuple[bool, object]:
        following = _NEXT.search(self._text, self._at + 1)
        end = following.start() if following else len(self._text)
        piece = _NOT_JSON.sub(lambda found: found[1] or "null", self._text[self._at : end])
        self._at = max(end, self._at + 1)
        try:
            return True, self._decoder.raw_decode(piece)[0]
        except (ValueError, RecursionError):
            self.damaged += 1
            return False, None

    def _more(self) -> bool:
        if self._ended:
            return False
        piece = self._stream.read(_PIECE)
        self._ended = not piece
        self._text = self._text[self._at :] + piece
        self._at = 0
        return not self._ended
