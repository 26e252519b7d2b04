"""Verdicts on a device's clocks, heat and power during a run: what makes its time or energy not what was asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from espdeploy import units
from espdeploy.records import Finding

#: load from which on a GPU has no reason to run below the clock that was set
HIGH_LOAD_PCT = 70.0
#: share of the readings under load that may be low: one may fall between two kernels
LOW_READINGS_PCT = 5.0
#: where a device lists no steps: more than this below the set clock is low
STEP_PCT = 2.0
#: readings of a clock differ by this from its nominal step
_READING_PCT = 0.5
FLOATING_LIMIT_PCT = 5.0
BUSY_LIMIT_PCT = 5.0
HEAT_LIMIT_C = 5.0
SOURCES_LIMIT_PCT = 10.0
#: sensors of a few watts differ by this in noise and offset alone
SOURCES_LEAST_W = 0.3
_THIRDS = 3
_FEWEST = 6


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was seen inside the measured window; None and empty where it is not known, and then nothing is said of it.

    ``gpu_set_mhz`` is the clock that was locked (None: none was), ``steps_mhz`` the device's own list.
    ``gpu_clock_mhz`` and ``gpu_util_pct`` are readings of one monitor, in pairs (or no load at all).
    ``gpu_idle_util_pct`` is the mean load before the run. ``throttle_reasons`` are the device's own words, None where
    it has none to give. ``temperature_c`` is of the hottest zone, in order. ``total_w`` and ``gpu_rail_w`` are means.
    ``source_means_w`` holds the mean of every source that measures the same whole (a board's input), ``power_source``
    the one whose figures are kept.
    """

    gpu_set_mhz: float | None = None
    steps_mhz: Sequence[float] = ()
    gpu_clock_mhz: Sequence[float | None] = ()
    gpu_util_pct: Sequence[float | None] = ()
    gpu_idle_util_pct: float | None = None
    throttle_reasons: tuple[str, ...] | None = None
    temperature_c: Sequence[float] = ()
    competing: tuple[str, ...] = ()
    total_rail: str | None = None
    total_w: float | None = None
    gpu_rail: str | None = None
    gpu_rail_w: float | None = None
    power_source: str | None = None
    source_means_w: Mapping[str, float] | None = None


def findings(evidence: Evidence) -> list[Finding]:
    """Every verdict that applies, in the order in which they should be read."""
    found = (check(evidence) for check in CHECKS)
    return [finding for finding in found if finding is not None]


def throttled(evidence: Evidence) -> bool | None:
    """Whether the device held itself back: it says so, or its clock under load tells. None where nothing can tell."""
    by_clock = _low_share_pct(evidence)
    if evidence.throttle_reasons or (by_clock is not None and by_clock > LOW_READINGS_PCT):
        return True
    return None if evidence.throttle_reasons is None and by_clock is None else False


def lowest_allowed_mhz(set_mhz: float, steps_mhz: Sequence[float]) -> float:
    """The clock below which a GPU that was set to ``set_mhz`` is throttled: more than one step lower.

    Without a list of steps, 2 % lower. Readings may lie half a percent beside their step.
    """
    below = [step for step in steps_mhz if step < set_mhz * (1 - _READING_PCT / 100)]
    lowest = max(below) if below else set_mhz * (1 - STEP_PCT / 100)
    return lowest * (1 - _READING_PCT / 100)


def _low_share_pct(e: Evidence) -> float | None:
    """Percent of the readings under load whose clock was too low; None where no clock was set or none was read."""
    loaded = _under_load(e)
    if e.gpu_set_mhz is None or not loaded:
        return None
    limit_mhz = lowest_allowed_mhz(e.gpu_set_mhz, e.steps_mhz)
    return sum(clock < limit_mhz for clock in loaded) / len(loaded) * 100


def _under_load(e: Evidence) -> list[float]:
    """The clocks read while the load was high; every one of them where no load is known."""
    if not e.gpu_util_pct:
        return [clock for clock in e.gpu_clock_mhz if clock is not None]
    pairs = zip(e.gpu_clock_mhz, e.gpu_util_pct, strict=True)
    return [clock for clock, load in pairs if clock is not None and load is not None and load >= HIGH_LOAD_PCT]


def _throttled(e: Evidence) -> Finding | None:
    if not throttled(e):
        return None
    said = f" ({', '.join(e.throttle_reasons)})" if e.throttle_reasons else ""
    loaded = _under_load(e)
    low_pct = _low_share_pct(e)
    seen = ""
    if e.gpu_set_mhz is not None and low_pct:
        seen = f"; {low_pct:.0f} % of its clocks under load lay below the {e.gpu_set_mhz:g} MHz that were set"
        seen += f", down to {min(loaded):g} MHz"
    if e.gpu_set_mhz is not None and loaded:
        held = [step for step in e.steps_mhz if step <= min(loaded) * (1 + _READING_PCT / 100)]
        do = f"improve cooling and power supply, or ask for what it can hold: --freq {max(held, default=min(loaded)):g}"
    else:
        do = "improve cooling and power supply, or hold a lower clock with --freq, and repeat"
    return Finding(
        code="throttled",
        severity="warning",
        text=f"the device held itself back during the run{said}{seen}",
        do=do,
    )


