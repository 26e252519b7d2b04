"""Rows of ``nvidia-smi --query-gpu=… --format=csv``, with and without units and header.

The header names the columns (``power.draw [W]``); cells are separated by a comma and a blank and carry their unit
unless ``nounits`` was asked for, which leaves the units in the header. What a GPU does not tell is in brackets:
``[N/A]``, ``[Not Supported]``, ``[Insufficient Permissions]``, ``[Unknown Error]``. Names may hold commas. Programs
that wrap the tool write headers of their own; those seen are known here. Source: NVIDIA's manual of nvidia-smi.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass

from espdeploy.units import mb_from_bytes

_BYTES_PER_MIB = 1 << 20
_LONGEST_CHARS = 16_384
_NUMBER = re.compile(r"(-?\d{1,12}(?:\.\d{1,9})?)\s*(W|%|MiB|MHz|C|J|ms|KB/s)?(?=\s|$)")
_UNIT = re.compile(r"\s*\[[^\]]*\]\s*$")
_TIME = re.compile(r"\d{4}[/-]\d\d[/-]\d\d[ T]\d\d:\d\d:\d\d")
#: what a column is, by its name in the header, the best of several first
_COLUMNS = {
    "power_w": ("power.draw", "power.draw.instant", "power.draw.average", "power_w", "power"),
    "util_pct": ("utilization.gpu", "gpu_util_pct", "gpu_util", "gpu_utilization"),
    "sm_clock_mhz": ("clocks.current.sm", "clocks.sm", "sm_clock_mhz"),
    "memory_used_mb": ("memory.used", "mem_used_mb", "memory_used"),
    "temp_c": ("temperature.gpu", "temp_c", "temperature"),
    "gpu": ("gpu", "gpu_index", "gpu_id"),
    "index": ("index",),
    "name": ("name", "gpu_name"),
    "identity": ("uuid", "gpu_uuid", "pci.bus_id", "gpu_bus_id"),
    "timestamp": ("timestamp",),
}
#: columns of the tool that tell what a table is, though none of their values is used here
_OTHERS = ("driver_version", "compute_cap", "memory.total", "power.limit", "utilization.memory", "clocks.mem")
_KNOWN = frozenset(name for names in _COLUMNS.values() for name in names) | frozenset(_OTHERS)
#: names that only this tool has, or wrappers of it
_TELLING = re.compile(r"(?:power|utilization|memory|clocks|temperature|pci)\.\w|gpu_util|driver_version|compute_cap")
_TEXTS = ("name", "identity", "timestamp")


@dataclass(frozen=True, kw_only=True)
class Header:
    """Which column is what: ``columns`` by meaning, of ``width`` columns."""

    columns: dict[str, int]
    width: int


@dataclass(frozen=True, kw_only=True)
class GpuRow:
    """One row. None: the column is not there, or the GPU does not tell. Memory is in MB of 10^6 bytes.

    ``identity`` is everything in the row that tells its GPU from others; empty where nothing does.
    """

    identity: tuple[str, ...] = ()
    gpu: int | None = None
    index: int | None = None
    name: str | None = None
    power_w: float | None = None
    util_pct: float | None = None
    sm_clock_mhz: float | None = None
    memory_used_mb: float | None = None
    temp_c: float | None = None
    timestamp: str | None = None


def split_cells(line: str) -> list[str] | None:
    """The cells of a row, without outer blanks; None where the line is no row."""
    try:
        cells = next(csv.reader([line[:_LONGEST_CHARS]], skipinitialspace=True), [])
    except csv.Error:
        return None
    return [cell.strip() for cell in cells]


def read_header(cells: Sequence[str]) -> Header | None:
    """What the columns are, where the cells are a header."""
    names = [_UNIT.sub("", cell).lower() for cell in cells]
    telling = any(_TELLING.match(name) for name in names)
    if not telling and not ("name" in names and "index" in names):
        return None
    columns = {}
    for meaning, known in _COLUMNS.items():
        found = next((names.index(name) for name in known if name in names), None)
        if found is not None:
            columns[meaning] = found
    return Header(columns=columns, width=len(names))


def guess_header(cells: Sequence[str]) -> Header | None:
    """What the columns are by the units in a row's cells, where no header told it: power and load alone.

    Of several percentages the first is taken, which is the GPU's in the order that people ask in.
    """
    units = [match[2] if (match := _NUMBER.fullmatch(cell)) else None for cell in cells]
    if not any(units):
        return None
    columns = {
        meaning: units.index(unit)
        for meaning, unit in (("power_w", "W"), ("util_pct", "%"), ("memory_used_mb", "MiB"))
        if unit in units
    }
    texts = [at for at, cell in enumerate(cells) if re.match(r"[A-Za-z]", cell)]
    times = [at for at, cell in enumerate(cells) if _TIME.match(cell)]
    columns |= {"name": texts[0]} if texts else {}
    columns |= {"timestamp": times[0]} if times else {}
    return Header(columns=columns, width=len(cells))


def read_row(cells: Sequence[str], header: Header) -> GpuRow | None:
    """A row under its header; None where it has another number of cells that a name's commas do not explain."""
    cells = _whole_name(cells, header)
    if len(cells) != header.width:
        return None
    texts = {meaning: cells[at] for meaning, at in header.columns.items()}
    numbers = {meaning: number(text) for meaning, text in texts.items() if meaning not in _TEXTS}
    gpu, index, memory_mib = (numbers.pop(meaning, None) for meaning in ("gpu", "index", "memory_used_mb"))
    if not any(number(cell) is not None for cell in cells) and not any(cell.startswith("[") for cell in cells):
        return None
    return GpuRow(
        identity=tuple(texts[key] for key in ("gpu", "index", "identity", "name") if key in texts),
        gpu=None if gpu is None else int(gpu),
        index=None if index is None else int(index),
        name=texts.get("name") or None,
        memory_used_mb=None if memory_mib is None else mb_from_bytes(memory_mib * _BYTES_PER_MIB),
        timestamp=texts.get("timestamp"),
        **numbers,
    )


def number(cell: str) -> float | None:
    """The number in a cell, with or without its unit; None where it tells none."""
    match = _NUMBER.match(cell)
    return float(match[1]) if match else None


def _whole_name(cells: Sequence[str], header: Header) -> Sequence[str]:
    """The cells with a name that holds commas put together again."""
    extra = len(cells) - header.width
    at = header.columns.get("name")
    if extra <= 0 or at is None:
        return cells
    return [*cells[:at], ", ".join(cells[at : at + extra + 1]), *cells[at + extra + 1 :]]
