"""Conversions between units, and numbers written for people."""

from __future__ import annotations

BYTES_PER_MB = 1_000_000
BYTES_PER_FP32 = 4
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
MS_PER_S = 1_000


def mb_from_bytes(count: float) -> float:
    """Megabytes of 10^6 bytes, as the papers and disk makers count them."""
    return count / BYTES_PER_MB


def fp32_size_mb(params: int) -> float:
    """Storage of ``params`` parameters at 4 bytes each, in MB: what the papers call network size."""
    return mb_from_bytes(params * BYTES_PER_FP32)


def significant(value: float | None, digits: int = 3) -> str:
    """``value`` with so many significant digits, all before the point, no exponent; a dash where it is unknown."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    text = f"{value:.{digits}g}"
    return f"{float(text):.{digits + 5}f}".rstrip("0").rstrip(".") if "e" in text else text


def count(value: int | None) -> str:
    """A count in the field's way: 364,569 stays, 4.75 M and 4.75 G are shortened."""
    if value is None:
        return "–"
    for limit, suffix in ((10**9, "G"), (10**6, "M")):
        if value >= limit:
            return f"{value / limit:.3g} {suffix}"
    return f"{value:,}"
