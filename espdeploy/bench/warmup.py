"""Running until times are steady: caches, clocks, lazy initialisation and just-in-time work settle first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

from espdeploy.protocols import Clock, Progress
from espdeploy.specs import BenchSpec
from espdeploy.units import NS_PER_MS, NS_PER_S

WINDOW_S = 0.25
WINDOW_RUNS = 3
WINDOWS = 3
SPREAD_PCT = 5.0
#: the rule in words; part of the protocol's id
RULE = f"medians of {WINDOWS} windows of {WINDOW_S} s and {WINDOW_RUNS} runs within {SPREAD_PCT} %"


@dataclass(frozen=True, kw_only=True)
class Warmup:
    """What the warm-up took and whether times were steady when it ended.

    ``window_medians_ms`` has one entry for each full window; fewer than 3 mean that the time was too
    short to judge. ``fixed``: a tool warmed up for a set time, and the windows are the first that were measured.
    """

    trials: int
    seconds: float
    steady: bool
    window_medians_ms: tuple[float, ...] = ()
    fixed: bool = False


@dataclass
class _Windows:
    """Medians of consecutive windows, each of at least 0.25 s and 3 runs."""

    opened_ns: int
    runs_ms: list[float] = field(default_factory=list)
    medians_ms: list[float] = field(default_factory=list)

    def add(self, start_ns: int, end_ns: int) -> bool:
        """Count one run in; whether it closed a window."""
        self.runs_ms.append((end_ns - start_ns) / NS_PER_MS)
        if len(self.runs_ms) < WINDOW_RUNS or end_ns - self.opened_ns < WINDOW_S * NS_PER_S:
            return False
        self.medians_ms.append(median(self.runs_ms))
        self.runs_ms.clear()
        self.opened_ns = end_ns
        return True


def is_steady(medians_ms: Sequence[float]) -> bool:
    """Whether the last 3 windows' medians lie within 5 % of the smallest of them."""
    last = medians_ms[-WINDOWS:]
    return len(last) == WINDOWS and max(last) <= min(last) * (1 + SPREAD_PCT / 100)


def warm_up(step: Callable[[], object], *, spec: BenchSpec, clock: Clock, progress: Progress) -> Warmup:
    """Run ``step`` until its times are steady, at least ``warmup_min_s`` and at most ``warmup_max_s``.

    A step is never cut short, so the last one may end after ``warmup_max_s``; with ``warmup_max_s=0`` none runs.
    """
    start_ns = clock.now_ns()
    windows = _Windows(opened_ns=start_ns)
    elapsed_s, trials = 0.0, 0
    while elapsed_s < spec.warmup_max_s:
        run_ns = clock.now_ns()
        step()
        end_ns = clock.now_ns()
        trials += 1
        elapsed_s = (end_ns - start_ns) / NS_PER_S
        if windows.add(run_ns, end_ns):
            progress(trials, None, "warm-up")
            if elapsed_s >= spec.warmup_min_s and is_steady(windows.medians_ms):
                break
    return Warmup(
        trials=trials,
        seconds=elapsed_s,
        steady=is_steady(windows.medians_ms),
        window_medians_ms=tuple(windows.medians_ms),
    )
