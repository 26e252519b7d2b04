"""Two ways of timing one engine, held against each other."""

from __future__ import annotations

import dataclasses

from espdeploy.errors import InternalError
from espdeploy.records import CrossCheck, Finding, Record

#: farthest that medians of GPU compute may be apart
LIMIT_PCT = 2.0


def compared(record: Record, *, tool: str, median_ms: float) -> CrossCheck:
    """The record's own median of GPU compute beside another tool's.

    Raises:
        InternalError: the record has no time on the GPU.
    """
    if record.gpu_latency_ms is None:
        raise InternalError("a cross-check without GPU times")
    own_ms = record.gpu_latency_ms.p50
    difference_pct = abs(median_ms / own_ms - 1) * 100
    return CrossCheck(
        tool=tool,
        median_ms=median_ms,
        own_median_ms=own_ms,
        difference_pct=difference_pct,
        limit_pct=LIMIT_PCT,
        passed=difference_pct <= LIMIT_PCT,
    )


def with_check(record: Record, check: CrossCheck) -> Record:
    """The record with the comparison, and a verdict where it fails."""
    if check.passed:
        return dataclasses.replace(record, cross_check=check)
    finding = Finding(
        code="cross_check",
        severity="error",
        text=f"{check.tool} measured a median of {check.median_ms:.3f} ms on the GPU, "
        f"espdeploy {check.own_median_ms:.3f} ms: {check.difference_pct:.1f} % apart",
        do="lock the clocks (--freq), end other programs, and repeat",
    )
    return dataclasses.replace(record, cross_check=check, findings=[finding, *record.findings])
