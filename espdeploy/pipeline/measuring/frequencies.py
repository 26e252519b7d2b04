"""Several frequencies in one request: in which order, with what rest between, and what they say together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from espdeploy.bench.sensitivity import Point, sensitivity
from espdeploy.devices.thermal import hottest_c
from espdeploy.protocols import Clock, Progress
from espdeploy.records import Finding, FrequencySensitivity, Record

#: a device counts as cooled down when it is this near to where it started (zeus' rule for its power sweeps)
COOL_WITHIN_C = 2.0
_COOL_AT_MOST_S = 300.0
_LOOK_EVERY_S = 2.0
#: two runs at one frequency, one early and one late, should agree
_REPEAT_LIMIT_PCT = 5.0
_SWEEP_LEAST = 3
#: readings of a clock that holds lie within this of its step
_HELD_WITHIN = 0.01


def order(frequencies_mhz: Sequence[float]) -> list[float]:
    """The order to measure in: outwards in turns from both ends, and the first once more at the end.

    Neighbours in frequency are then apart in time, so heat that builds up shows as scatter and not as a slope, and the
    repeated first one shows how much came of it. Two or fewer are measured as they are given.
    """
    steps = list(dict.fromkeys(frequencies_mhz))
    if len(steps) < _SWEEP_LEAST:
        return steps
    left = sorted(steps)
    found = []
    while left:
        found.append(left.pop())
        if left:
            found.append(left.pop(0))
    return [*found, found[0]]


def cool_down(start_c: float | None, *, clock: Clock, progress: Progress, root: Path) -> str | None:
    """Wait until the device is within 2 °C of ``start_c``; what to note where it did not get there in 5 minutes."""
    if start_c is None:
        return None
    waited_s = 0.0
    while (now_c := hottest_c(root)) is not None and now_c > start_c + COOL_WITHIN_C:
        if waited_s >= _COOL_AT_MOST_S:
            return f"still {now_c:.1f} °C after {waited_s:.0f} s of rest; the first run began at {start_c:.1f} °C"
        progress(0, None, f"cooling down: {now_c:.1f} °C, to {start_c + COOL_WITHIN_C:.1f} °C")
        clock.sleep_s(_LOOK_EVERY_S)
        waited_s += _LOOK_EVERY_S
    return None


def over(records: Sequence[Record]) -> FrequencySensitivity | None:
    """The sensitivity over the records of one request; None where fewer than two frequencies are known."""
    points = []
    for record in records:
        mhz = _ran_at_mhz(record)
        if mhz is not None and not record.interrupted:
            times = record.latency_ms
            points.append(Point(frequency_mhz=mhz, mean_ms=times.mean, ci95_ms=times.ci95))
    return sensitivity(points)


def _ran_at_mhz(record: Record) -> float | None:
    """The step that was set; what was read under load instead where that was another; None where nothing is known."""
    clock = record.device.gpu_freq_mhz
    if clock.set is None or clock.mean is None:
        return clock.set or clock.mean
    return clock.set if abs(clock.mean / clock.set - 1) <= _HELD_WITHIN else clock.mean


def together(records: Sequence[Record]) -> list[Record]:
    """The records with what only all of them tell: the sensitivity, and whether a repeated frequency agrees."""
    shared = over(records)
    first: dict[float | None, Record] = {}
    found = []
    for record in records:
        earlier = first.setdefault(record.device.gpu_freq_mhz.set, record)
        doubt = _moved(earlier, record) if earlier is not record else None
        findings = [*record.findings, *([doubt] if doubt else [])]
        found.append(dataclasses.replace(record, frequency_sensitivity=shared, findings=findings))
    return found


def _moved(earlier: Record, later: Record) -> Finding | None:
    """A verdict where the same frequency, measured early and late, gave different times."""
    change_pct = (later.latency_ms.p50 / earlier.latency_ms.p50 - 1) * 100
    if abs(change_pct) <= _REPEAT_LIMIT_PCT:
        return None
    return Finding(
        code="repeat_differs",
        severity="warning",
        text=f"measured again at the end, {later.device.gpu_freq_mhz.set:g} MHz was {change_pct:+.1f} % in latency: "
        "heat, or other load, moved the whole series",
        do="improve the cooling (fan at full speed), end other programs, and repeat",
    )