def _not_held(e: Evidence) -> Finding | None:
    """A clock above the one that was set: something else sets it, and the row stands under a wrong frequency."""
    if e.gpu_set_mhz is None:
        return None
    loaded = _under_load(e)
    limit_mhz = e.gpu_set_mhz * (1 + _READING_PCT / 100)
    high = [clock for clock in loaded if clock > limit_mhz]
    if not high or len(high) / len(loaded) * 100 <= LOW_READINGS_PCT:
        return None
    return Finding(
        code="clock_not_held",
        severity="error",
        text=f"{e.gpu_set_mhz:g} MHz was set and did not hold: under load the GPU ran at {_mean(loaded):g} MHz "
        f"on average, up to {max(high):g} MHz",
        do="end what else sets the clock (jetson_clocks, nvpmodel, another program), and repeat",
    )


def _busy_before(e: Evidence) -> Finding | None:
    if e.gpu_idle_util_pct is None or e.gpu_idle_util_pct <= BUSY_LIMIT_PCT:
        return None
    return Finding(
        code="gpu_busy_before",
        severity="warning",
        text=f"the GPU was {e.gpu_idle_util_pct:.0f} % busy before the run began: another program uses it, so times "
        "are longer and idle power is higher than they are alone",
        do="end the desktop and other programs on the GPU (sudo systemctl isolate multi-user.target), and repeat",
    )


def _floating(e: Evidence) -> Finding | None:
    clocks = [clock for clock in e.gpu_clock_mhz if clock is not None]
    if e.gpu_set_mhz is not None or not clocks:
        return None
    low, mean, high = min(clocks), sum(clocks) / len(clocks), max(clocks)
    moved = high > 0 and (high - low) / high * 100 > FLOATING_LIMIT_PCT
    held = [step for step in e.steps_mhz if step <= mean * (1 + _READING_PCT / 100)]
    return Finding(
        code="floating_clocks",
        severity="warning" if moved else "info",
        text=f"floating clocks: no GPU clock was set; it ran at {mean:.0f} MHz on average ({low:.0f} to {high:.0f})",
        do=f"set it, as root: --freq {max(held, default=round(mean)):g}",
    )


def _heating(e: Evidence) -> Finding | None:
    if len(e.temperature_c) < _FEWEST:
        return None
    third = len(e.temperature_c) // _THIRDS
    start_c, end_c = _mean(e.temperature_c[:third]), _mean(e.temperature_c[-third:])
    if end_c - start_c <= HEAT_LIMIT_C:
        return None
    return Finding(
        code="thermal_drift",
        severity="warning",
        text=f"the device warmed from {start_c:.0f} to {end_c:.0f} °C during the run (limit {HEAT_LIMIT_C:.0f} °C): "
        "hotter chips draw more power, and may throttle",
        do="repeat with a warm-up that reaches its working temperature, for example --warmup-s 120",
    )


def _competing(e: Evidence) -> Finding | None:
    if not e.competing:
        return None
    return Finding(
        code="competing_processes",
        severity="warning",
        text=f"other programs computed on the GPU during the run: {', '.join(e.competing)}",
        do="end them or wait until they are done (nvidia-smi lists them), and repeat",
    )


def _rails_swapped(e: Evidence) -> Finding | None:
    if e.total_w is None or e.gpu_rail_w is None or e.gpu_rail_w <= e.total_w or e.gpu_rail == e.total_rail:
        return None
    return Finding(
        code="gpu_rail_above_total",
        severity="error",
        text=f"the GPU's rail {e.gpu_rail} took {e.gpu_rail_w:.3g} W, more than the total {e.total_rail} with "
        f"{e.total_w:.3g} W: this carrier's labels are likely swapped, so power and energy are not to be believed",
        do="copy the device's TOML to ./engines/, put the names under [rails] right, and repeat there",
    )


def _sources_disagree(e: Evidence) -> Finding | None:
    means = e.source_means_w or {}
    if len(means) < 2:
        return None
    lowest, highest = min(means.values()), max(means.values())
    apart_w = highest - lowest
    if apart_w <= max(SOURCES_LEAST_W, abs(highest) * SOURCES_LIMIT_PCT / 100):
        return None
    told = ", ".join(f"{name} {units.significant(watts)} W" for name, watts in means.items())
    kept = f"; the figures are of {e.power_source}" if e.power_source else ""
    return Finding(
        code="power_sources_disagree",
        severity="warning",
        text=f"sources of the same power differ by over {SOURCES_LIMIT_PCT:.0f} %: {told}{kept}",
        do="espdeploy doctor shows a live reading of each; believe the one that agrees with a meter at the plug",
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


#: what spoils the figures first
CHECKS: tuple[Callable[[Evidence], Finding | None], ...] = (
    _rails_swapped,
    _not_held,
    _throttled,
    _busy_before,
    _competing,
    _sources_disagree,
    _heating,
    _floating,
)
