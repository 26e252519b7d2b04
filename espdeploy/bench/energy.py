"""Energy over exactly the measured window, from power samples or from a counter of energy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from espdeploy.bench.statistics import mean_interval
from espdeploy.errors import InternalError
from espdeploy.records import Finding, Power
from espdeploy.units import MS_PER_S, NS_PER_S

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: fewest readings inside the window for a figure
MIN_SAMPLES = 5
#: longest time without a reading, in sampling periods, before the figure carries a warning
_LONGEST_GAP_PERIODS = 5
_IDLE_CHANGE_PCT = 10.0


@dataclass(frozen=True, kw_only=True)
class PowerReadings:
    """Instantaneous power at each time; None is a reading that failed."""

    source: str
    rails: tuple[str, ...]
    t_ns: Sequence[int]
    power_w: Sequence[float | None]
    period_s: float


@dataclass(frozen=True, kw_only=True)
class EnergyReadings:
    """A counter of energy, which only grows (its source has taken wraparounds out), at each time."""

    source: str
    rails: tuple[str, ...]
    t_ns: Sequence[int]
    energy_j: Sequence[float | None]
    period_s: float


@dataclass(frozen=True, kw_only=True)
class Window:
    """The measured window, what ran in it, and the idle power around it."""

    start_ns: int
    end_ns: int
    trials: int
    batch: int = 1
    idle_before_w: float | None = None
    idle_after_w: float | None = None

    @property
    def seconds(self) -> float:
        """How long it is."""
        return (self.end_ns - self.start_ns) / NS_PER_S

    @property
    def inferences(self) -> int:
        """How many images went through: energy per inference is energy per image."""
        return self.trials * self.batch


@dataclass(frozen=True, kw_only=True)
class EnergyResult:
    """What could be said, and what must be said with it. ``power`` is None where readings were too few."""

    power: Power | None
    findings: tuple[Finding, ...] = ()


def integrate_j(t_ns: Sequence[int], power_w: Sequence[float | None], *, start_ns: int, end_ns: int) -> float | None:
    """Joules between two times: the trapezoid over the readings, interpolated at both edges.

    Before the first and after the last reading the power is taken as theirs. None without a reading.
    """
    import numpy as np

    times, powers = _known(t_ns, power_w)
    if times.size == 0:
        return None
    start_s, end_s = _seconds(start_ns, times), _seconds(end_ns, times)
    seconds = (times - times[0]) / NS_PER_S
    inside = (seconds > start_s) & (seconds < end_s)
    knots = np.concatenate(([start_s], seconds[inside], [end_s]))
    heights = np.interp(knots, seconds, powers)
    return float(((heights[1:] + heights[:-1]) / 2 * np.diff(knots)).sum())


def growth_j(t_ns: Sequence[int], energy_j: Sequence[float | None], *, start_ns: int, end_ns: int) -> float | None:
    """By how much a growing counter rose between two times, interpolated at both edges.

    Beyond its readings the counter is continued at the rate between the two nearest ones. None below 2 readings.
    """
    times, joules = _known(t_ns, energy_j)
    if times.size < 2:
        return None
    start_s, end_s = _seconds(start_ns, times), _seconds(end_ns, times)
    seconds = (times - times[0]) / NS_PER_S
    return _continued(end_s, seconds, joules) - _continued(start_s, seconds, joules)


def from_power(readings: PowerReadings, *, window: Window, seed: int = 0) -> EnergyResult:
    """Power and energy of the window from samples of power.

    The interval of the mean is a moving-block bootstrap with blocks of n^(1/3) samples, because
    neighbouring samples of power are never independent. Below 5 samples inside the window there is no figure, only a
    finding that says how many trials would do.

    Raises:
        InternalError: the window is empty, or nothing ran in it.
    """
    _check(window)
    times, powers = _known(readings.t_ns, readings.power_w)
    inside = (times >= window.start_ns) & (times <= window.end_ns)
    energy_j = integrate_j(readings.t_ns, readings.power_w, start_ns=window.start_ns, end_ns=window.end_ns)
    return _result(readings, window, energy_j=energy_j, t_ns=times[inside], powers_w=powers[inside], seed=seed)


def from_counter(readings: EnergyReadings, *, window: Window, seed: int = 0) -> EnergyResult:
    """Power and energy of the window from a counter of energy: exact between readings, however slow they are.

    Maximum and interval come from the mean power between neighbouring readings inside the window.

    Raises:
        InternalError: as :func:`from_power`.
    """
    import numpy as np

    _check(window)
    times, joules = _known(readings.t_ns, readings.energy_j)
    inside = (times >= window.start_ns) & (times <= window.end_ns)
    energy_j = growth_j(readings.t_ns, readings.energy_j, start_ns=window.start_ns, end_ns=window.end_ns)
    powers_w = np.diff(joules[inside]) / np.maximum(np.diff(times[inside]), 1) * NS_PER_S
    return _result(readings, window, energy_j=energy_j, t_ns=times[inside], powers_w=powers_w, seed=seed)


def _result(
    readings: PowerReadings | EnergyReadings,
    window: Window,
    *,
    energy_j: float | None,
    t_ns: NDArray[np.int64],
    powers_w: NDArray[np.float64],
    seed: int,
) -> EnergyResult:
    samples = int(t_ns.size)
    if energy_j is None or samples < MIN_SAMPLES:
        return EnergyResult(power=None, findings=(_too_few(samples, window, readings.period_s),))
    mean_w = energy_j / window.seconds
    idle_w = _mean_known(window.idle_before_w, window.idle_after_w)
    net_j = None if idle_w is None or mean_w <= idle_w else (mean_w - idle_w) * window.seconds / window.inferences
    power = Power(
        source=readings.source,
        rails=list(readings.rails),
        mean_w=mean_w,
        max_w=float(powers_w.max()),
        ci95_w=_interval_w(powers_w.tolist(), seed),
        idle_before_w=window.idle_before_w,
        idle_after_w=window.idle_after_w,
        energy_per_inference_j=energy_j / window.inferences,
        net_energy_per_inference_j=net_j,
        samples=samples,
        period_ms=readings.period_s * MS_PER_S,
    )
    return EnergyResult(power=power, findings=tuple(_doubts(power, window, t_ns, powers_w)))


def _interval_w(powers_w: list[float], seed: int) -> tuple[float, float] | None:
    return mean_interval(powers_w, seed=seed, block_length=math.ceil(len(powers_w) ** (1 / 3)))


def _doubts(power: Power, window: Window, t_ns: NDArray[np.int64], powers_w: NDArray[np.float64]) -> list[Finding]:
    import numpy as np

    found = []
    changes = 1 + int(np.count_nonzero(np.diff(powers_w)))
    if changes < MIN_SAMPLES:
        found.append(
            Finding(
                code="slow_power_sensor",
                severity="warning",
                text=f"{power.source} gave only {changes} different readings in {window.seconds:.2g} s: "
                "the sensor is slower than the window, or the power did not change",
                do="measure for longer: " + _trials_flag(window, factor=math.ceil(2 * MIN_SAMPLES / changes)),
            )
        )
    edges_ns = np.concatenate(([window.start_ns], t_ns, [window.end_ns]))
    gap_ms = float(np.diff(edges_ns).max()) / NS_PER_S * MS_PER_S
    if gap_ms > _LONGEST_GAP_PERIODS * power.period_ms:
        found.append(
            Finding(
                code="power_gap",
                severity="warning",
                text=f"{power.source} gave no reading for {gap_ms:.0f} ms; the power was interpolated there",
                do="leave a core free for the sampler (--threads one lower) and repeat",
            )
        )
    return found + _idle_doubts(power)


def _idle_doubts(power: Power) -> list[Finding]:
    before_w, after_w = power.idle_before_w, power.idle_after_w
    found = []
    if power.net_energy_per_inference_j is None and _mean_known(before_w, after_w) is not None:
        found.append(
            Finding(
                code="no_net_energy",
                severity="warning",
                text=f"{power.mean_w:.3g} W in the run is not above the idle power, so there is no net energy",
                do="end other programs, let the device come to rest, and repeat with more --trials",
            )
        )
    if before_w and after_w and abs(after_w / before_w - 1) * 100 > _IDLE_CHANGE_PCT:
        found.append(
            Finding(
                code="idle_power_moved",
                severity="info",
                text=f"idle power was {before_w:.3g} W before and {after_w:.3g} W after; net energy uses their mean",
                do="let the device come to rest before the run, or warm it up for longer (--warmup-s)",
            )
        )
    return found


def _too_few(samples: int, window: Window, period_s: float) -> Finding:
    wanted_s = 2 * MIN_SAMPLES * period_s
    if window.seconds >= wanted_s:
        do = "see which power sources answer: espdeploy doctor"
    else:
        do = "measure for longer: " + _trials_flag(window, factor=math.ceil(wanted_s / window.seconds))
    return Finding(
        code="too_few_power_samples",
        severity="warning",
        text=f"{samples} power samples in a window of {window.seconds:.2g} s are too few for a figure "
        f"(at least {MIN_SAMPLES})",
        do=do,
    )


def _trials_flag(window: Window, *, factor: int) -> str:
    return f"--trials {window.trials * factor}"


def _mean_known(*values: float | None) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _known(t_ns: Sequence[int], values: Sequence[float | None]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The readings that succeeded, as arrays."""
    import numpy as np

    pairs = [(t, value) for t, value in zip(t_ns, values, strict=True) if value is not None]
    return (
        np.array([t for t, _ in pairs], dtype=np.int64),
        np.array([value for _, value in pairs], dtype=np.float64),
    )


def _seconds(at_ns: int, times: NDArray[np.int64]) -> float:
    """Seconds since the first reading; whole nanoseconds are subtracted first, so nothing is rounded away."""
    return (at_ns - int(times[0])) / NS_PER_S


def _continued(at_s: float, seconds: NDArray[np.float64], joules: NDArray[np.float64]) -> float:
    """The counter at a time, by the straight line through the two readings around it or next to it."""
    import numpy as np

    right = min(max(int(np.searchsorted(seconds, at_s)), 1), seconds.size - 1)
    left = right - 1
    share = (at_s - seconds[left]) / (seconds[right] - seconds[left])
    return float(joules[left] + share * (joules[right] - joules[left]))


def _check(window: Window) -> None:
    if window.end_ns <= window.start_ns or window.inferences < 1:
        raise InternalError(f"no energy per inference for {window.inferences} inferences in {window.seconds:g} s")
