"""SVG elements as escaped text."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from markupsafe import Markup, escape

#: mean advance of a sans-serif letter as a share of the font size; wide letters (CJK) take a whole one
_LETTER, _WIDE_LETTER = 0.58, 1.0
_ELLIPSIS = "…"
_LARGE_FROM, _TALL_FROM = 400.0, 0.65

Attribute = str | float | None


def element(tag: str, *children: str, **attributes: Attribute) -> Markup:
    """One element. Plain strings are escaped, markup is not; ``stroke_width`` becomes ``stroke-width``."""
    written = "".join(
        f' {_attribute(name)}="{_value(value)}"' for name, value in attributes.items() if value is not None
    )
    # a page holds hundreds of thousands of these: Markup.format would take most of its time
    text = f"<{tag}{written}>{join(children)}</{tag}>" if children else f"<{tag}{written}/>"
    return Markup(text)  # noqa: S704 - names are ours, values and children were escaped


def join(parts: Iterable[str]) -> Markup:
    """Parts one after the other, plain strings escaped."""
    return Markup("".join([escape(part) for part in parts]))  # noqa: S704 - each part was escaped


def picture(anchor: str, size: tuple[float, float], texts: tuple[str, str], *children: str) -> Markup:
    """The root element: ``size`` is width and height in user units, ``texts`` the title and its longer description.

    Wide pictures carry the class ``large``: the style sheet sets their text larger on a narrow screen. High ones carry
    ``tall``: in print they may take more of the page.
    """
    title, description = texts
    large = " large" if size[0] > _LARGE_FROM else ""
    tall = " tall" if size[1] > size[0] * _TALL_FROM else ""
    return element(
        "svg",
        element("title", title, id=f"{anchor}-title"),
        element("desc", description, id=f"{anchor}-desc"),
        *children,
        class_=f"chart{large}{tall}",
        viewBox=f"0 0 {coordinate(size[0])} {coordinate(size[1])}",
        preserveAspectRatio="xMinYMid meet",
        role="img",
        aria_labelledby=f"{anchor}-title {anchor}-desc",
    )


def path(points: Iterable[tuple[float, float]], *, close: bool = False) -> str:
    """The ``d`` of a line through ``points``."""
    text = "L".join(f"{coordinate(x)} {coordinate(y)}" for x, y in points)
    return f"M{text}{'Z' if close else ''}" if text else ""


def dots(points: Iterable[tuple[float, float]]) -> str:
    """The ``d`` that puts a round line cap on each point: many dots in one short element."""
    return "".join(f"M{coordinate(x)} {coordinate(y)}h0" for x, y in points)


def coordinate(value: float) -> str:
    """A length in user units, to a tenth, as short as it can be."""
    return f"{value:.1f}".rstrip("0").rstrip(".") if math.isfinite(value) else "0"


def text_width(text: str, font_size: float) -> float:
    """About how wide ``text`` is drawn, in user units; the fonts of the reader are not known here."""
    return font_size * sum(_WIDE_LETTER if unicodedata.east_asian_width(c) in "WF" else _LETTER for c in text)


def clip(text: str, width: float, font_size: float) -> str:
    """``text``, cut with an ellipsis where it is wider than ``width``."""
    if text_width(text, font_size) <= width:
        return text
    kept = text[: max(1, int(width / (font_size * _LETTER)))]
    while len(kept) > 1 and text_width(kept + _ELLIPSIS, font_size) > width:
        kept = kept[:-1]
    return kept.rstrip() + _ELLIPSIS


@lru_cache
def _attribute(name: str) -> str:
    return name.rstrip("_").replace("_", "-")


def _value(value: str | float) -> str:
    return escape(value) if isinstance(value, str) else coordinate(value)
