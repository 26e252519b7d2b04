"""What the readings beside a run say of its clocks, heat and power."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from espdeploy.bench import power_checks
from espdeploy.records import Finding, Thermal

if TYPE_CHECKING:
    from espdeploy.pipeline.measuring.assemble import Observed

Readings = Mapping[str, Sequence[float | None]]


def judged(seen: Observed) -> tuple[Thermal, list[Finding]]:
    """Whether the device throttled, and every verdict on clocks, heat and power in the measured window."""
    evidence = _evidence(seen)
    thermal = Thermal(
        start_c=seen.thermal.start_c, end_c=seen.thermal.end_c, throttled=power_checks.throttled(evidence)
    )
    return thermal, power_checks.findings(evidence)


def _evidence(seen: Observed) -> power_checks.Evidence:
    readings = _readings(seen)
    gpu = seen.sources.of_gpu()
    power, facts, rails = seen.sources.power, seen.profile.gpu, seen.profile.rails
    gpu_rail = getattr(power, "gpu_power_channel", None)
    return power_checks.Evidence(
        gpu_set_mhz=seen.clocks.set_mhz,
        steps_mhz=facts.frequencies_mhz if facts else (),
        gpu_clock_mhz=readings.get(getattr(gpu, "gpu_freq_channel", None) or "", ()),
        gpu_util_pct=readings.get(getattr(gpu, "gpu_util_channel", None) or "", ()),
        gpu_idle_util_pct=seen.idle_util_pct,
        throttle_reasons=_throttle_reasons(seen, readings),
        temperature_c=_hottest_c(seen, readings),
        competing=_competing(seen),
        total_rail=", ".join(power.rails) if power else None,
        total_w=seen.mean(power.power_channel) if power else None,
        gpu_rail=None if rails is None or gpu_rail is None else rails.gpu[0],
        gpu_rail_w=seen.mean(gpu_rail),
        power_source=power.name if power else None,
    )


def _readings(seen: Observed) -> dict[str, list[float | None]]:
    """Every channel's values in the measured window."""
    window = seen.measurement
    start_ns, end_ns = window.window_start_ns, window.window_end_ns
    return {
        channel: seen.sampler.readings(channel, start_ns=start_ns, end_ns=end_ns)[1]
        for channel in seen.sampler.channels
    }


def _throttle_reasons(seen: Observed, readings: Readings) -> tuple[str, ...] | None:
    """What the sources name; None where none of them can."""
    asked = [getattr(monitor, "throttle_reasons", None) for monitor in seen.sources.monitors]
    told = [reasons for ask in asked if callable(ask) and (reasons := ask(readings)) is not None]
    return tuple(dict.fromkeys(itertools.chain.from_iterable(told))) if told else None


def _hottest_c(seen: Observed, readings: Readings) -> list[float]:
    """The hottest zone at each reading, by the first source that tells temperatures."""
    for monitor in seen.sources.monitors:
        columns = [readings[name] for name in getattr(monitor, "temperature_channels", ()) if name in readings]
        if columns:
            rows = itertools.zip_longest(*columns)
            known = ([value for value in row if value is not None] for row in rows)
            return [max(row) for row in known if row]
    return []


def _competing(seen: Observed) -> tuple[str, ...]:
    """Other programs on the GPU, where a source tells of them."""
    asked = (getattr(monitor, "competing_processes", None) for monitor in seen.sources.monitors)
    return tuple(itertools.chain.from_iterable(ask() or () for ask in asked if callable(ask)))
