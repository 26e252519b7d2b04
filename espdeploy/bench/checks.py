"""Verdicts on a measurement: what weakens it, the likely cause, and what to do about it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from espdeploy.bench import statistics
from espdeploy.bench.warmup import WINDOW_RUNS, WINDOWS, Warmup
from espdeploy.records import Finding
from espdeploy.units import MS_PER_S

VARIATION_LIMIT_PCT = 10.0
DRIFT_LIMIT_PCT = 5.0
TIMER_LIMIT_PCT = 1.0
SAMPLER_LIMIT_PCT = 2.0
OTHER_LOAD_LIMIT_PCT = 10.0
MEMORY_LIMIT_PCT = 95.0
SWAP_GROWTH_LIMIT_MB = 16.0
CLOCK_LIMIT_PCT = 5.0
OUTLIER_DEVIATIONS = 5.0
OUTLIER_LEAST_PCT = 25.0
_OUTLIER_MIN_TRIALS = 10
_STEADY_GOVERNORS = ("performance",)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the verdicts rest on; None where it is not known, and then nothing is said about it.

    ``cpu_pct`` is the mean load of the whole machine (0..100), ``process_cpu_pct`` our own in percent of
    one core, ``cores`` the machine's cores and ``cores_available`` those that this process may use.
    ``gpu_clock_mhz`` are the readings inside the window. ``precision`` is the engine's by name,
    ``precision_share_pct`` what its convolutions compute in; ``performance_only``: its INT8 ranges were made up.
    """

    times_ms: Sequence[float]
    requested_trials: int
    warmup: Warmup | None = None
    timer_overhead_us: float | None = None
    interrupted: bool = False
    sampler_cpu_pct: float | None = None
    cpu_pct: float | None = None
    process_cpu_pct: float | None = None
    cores: int | None = None
    cores_available: int | None = None
    threads: int | None = None
    cpu_governor: str | None = None
    jetson: bool = False
    on_battery: bool | None = None
    memory_pct: float | None = None
    swap_start_mb: float | None = None
    swap_end_mb: float | None = None
    throttled: bool | None = None
    gpu_clock_mhz: Sequence[float] = ()
    precision: str | None = None
    precision_share_pct: Mapping[str, float] | None = None
    performance_only: bool = False


def findings(evidence: Evidence) -> list[Finding]:
    """Every verdict that applies, in the order in which they should be read.

    Raises:
        InternalError: there are no times.
    """
    found = (check(evidence) for check in CHECKS)
    return [finding for finding in found if finding is not None]


def _interrupted(e: Evidence) -> Finding | None:
    if not e.interrupted:
        return None
    return Finding(
        code="interrupted",
        severity="warning",
        text=f"stopped after {len(e.times_ms)} of {e.requested_trials} trials; the figures are of those alone",
        do=f"repeat without stopping it, or ask for fewer: --trials {len(e.times_ms)}",
    )


def _not_steady(e: Evidence) -> Finding | None:
    if e.warmup is None or e.warmup.steady:
        return None
    run_s = median(e.times_ms) / MS_PER_S
    judged = len(e.warmup.window_medians_ms) >= WINDOWS
    reason = (
        "times still moved by more than 5 %: likely other load, or clocks that follow load or heat"
        if judged
        else "times could not be judged steady: it takes three windows of at least 0.25 s and 3 runs"
    )
    option = "--warmup-s" if e.warmup.fixed else "--warmup-max-s"
    wanted_s = max(2 * e.warmup.seconds, 1.2 * WINDOWS * WINDOW_RUNS * run_s, 1.0)
    return Finding(
        code="not_steady",
        severity="warning",
        text=f"after {e.warmup.trials} warm-up runs in {e.warmup.seconds:.1f} s {reason}",
        do=f"give it more time to become steady: {option} {math.ceil(wanted_s)}",
    )


def _spread(e: Evidence) -> Finding | None:
    variation_pct = statistics.variation_pct(e.times_ms)
    if variation_pct is None or variation_pct <= VARIATION_LIMIT_PCT:
        return None
    return Finding(
        code="spread",
        severity="warning",
        text=f"times vary by {variation_pct:.0f} % (standard deviation over mean; limit {VARIATION_LIMIT_PCT:.0f} %); "
        "likely other programs, more threads than free cores, or clocks that move",
        do="end other programs, pin the work to free cores with --threads, and repeat with more --trials",
    )


