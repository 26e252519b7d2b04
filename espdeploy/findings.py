"""Verdicts of several records told once: those that differ in one figure alone become a range."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from espdeploy.records import Finding

#: worst first
SEVERITIES = ("error", "warning", "info")
#: a figure that stands alone: the 99 of "p99" is part of a word
_FIGURE = re.compile(r"(?<![\w.,])[-−]?\d[\d,]*(?:\.\d+)?(?![\w])")

Owner = TypeVar("Owner")


@dataclass(frozen=True, kw_only=True)
class Shared(Generic[Owner]):
    """A verdict and whose it is, each owner once, in order of first appearance."""

    finding: Finding
    owners: tuple[Owner, ...]


def shared(held: Iterable[tuple[Owner, Finding]]) -> list[Shared[Owner]]:
    """Verdicts alike but for one figure as one, with that figure from least to greatest; worst first.

    Where two figures differ they belong to each other, so such verdicts stay apart, and so do those with other advice.
    """
    alike: dict[tuple[str, ...], list[tuple[Owner, Finding]]] = {}
    for owner, finding in held:
        worded = _FIGURE.sub("#", finding.text)
        alike.setdefault((finding.severity, finding.code, worded, finding.do), []).append((owner, finding))
    told = [part for group in alike.values() for part in _told(group)]
    return sorted(told, key=lambda item: rank(item.finding.severity))


def rank(severity: str) -> int:
    """The place of a severity, worst first; an unknown one stands last."""
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)


def _told(group: Sequence[tuple[Owner, Finding]]) -> list[Shared[Owner]]:
    texts = list(dict.fromkeys(finding.text for _, finding in group))
    merged = _merged(texts)
    if merged is not None:
        return [_of(group, merged)]
    return [_of([(owner, finding) for owner, finding in group if finding.text == text], text) for text in texts]


def _of(group: Sequence[tuple[Owner, Finding]], text: str) -> Shared[Owner]:
    owners = tuple(dict.fromkeys(owner for owner, _ in group))
    return Shared(finding=replace(group[0][1], text=text), owners=owners)


def _merged(texts: Sequence[str]) -> str | None:
    """One text for all where at most one figure differs."""
    figures = [_FIGURE.findall(text) for text in texts]
    differing = [place for place, values in enumerate(zip(*figures, strict=True)) if len(set(values)) > 1]
    if len(differing) > 1:
        return None
    if not differing:
        return texts[0]
    (place,) = differing
    values = sorted((row[place] for row in figures), key=_value)
    match = list(_FIGURE.finditer(texts[0]))[place]
    return f"{texts[0][: match.start()]}{values[0]} to {values[-1]}{texts[0][match.end() :]}"


def _value(figure: str) -> float:
    return float(figure.replace(",", "").replace("−", "-"))
