"""Figures with their units, as nvprof writes them into cells or above columns.

Prefixes of bytes are powers of 1024: nvprof 11.8 prints a copy of 4096 bytes as ``4.0000KB``, and in metrics of one
kernel, throughputs in MB/s and in GB/s agree on its time only so. Releases whose trace has no
``SrcMemType`` column still counted by 1000: they print a copy of 2^28 bytes as 268.435456 MB, and the guide of those
releases shows 320 x 320 floats as 409.60KB.
"""

from __future__ import annotations

import re

TIME_US = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}
#: what stands where nvprof has no figure; "-" and nothing at all mean that there is none to have
UNTOLD = frozenset({"<overflow>", "<invalid>", "inf", "-inf", "+inf", "nan", "-nan", "n/a"})
#: a figure beyond is damage; sums of many below stay finite
_GREATEST = 1e25
_PREFIXES = "BKMGTP"
_SIZES = {prefix if prefix == "B" else f"{prefix}B": power for power, prefix in enumerate(_PREFIXES)}
_RATES = {f"{unit}/s": power for unit, power in _SIZES.items()}
#: whatever may stand in the row of units below a header
UNITS = frozenset({"", "%", *TIME_US, *_SIZES, *_RATES})
_FIGURE = re.compile(r"(?P<number>[+-]?\d{1,30}(?:\.\d{0,30})?(?:e[+-]?\d{1,3})?) ?(?P<unit>%|[a-zA-Z/]{1,5})?")
_LEVEL = re.compile(r"(?:Idle|Low|Mid|High|Max) \((?P<level>\d{1,2})\)")


def number(text: str) -> float | None:
    """The plain finite number; None for anything else."""
    match = _FIGURE.fullmatch(text.strip())
    return _finite(match["number"]) if match and match["unit"] is None else None


def count(text: str) -> int | None:
    """A number of calls or rows."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def is_untold(text: str) -> bool:
    """Whether nvprof says here that it could not tell."""
    return text.strip().lower() in UNTOLD


def time_us(text: str, unit: str = "") -> float | None:
    """A time in us; None without a figure, or with none of nvprof's units in the cell or as ``unit`` of its column."""
    match = _FIGURE.fullmatch(text.strip())
    scale = TIME_US.get(match["unit"] or unit) if match else None
    value = _finite(match["number"]) if match else None
    return value * scale if value is not None and scale is not None and value >= 0 else None


def size_bytes(text: str, unit: str = "", *, step: int = 1024) -> float | None:
    """A size in bytes; ``step`` is what a prefix multiplies by."""
    match = _FIGURE.fullmatch(text.strip())
    power = _SIZES.get(match["unit"] or unit) if match else None
    value = _finite(match["number"]) if match else None
    return value * float(step) ** power if value is not None and power is not None else None


def metric_value(text: str, unit: str = "") -> tuple[float | None, str]:
    """A metric's value and unit: ``%``, ``B/s``, ``B``, ``us``, ``level`` (0 idle, 10 maximal); none if plain."""
    text = text.strip()
    level = _LEVEL.fullmatch(text)
    if level is not None:
        return float(level["level"]), "level"
    match = _FIGURE.fullmatch(text)
    if match is None:
        return None, ""
    value, unit = _finite(match["number"]), match["unit"] or unit
    for powers, base in ((_RATES, "B/s"), (_SIZES, "B")):
        if unit in powers:
            return (None if value is None else value * 1024.0 ** powers[unit]), base
    if unit in TIME_US:
        return (None if value is None else value * TIME_US[unit]), "us"
    return value, unit


def _finite(text: str) -> float | None:
    value = float(text)
    return value if abs(value) < _GREATEST else None
