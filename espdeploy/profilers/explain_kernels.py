"""What kernels and their counters say of a run: divergence, coalescing, occupancy, movements, one that takes all."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from espdeploy.profilers import categories
from espdeploy.profilers.evidence import Counted, Evidence, Limit

WARP_LIMIT_PCT = 80.0
COALESCING_LIMIT_PCT = 50.0
SHARED_LIMIT_PCT = 50.0
OCCUPANCY_LIMIT_PCT = 25.0
MOVEMENT_LIMIT_PCT = 15.0
LAYOUT_LIMIT_PCT = 5.0
KERNEL_LIMIT_PCT = 40.0
#: kernels of less of the time hold nothing back
LEAST_TIME_PCT = 5.0
_LAYOUT = "layout"


@dataclass(frozen=True, kw_only=True)
class _Rule:
    """A counter, the value below which it is poor, what that means, and whether the loss can be said in time."""

    code: str
    counter: str
    least_pct: float
    what: str
    do: str
    lost: bool = True


_RULES = (
    _Rule(
        code="divergence",
        counter="warp_execution_efficiency",
        least_pct=WARP_LIMIT_PCT,
        what="threads of a warp take different ways, or are not there: warps execute at {mean:.0f} %",
        do="make sizes of maps and channels multiples of 32, and take branches on single elements out of own kernels",
    ),
    _Rule(
        code="uncoalesced_loads",
        counter="gld_efficiency",
        least_pct=COALESCING_LIMIT_PCT,
        what="loads from memory use {mean:.0f} % of the bytes that they bring",
        do="let neighbouring threads read neighbouring elements: channels last, wider loads, no strides",
    ),
    _Rule(
        code="uncoalesced_stores",
        counter="gst_efficiency",
        least_pct=COALESCING_LIMIT_PCT,
        what="stores to memory use {mean:.0f} % of the bytes that they write",
        do="let neighbouring threads write neighbouring elements: another layout, or a transposition in shared memory",
    ),
    _Rule(
        code="shared_conflicts",
        counter="shared_efficiency",
        least_pct=SHARED_LIMIT_PCT,
        what="accesses to shared memory run at {mean:.0f} %: threads meet in its banks",
        do="pad rows of shared memory by one element, or let threads read what lies together",
    ),
    _Rule(
        code="low_occupancy",
        counter="achieved_occupancy",
        least_pct=OCCUPANCY_LIMIT_PCT,
        what="the GPU holds {mean:.0f} % of the warps that it has room for",
        do="give it more to do at once (larger batch or map); a kernel that is near the roofline needs no more warps",
        lost=False,
    ),
)


def _counters(e: Evidence) -> Iterator[Limit]:
    for rule in _RULES:
        counted = (e.counters or {}).get(rule.counter)
        poor = [] if counted is None else [one for one in counted.kernels if 0 < one[1] < rule.least_pct]
        shares = [share for *_, share in poor]
        if counted is not None and poor and (None in shares or _sum(shares) >= LEAST_TIME_PCT):
            yield _poor(rule, counted, poor)


def _sum(shares: Sequence[float | None]) -> float:
    return math.fsum(share or 0.0 for share in shares)


def _poor(rule: _Rule, counted: Counted, poor: list[tuple[str, float, float | None]]) -> Limit:
    """What the kernels below the limit would gain at most: the unused part of their time."""
    timed = [(value, share) for _, value, share in poor if share is not None]
    known = len(timed) == len(poor)
    time_pct = math.fsum(share for _, share in timed) if known else None
    lost_pct = math.fsum(share * (100 - value) / 100 for value, share in timed) if known and rule.lost else None
    mean = math.fsum(value * (share or 1.0) for _, value, share in poor) / math.fsum(share or 1.0 for *_, share in poor)
    worst = max(poor, key=lambda one: (one[2] or 0.0, -one[1]))
    share_text = "" if time_pct is None else f" ({time_pct:.0f} % of the time)"
    return Limit(
        code=rule.code,
        share_pct=lost_pct,
        evidence={
            "counter": rule.counter,
            "mean_pct": counted.mean_pct,
            "poor_kernels": float(len(poor)),
            "poor_mean_pct": mean,
            "poor_time_pct": time_pct,
            "kernel": worst[0],
        },
        text=f"In {len(poor)} of {len(counted.kernels)} kernels{share_text} {rule.what.format(mean=mean)}.",
        do=rule.do,
    )


def _movement(e: Evidence) -> Iterator[Limit]:
    """Kernels that only move data; changes of layout are told by layers where their times are known."""
    layout = _share(e, lambda kind: kind == _LAYOUT)
    other = _share(e, lambda kind: kind != _LAYOUT)
    if layout > LAYOUT_LIMIT_PCT and e.layers is None:
        yield Limit(
            code="layout_changes",
            share_pct=layout,
            evidence={"layout_pct": layout},
            text=f"Kernels that only change layouts take {layout:.0f} % of the time.",
            do="let neighbouring layers run in one precision and layout, channels in multiples of 8 or 32",
        )
    if other > MOVEMENT_LIMIT_PCT:
        yield Limit(
            code="memory_movement",
            share_pct=other,
            evidence={"movement_pct": other},
            text=f"Kernels that only copy, join or gather take {other:.0f} % of the time.",
            do="write parts of a concatenation to their place at once, and leave copies and slices out of the network",
        )


def _share(e: Evidence, wanted: Callable[[str], bool]) -> float:
    shares = (one.time_pct for one in e.kernels if one.category == categories.MEMORY and wanted(one.kind))
    return math.fsum(shares)


def _dominant(e: Evidence) -> Iterator[Limit]:
    longest = max(e.kernels, key=lambda kernel: kernel.time_pct, default=None)
    if longest is None or longest.time_pct <= KERNEL_LIMIT_PCT or len(e.kernels) == 1:
        return
    figures: Mapping[str, float | str | None] = {"kernel": longest.name, "time_pct": longest.time_pct}
    yield Limit(
        code="one_kernel",
        share_pct=longest.time_pct,
        evidence=dict(figures),
        text=f"One kernel takes {longest.time_pct:.0f} % of the time: {longest.name} ({longest.category}).",
        do="begin there: its counters (espdeploy profile --kernels top:1) say what holds it back"
        if e.counters is None
        else "begin there: espdeploy parse --json has each kernel's counters, which say what holds it back",
    )


CHECKS: tuple[Callable[[Evidence], Iterator[Limit]], ...] = (_counters, _movement, _dominant)