def _drift(e: Evidence) -> Finding | None:
    drift_pct = statistics.drift_pct(e.times_ms)
    if drift_pct is None or abs(drift_pct) <= DRIFT_LIMIT_PCT:
        return None
    cause = "likely heat or a falling clock" if drift_pct > 0 else "likely a warm-up that was too short"
    return Finding(
        code="drift",
        severity="warning",
        text=f"the last third of the trials took {drift_pct:+.0f} % against the first third; {cause}",
        do="check cooling and power mode, then repeat with a longer warm-up, for example --warmup-s 30"
        if drift_pct > 0
        else "repeat with a longer warm-up, for example --warmup-s 30",
    )


def _throttled(e: Evidence) -> Finding | None:
    if not e.throttled:
        return None
    return Finding(
        code="throttled",
        severity="warning",
        text="the device lowered its own clocks during the run, for heat or power",
        do="improve cooling, choose a lower --freq or --power-mode that it can hold, and repeat",
    )


def _clock_moved(e: Evidence) -> Finding | None:
    if not e.gpu_clock_mhz:
        return None
    low, high = min(e.gpu_clock_mhz), max(e.gpu_clock_mhz)
    if high <= 0 or (high - low) / high * 100 <= CLOCK_LIMIT_PCT:
        return None
    return Finding(
        code="clock_moved",
        severity="warning",
        text=f"the GPU clock moved between {low:.0f} and {high:.0f} MHz during the run",
        do=f"hold it, at most at what it can sustain: --freq {low:.0f}",
    )


def _slow_first(e: Evidence) -> Finding | None:
    if len(e.times_ms) < _OUTLIER_MIN_TRIALS or e.times_ms[0] <= _limit_ms(e.times_ms):
        return None
    return Finding(
        code="slow_first_trial",
        severity="warning",
        text=f"the first trial took {e.times_ms[0]:.3g} ms, well over the median; likely something that the "
        "warm-up did not reach",
        do="repeat with a longer warm-up, for example --warmup-s 10",
    )


def _outliers(e: Evidence) -> Finding | None:
    if len(e.times_ms) < _OUTLIER_MIN_TRIALS:
        return None
    limit_ms = _limit_ms(e.times_ms)
    count = sum(time > limit_ms for time in e.times_ms[1:])
    if count == 0:
        return None
    return Finding(
        code="outliers",
        severity="info",
        text=f"{count} of {len(e.times_ms)} trials took over {limit_ms:.3g} ms and are kept in all figures; "
        "likely other programs or interrupts",
        do="compare medians, or repeat on a quieter machine with more --trials",
    )


def _few_trials(e: Evidence) -> Finding | None:
    trials = len(e.times_ms)
    if trials >= statistics.INTERVAL_MIN_VALUES:
        return None
    return Finding(
        code="too_few_trials",
        severity="warning",
        text=f"{trials} trials carry no interval of the mean (at least {statistics.INTERVAL_MIN_VALUES})",
        do="measure more of them: --trials 200",
    )


def _few_for_percentiles(e: Evidence) -> Finding | None:
    trials = len(e.times_ms)
    missing = {p: least for p, least in statistics.PERCENTILE_MIN_TRIALS.items() if trials < least}
    if not missing:
        return None
    names = ", ".join(f"p{percent}" for percent in missing)
    return Finding(
        code="too_few_for_percentiles",
        severity="info",
        text=f"{trials} trials are too few for {names}: at least ten must lie beyond a percentile",
        do=f"for all of them: --trials {max(missing.values())}",
    )


def _autocorrelated(e: Evidence) -> Finding | None:
    length = statistics.block_length_for(e.times_ms)
    if length == 1 or len(e.times_ms) < statistics.INTERVAL_MIN_VALUES:
        return None
    return Finding(
        code="autocorrelated",
        severity="info",
        text=f"neighbouring times resemble each other, so the interval of the mean was drawn from blocks of {length}",
        do="nothing, unless two runs are to be told apart by little: then repeat with more --trials",
    )


def _timer(e: Evidence) -> Finding | None:
    if e.timer_overhead_us is None:
        return None
    median_us = median(e.times_ms) * MS_PER_S
    if median_us > 0 and e.timer_overhead_us / median_us * 100 <= TIMER_LIMIT_PCT:
        return None
    return Finding(
        code="timer_overhead",
        severity="warning",
        text=f"taking a time costs {e.timer_overhead_us:.3g} us, over {TIMER_LIMIT_PCT:.0f} % of the median "
        f"of {median_us:.3g} us",
        do="put more work into a trial, for example --batch 8",
    )


