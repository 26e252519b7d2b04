"""The roofline: how fast arithmetic and memory would let a network run, and which of the two holds it back.

Operations per byte that is moved (the arithmetic intensity) say which limit a kernel meets first: below peak arithmetic
over memory bandwidth it waits for memory (Williams, Waterman and Patterson, "Roofline", CACM 52(4), 2009). A
multiply-add counts as two operations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

MEMORY, ARITHMETIC = "memory", "compute"
_OPERATIONS = 2
_PER_MS = 1e6  # of giga per second


@dataclass(frozen=True, kw_only=True)
class Peaks:
    """What the device can do at most: arithmetic at the clock that it ran at, and memory traffic."""

    gflops: float
    dram_gb_s: float

    @property
    def ridge(self) -> float:
        """Operations per byte where both limits meet."""
        return self.gflops / self.dram_gb_s


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A kernel's worth of the network: its multiply-adds, the bytes that it has to move, and its time where known."""

    name: str
    macs: int
    bytes: float
    time_ms: float | None = None

    def floor_ms(self, peaks: Peaks) -> float:
        """The time that the slower of the two limits lets it have."""
        return max(self.arithmetic_ms(peaks), self.memory_ms(peaks))

    def arithmetic_ms(self, peaks: Peaks) -> float:
        """Its operations at peak arithmetic."""
        return _OPERATIONS * self.macs / (peaks.gflops * _PER_MS)

    def memory_ms(self, peaks: Peaks) -> float:
        """Its bytes at full bandwidth."""
        return self.bytes / (peaks.dram_gb_s * _PER_MS)

    def bound(self, peaks: Peaks) -> str:
        """The limit that it meets first."""
        return MEMORY if self.memory_ms(peaks) > self.arithmetic_ms(peaks) else ARITHMETIC


@dataclass(frozen=True, kw_only=True)
class Roofline:
    """A network, or a layer, under its device's limits.

    ``intensity`` is in operations per byte. ``floor_ms`` adds up what each piece's own limit lets it take, of which
    ``memory_floor_ms`` is of pieces that wait for memory. ``attainable_gflops`` is what the limits allow at that
    intensity; ``achieved_gflops`` and ``bound`` by time are None where the time is not known.
    """

    macs: int
    bytes: float
    time_ms: float | None
    peaks: Peaks
    floor_ms: float
    memory_floor_ms: float

    @property
    def intensity(self) -> float | None:
        """Operations per byte; None where nothing is moved."""
        return _OPERATIONS * self.macs / self.bytes if self.bytes else None

    @property
    def attainable_gflops(self) -> float:
        """The least of peak arithmetic and what memory can feed."""
        if self.intensity is None:
            return self.peaks.gflops
        return min(self.peaks.gflops, self.intensity * self.peaks.dram_gb_s)

    @property
    def achieved_gflops(self) -> float | None:
        """Operations over the time that they took."""
        return _OPERATIONS * self.macs / (self.time_ms * _PER_MS) if self.time_ms else None

    @property
    def bound(self) -> str:
        """Which limit takes the larger part of the floor."""
        return MEMORY if self.memory_floor_ms > self.floor_ms / 2 else ARITHMETIC

    @property
    def reached_pct(self) -> float | None:
        """How near the time comes to the floor: 100 where the hardware could not do it faster."""
        return 100 * self.floor_ms / self.time_ms if self.time_ms else None

    def document(self) -> dict[str, object]:
        """As ``explain`` prints it."""
        return {
            "macs": self.macs,
            "bytes": round(self.bytes),
            "intensity": self.intensity,
            "ridge": self.peaks.ridge,
            "peak_gflops": self.peaks.gflops,
            "dram_gb_s": self.peaks.dram_gb_s,
            "attainable_gflops": self.attainable_gflops,
            "achieved_gflops": self.achieved_gflops,
            "time_ms": self.time_ms,
            "floor_ms": self.floor_ms,
            "memory_floor_ms": self.memory_floor_ms,
            "reached_pct": self.reached_pct,
            "bound": self.bound,
        }


def of_pieces(pieces: Sequence[Piece], peaks: Peaks, time_ms: float | None) -> Roofline:
    """All pieces, one after the other."""
    floors = [(piece.bound(peaks), piece.floor_ms(peaks)) for piece in pieces]
    return Roofline(
        macs=sum(piece.macs for piece in pieces),
        bytes=math.fsum(piece.bytes for piece in pieces),
        time_ms=time_ms,
        peaks=peaks,
        floor_ms=math.fsum(floor for _, floor in floors),
        memory_floor_ms=math.fsum(floor for bound, floor in floors if bound == MEMORY),
    )


def at_clock(peak: float, *, peak_mhz: float | None, mhz: float | None) -> float:
    """Peak arithmetic at another clock than the one that it is stated for."""
    return peak * mhz / peak_mhz if peak_mhz and mhz else peak
