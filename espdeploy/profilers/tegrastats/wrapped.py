"""Samples that a narrow terminal, or a document, broke into several lines."""

from __future__ import annotations

import re

from espdeploy.readings.tegrastats import fields_of

_LONGEST_CHARS = 4096
_TOKEN = re.compile(r"[\w@%.,/()\[\]-]+")
_ENGINE = re.compile(r"\b(?:NV[A-Z]+\d*(?:_\w+)?|VIC\w*|PVA\w*|OFA\w*|APE|AVP|MTS|EDP|SWAP|IRAM|lfb|cached)\b")


def rejoined(begun: str, line: str) -> str | None:
    """A sample and the line behind it as one line; None where that line is no part of it.

    It is one when it adds readings and takes none away, or names the engines alone. Terminals break anywhere, documents
    at blanks: whichever gives more readings is taken.
    """
    if len(begun) + len(line) > _LONGEST_CHARS or not all(map(_TOKEN.fullmatch, line.split())):
        return None
    before = _keys(begun)
    if before & _keys(line):
        return None
    best, most = None, len(before)
    for text in (begun + line, f"{begun} {line}"):
        keys = _keys(text)
        if before <= keys and len(keys) > most:
            best, most = text, len(keys)
    return best or (f"{begun} {line}" if _ENGINE.search(line) else None)


def _keys(text: str) -> set[tuple[str, str]]:
    return {(each.kind, each.name) for each in fields_of(text.split())}
