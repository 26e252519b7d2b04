"""Numbers, times and names as people read them; what is unknown is a dash."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timezone

DASH = "–"
_LONGEST = 400
_METRICS = {"miou_pct": "% mIOU", "agreement_pct": "% agreement", "pixel_accuracy_pct": "% pixel accuracy"}
#: written with an exponent beyond these, or a column would have no end
_TINY, _HUGE = 1e-6, 1e12


def number(value: float | None, digits: int = 3) -> str:
    """``value`` with so many significant digits, trailing zeros kept: 12.0 and 0.123; a dash where unknown."""
    if value is None or not math.isfinite(value):
        return DASH
    if value == 0:
        return "0"
    if not _TINY <= abs(value) < _HUGE:
        return f"{value:.{digits - 1}e}"
    rounded = float(f"{value:.{digits - 1}e}")
    decimals = digits - 1 - math.floor(math.log10(abs(rounded)))
    return f"{rounded:,.{max(0, decimals)}f}"


def scaled(value: float | None, factor: float) -> float | None:
    """``value`` in another unit; unknown stays unknown."""
    return None if value is None else value * factor


def share(value: float | None) -> str:
    """A percentage with its sign, or a dash."""
    return DASH if value is None else f"{number(value)} %"


def signed_pct(value: float) -> str:
    """A change in percent, its direction always written: ``+2.5 %``."""
    return f"{'+' if value >= 0 else '−'}{abs(value):.1f} %"


def yes_no(value: bool | None) -> str:
    """``yes``, ``no``, or a dash where unknown."""
    return DASH if value is None else ("yes" if value else "no")


def metric_name(metric: str) -> str:
    """A metric of accuracy as the field writes it, with its unit."""
    return _METRICS.get(metric, shorten(metric, 40))


def plural(number_of: int, word: str, several: str = "") -> str:
    """``1 record``, ``2 records``; ``several`` where the plural takes more than an s."""
    return f"{number_of:,} {word if number_of == 1 else several or f'{word}s'}"


def mhz(value: float | None) -> str:
    """A clock with the decimals that it has: ``854.25`` and ``1,134``; a dash where unknown."""
    if value is None or not math.isfinite(value) or abs(value) >= _HUGE:
        return DASH
    return f"{value:,.2f}".rstrip("0").rstrip(".")


def moment(iso: str) -> str:
    """An ISO 8601 time as ``2026-02-03 10:11 UTC``; any other text as it is."""
    try:
        when = datetime.fromisoformat(iso.replace("Z", "+00:00"))
        aware = when if when.tzinfo else when.replace(tzinfo=timezone.utc)
        return aware.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError):
        return shorten(iso)


def frame_size(shape: Sequence[int]) -> str:
    """Width × height of an N,C,H,W shape; any other shape as its extents."""
    return f"{shape[3]}×{shape[2]}" if len(shape) == 4 else "×".join(map(str, shape)) or DASH


def shorten(text: str, longest: int = _LONGEST) -> str:
    """``text``, cut with an ellipsis where it is longer; what is cut stands in the record's file."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def listed(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else ""
