"""What tools say when they fail: a pattern of their words, a code of ours, and what mends it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from espdeploy.profilers.values import ToolMessage


@dataclass(frozen=True, kw_only=True)
class KnownFailure:
    """``do`` may name groups of the pattern in braces, for those that fill them in."""

    pattern: re.Pattern[str]
    code: str
    do: str


def known(pattern: str, code: str, do: str) -> KnownFailure:
    """One row of a tool's table."""
    return KnownFailure(pattern=re.compile(pattern), code=code, do=do)


def first_known(failures: Iterable[KnownFailure], text: str) -> ToolMessage | None:
    """What ``text`` tells of, by the first row that fits; None where none does."""
    return next(
        (ToolMessage(code=one.code, text=text, do=one.do) for one in failures if one.pattern.search(text)), None
    )
