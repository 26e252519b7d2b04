"""Calls and their times added up by name, row by row or in arrays, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from espdeploy.profilers.values import Kernel, MemoryOperation

#: different names or ids; rows of more are left out and counted
MOST = 100_000
#: 39 hours; what takes longer is damage, and sums of ``PIECE`` rows below it stay within 64 bits
LONGEST_NS = 1 << 47
#: rows that are added up together
PIECE = 1 << 15
_Whole = NDArray[np.int64]


@dataclass(kw_only=True)
class Sum:
    """Calls of one name; times in ns. What was not told is None."""

    calls: int = 0
    total_ns: float | None = None
    min_ns: float | None = None
    max_ns: float | None = None
    size_bytes: float | None = None

    def add(self, other: Sum) -> None:
        """Add what another row or array tells of the same name."""
        self.calls += other.calls
        self.total_ns = _plus(self.total_ns, other.total_ns)
        self.min_ns = min((value for value in (self.min_ns, other.min_ns) if value is not None), default=None)
        self.max_ns = max((value for value in (self.max_ns, other.max_ns) if value is not None), default=None)
        self.size_bytes = _plus(self.size_bytes, other.size_bytes)

    @property
    def total_ms(self) -> float | None:
        """Over all calls."""
        return None if self.total_ns is None else self.total_ns / 1e6

    @property
    def mean_us(self) -> float | None:
        """Over all calls."""
        return self.total_ns / self.calls / 1e3 if self.total_ns is not None and self.calls else None

    @property
    def total_mb(self) -> float | None:
        """In 10^6 bytes."""
        return None if self.size_bytes is None else self.size_bytes / 1e6

    def document(self, name: str) -> dict[str, object]:
        """With the keys that kernels have."""
        return {
            "name": name,
            "calls": self.calls,
            "total_ms": self.total_ms,
            "mean_us": self.mean_us,
            "min_us": _us(self.min_ns),
            "max_us": _us(self.max_ns),
        }


class Sums:
    """One sum for each name; ``refused`` counts rows for which there was no room."""

    def __init__(self) -> None:
        self.of: dict[str, Sum] = {}
        self.refused = 0

    def add(self, name: str, row: Sum) -> None:
        """Add a row."""
        held = self.of.get(name)
        if held is not None:
            held.add(row)
        elif len(self.of) < MOST:
            self.of[name] = row
        else:
            self.refused += row.calls

    def __bool__(self) -> bool:
        return bool(self.of)

    def documents(self, most: int = 1000) -> list[dict[str, object]]:
        """The longest, with the keys of ``Sum.document``."""
        return [held.document(name) for name, held in _longest_first(self.of.items())[:most]]


class IdSums:
    """One sum for each id; rows come in arrays of one length."""

    def __init__(self) -> None:
        self.of: dict[int, Sum] = {}
        self.refused = 0

    def add(self, ids: _Whole, durations_ns: _Whole, sizes_bytes: _Whole | None = None) -> None:
        """Add rows; durations below ``LONGEST_NS``, at most ``PIECE`` rows."""
        if not ids.size:
            return
        order = np.argsort(ids, kind="stable")
        ids, durations_ns = ids[order], durations_ns[order]
        begins = np.flatnonzero(np.concatenate(([True], ids[1:] != ids[:-1])))
        calls = np.diff(np.append(begins, ids.size))
        totals = np.add.reduceat(durations_ns, begins)
        least, most = np.minimum.reduceat(durations_ns, begins), np.maximum.reduceat(durations_ns, begins)
        sizes = None if sizes_bytes is None else np.add.reduceat(sizes_bytes[order], begins)
        for index, (key, held) in enumerate(zip(ids[begins].tolist(), calls.tolist(), strict=True)):
            row = Sum(
                calls=held,
                total_ns=int(totals[index]),
                min_ns=int(least[index]),
                max_ns=int(most[index]),
                size_bytes=None if sizes is None else int(sizes[index]),
            )
            self._add_one(key, row)

    def _add_one(self, key: int, row: Sum) -> None:
        held = self.of.get(key)
        if held is not None:
            held.add(row)
        elif len(self.of) < MOST:
            self.of[key] = row
        else:
            self.refused += row.calls


def kernels(rows: Iterable[tuple[str, Sum]]) -> tuple[Kernel, ...]:
    """As kernels, those that took longest first."""
    return tuple(
        Kernel(
            name=name,
            calls=held.calls,
            total_ms=held.total_ms,
            mean_us=held.mean_us,
            min_us=_us(held.min_ns),
            max_us=_us(held.max_ns),
        )
        for name, held in _longest_first(rows)
    )


def memops(rows: Iterable[tuple[str, Sum]]) -> tuple[MemoryOperation, ...]:
    """As memory operations, those that took longest first."""
    return tuple(
        MemoryOperation(
            name=name,
            calls=held.calls,
            total_ms=held.total_ms,
            mean_us=held.mean_us,
            min_us=_us(held.min_ns),
            max_us=_us(held.max_ns),
            total_mb=held.total_mb,
        )
        for name, held in _longest_first(rows)
    )


def _longest_first(rows: Iterable[tuple[str, Sum]]) -> list[tuple[str, Sum]]:
    return sorted(rows, key=lambda row: (row[1].total_ns is None, -(row[1].total_ns or 0.0), row[0]))


def _plus(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else one + other


def _us(time_ns: float | None) -> float | None:
    return None if time_ns is None else time_ns / 1e3
