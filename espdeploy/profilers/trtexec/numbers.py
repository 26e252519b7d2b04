"""Figures as C++ streams write them: plain, with an exponent, ``nan`` or ``inf``."""

from __future__ import annotations

import math


def number(text: object) -> float | None:
    """The finite number; None for anything else."""
    if isinstance(text, bool) or not isinstance(text, (str, int, float)):
        return None
    try:
        value = float(text)
    except (ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None
