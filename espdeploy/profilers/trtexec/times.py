"""What ``--exportTimes`` writes: one record for each inference.

Up to TensorRT 8.4 the records of the warm-up stand in it too (``for (t : trace)`` in exportJSONTrace, v8.2), though the
tool's own summary leaves them out: those that began before the warm-up was over, at the head of the file. From 8.5 on
they are gone (``begin() + nbWarmups``), and the same rule finds none. TensorRT 7 calls transfers in and out where later
ones say h2d and d2h, and ``endToEndMs`` ends with 8.4. Every time is in milliseconds since the run began.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from espdeploy.profilers.trtexec.elements import ElementReader, Text
from espdeploy.profilers.trtexec.numbers import number
from espdeploy.profilers.trtexec.values import Timing

#: of ``--warmUp`` where nobody sets it
DEFAULT_WARMUP_MS = 200.0
#: of ``--percentile`` from 8.5 on
PERCENTILES = (90.0, 95.0, 99.0)

_DURATIONS = {
    "gpu_compute_ms": ("computeMs",),
    "latency_ms": ("latencyMs",),
    "h2d_ms": ("h2dMs", "inMs"),
    "d2h_ms": ("d2hMs", "outMs"),
}
_NONE = np.empty(0)
_ENDLESS_MS = 1e12


@dataclass(frozen=True, kw_only=True)
class Times:
    """The inferences of a run, without the warm-up, in the file's order; arrays of one length, or empty if unknown.

    ``start_ms`` is when each began on the GPU, counted from the run's beginning; ``enqueue_ms`` what the host needed to
    launch it. ``documents`` counts the runs in the file: the first is read.
    """

    start_ms: NDArray[np.float64]
    gpu_compute_ms: NDArray[np.float64]
    latency_ms: NDArray[np.float64]
    enqueue_ms: NDArray[np.float64]
    h2d_ms: NDArray[np.float64]
    d2h_ms: NDArray[np.float64]
    warmup_dropped: int
    damaged: int
    documents: int

    @property
    def enqueue_ratio(self) -> float | None:
        """Median time to launch over median time on the GPU; above 0.8 the processor is the limit."""
        if not self.enqueue_ms.size or not self.gpu_compute_ms.size or not np.median(self.gpu_compute_ms):
            return None
        return float(np.median(self.enqueue_ms) / np.median(self.gpu_compute_ms))


def read_times(stream: Text, *, warmup_ms: float = DEFAULT_WARMUP_MS) -> Times:
    """Read the records; what is none is passed over and counted.

    Args:
        stream: the file.
        warmup_ms: the warm-up that the run had (``--warmUp``); records from before its end at the file's head are left
            out, as the tool leaves them out of its summary.
    """
    columns: dict[str, array[float]] = {name: array("d") for name in (*_DURATIONS, "enqueue_ms", "start_ms")}
    reader = ElementReader(stream)
    damaged = 0
    for element in reader:
        row = _row(element.value) if element.document == 0 else None
        if row is None:
            damaged += element.document == 0
            continue
        for name, column in columns.items():
            column.append(row.get(name, float("nan")))
    arrays = {name: np.array(column, dtype=np.float64) for name, column in columns.items()}
    counted = arrays["start_ms"] >= warmup_ms
    dropped = int(np.argmax(counted)) if counted.any() else counted.size
    kept = {name: _known(column[dropped:]) for name, column in arrays.items()}
    return Times(**kept, warmup_dropped=dropped, damaged=damaged + reader.damaged, documents=reader.documents)


def summed_up(values: NDArray[np.float64]) -> Timing | None:
    """The distribution as trtexec sums it up; None for no values.

    Its percentile is a value that was measured: of n in ascending order the one at n - 1 - int((1 - p / 100) n),
    computed with 32 bits (findPercentile in samples/common/sampleReporting.cpp).
    """
    ascending = np.sort(values[np.abs(values) < _ENDLESS_MS])  # without what a damaged row does not tell
    if not ascending.size:
        return None
    last = ascending.size - 1
    above = {
        pct: int((np.float32(1) - np.float32(pct) / np.float32(100)) * np.float32(ascending.size))
        for pct in PERCENTILES
    }
    return Timing(
        min_ms=float(ascending[0]),
        max_ms=float(ascending[-1]),
        mean_ms=float(ascending.mean()),
        median_ms=float(np.median(ascending)),
        percentiles_ms={pct: float(ascending[max(last - count, 0)]) for pct, count in above.items()},
    )


def _row(value: object) -> Mapping[str, float] | None:
    if not isinstance(value, dict):
        return None
    row = {name: found for name, keys in _DURATIONS.items() if (found := _first(value, keys)) is not None}
    start = number(value.get("startComputeMs"))
    if "gpu_compute_ms" not in row or start is None:
        return None
    began, ended = number(value.get("startEnqMs")), number(value.get("endEnqMs"))
    if began is not None and ended is not None:
        row["enqueue_ms"] = ended - began
    return {**row, "start_ms": start}


def _first(value: Mapping[str, object], keys: tuple[str, ...]) -> float | None:
    return next((found for key in keys if (found := number(value.get(key))) is not None), None)


def _known(column: NDArray[np.float64]) -> NDArray[np.float64]:
    return _NONE if np.isnan(column).all() else column