def _sampler(e: Evidence) -> Finding | None:
    if e.sampler_cpu_pct is None or e.sampler_cpu_pct <= SAMPLER_LIMIT_PCT:
        return None
    return Finding(
        code="sampler_cost",
        severity="warning",
        text=f"reading the sensors took {e.sampler_cpu_pct:.1f} % of a core during the run "
        f"(limit {SAMPLER_LIMIT_PCT:.0f} %)",
        do="leave a core free for it: --threads one lower" if (e.threads or 0) > 1 else "use a device with a free core",
    )


def _other_load(e: Evidence) -> Finding | None:
    if e.cpu_pct is None or e.process_cpu_pct is None or not e.cores:
        return None
    others_pct = e.cpu_pct - e.process_cpu_pct / e.cores
    if others_pct <= OTHER_LOAD_LIMIT_PCT:
        return None
    return Finding(
        code="other_load",
        severity="warning",
        text=f"other programs took {others_pct:.0f} % of the machine's processor time during the run",
        do="find them with top, end them or wait, and repeat",
    )


def _more_threads_than_cores(e: Evidence) -> Finding | None:
    if e.threads is None or e.cores_available is None or e.threads <= e.cores_available:
        return None
    return Finding(
        code="threads_over_cores",
        severity="warning",
        text=f"{e.threads} threads on {e.cores_available} cores that this process may use",
        do=f"--threads {e.cores_available}",
    )


def _governor(e: Evidence) -> Finding | None:
    if e.cpu_governor is None or e.cpu_governor in _STEADY_GOVERNORS:
        return None
    return Finding(
        code="cpu_governor",
        severity="info",
        text=f'the CPU frequency governor is "{e.cpu_governor}": clocks follow the load',
        do="sudo jetson_clocks" if e.jetson else "sudo cpupower frequency-set -g performance",
    )


def _battery(e: Evidence) -> Finding | None:
    if not e.on_battery:
        return None
    return Finding(
        code="on_battery",
        severity="warning",
        text="the machine runs on its battery, which lowers clocks",
        do="connect the mains and repeat",
    )


def _memory(e: Evidence) -> Finding | None:
    if e.memory_pct is None or e.memory_pct <= MEMORY_LIMIT_PCT:
        return None
    return Finding(
        code="memory_full",
        severity="warning",
        text=f"{e.memory_pct:.0f} % of the memory was in use; pages may have been written out and read back",
        do="end other programs, or use a smaller --batch or --size",
    )


def _swap(e: Evidence) -> Finding | None:
    if e.swap_start_mb is None or e.swap_end_mb is None:
        return None
    growth_mb = e.swap_end_mb - e.swap_start_mb
    if growth_mb <= SWAP_GROWTH_LIMIT_MB:
        return None
    return Finding(
        code="swapping",
        severity="warning",
        text=f"{growth_mb:.0f} MB were moved to swap during the run",
        do="end other programs, or use a smaller --batch or --size",
    )


def _performance_only(e: Evidence) -> Finding | None:
    if not e.performance_only:
        return None
    return Finding(
        code="performance_only",
        severity="warning",
        text="the engine was calibrated on made-up data: its speed counts, its answers mean nothing",
        do="espdeploy calibrate F.onnx --data DIR, and build it again with that table",
    )


def _precision_absent(e: Evidence) -> Finding | None:
    if e.precision is None or e.precision_share_pct is None:
        return None
    named = "int8" if e.precision == "mixed" else e.precision
    share_pct = e.precision_share_pct.get(named, 0.0)
    if share_pct > 0 or "unknown" in e.precision_share_pct:
        return None
    runs = ", ".join(f"{pct:.0f} % {name}" for name, pct in e.precision_share_pct.items())
    return Finding(
        code="precision_absent",
        severity="warning",
        text=f"no convolution computes in {named}: {runs}",
        do="espdeploy build refuses such an engine: build it, or choose a runtime that has the precision",
    )


def _limit_ms(times_ms: Sequence[float]) -> float:
    return statistics.outlier_limit_ms(times_ms, deviations=OUTLIER_DEVIATIONS, least_pct=OUTLIER_LEAST_PCT)


#: in the order in which a reader should see them: what spoils the figures first, what merely limits them last
CHECKS: tuple[Callable[[Evidence], Finding | None], ...] = (
    _interrupted,
    _performance_only,
    _precision_absent,
    _not_steady,
    _throttled,
    _clock_moved,
    _drift,
    _spread,
    _slow_first,
    _other_load,
    _more_threads_than_cores,
    _memory,
    _swap,
    _timer,
    _sampler,
    _battery,
    _few_trials,
    _governor,
    _outliers,
    _autocorrelated,
    _few_for_percentiles,
)
