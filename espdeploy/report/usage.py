"""Figures of what the machine did during the run: one chart per quantity, each with its own axis and unit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from espdeploy.records import Record
from espdeploy.report import numbers
from espdeploy.report.charts import timeline
from espdeploy.report.charts.thin import Point, usable
from espdeploy.report.charts.timeline import Timeline
from espdeploy.report.entries import Entry
from espdeploy.report.latency import TRACE, thinned
from espdeploy.report.parts import Figure
from espdeploy.report.text import number, plural, shorten

_MOST_CHARTS = 24
#: units by the end of a channel's name; the longest end that fits counts
_UNITS = {
    "_pct": "%",
    "_mb": "MB",
    "_mw": "mW",
    "_w": "W",
    "_mhz": "MHz",
    "_c": "°C",
    "_ms": "ms",
    "_us": "µs",
    "_v": "V",
    "_ma": "mA",
    "_rpm": "rpm",
}
#: counters that only rise say nothing as a curve
_CUMULATIVE = ("_j", "_mj")


@dataclass(frozen=True, kw_only=True)
class _Channel:
    """How a known channel is called and drawn; ``full`` is the upper end of its axis."""

    name: str
    unit: str
    full: float | None = None
    zero: bool = True


_KNOWN = {
    "cpu_pct": _Channel(name="CPU, whole machine", unit="%", full=100.0),
    "process_cpu_pct": _Channel(name="CPU, this process", unit="% of one core"),
    "memory_used_mb": _Channel(name="Memory used", unit="MB", zero=False),
    "memory_pct": _Channel(name="Memory used", unit="%", full=100.0),
    "process_rss_mb": _Channel(name="Memory of this process", unit="MB"),
    "gpu_pct": _Channel(name="GPU", unit="%", full=100.0),
    "power_w": _Channel(name="Power", unit="W"),
    "rapl_power_w": _Channel(name="Power, CPU package", unit="W"),
    "gpu_power_w": _Channel(name="Power, GPU", unit="W"),
    "gpu_freq_mhz": _Channel(name="GPU clock", unit="MHz"),
    "swap_used_mb": _Channel(name="Swap used", unit="MB"),
}


def figures(entry: Entry, *, brief: bool = False) -> tuple[Figure, ...]:
    """A chart per recorded channel that holds at least one value; initialisation (t < 0) is left out."""
    traces = entry.record.traces
    series = {name: usable(traces[name].t_s, traces[name].values) for name in _names(traces)}
    measured = {name: [point for point in points if point[0] >= 0] for name, points in series.items()}
    drawn = [name for name, points in measured.items() if any(value is not None for _, value in points)]
    return tuple(
        _figure(entry, index, (drawn_name, measured[drawn_name]), brief=brief)
        for index, drawn_name in enumerate(drawn[:_MOST_CHARTS])
    )


def _names(traces: Iterable[str]) -> list[str]:
    """The channels worth a curve, known ones first: no rising counters, and memory once, in MB if it can be."""
    unknown = sorted(set(traces) - set(_KNOWN))
    left_out = {TRACE, *(["memory_pct"] if "memory_used_mb" in traces else [])}
    kept = set(traces) - left_out
    return [name for name in (*_KNOWN, *unknown) if name in kept and not name.endswith(_CUMULATIVE)]


def _figure(entry: Entry, index: int, series: tuple[str, Sequence[Point]], *, brief: bool) -> Figure:
    name, points = series
    channel = _KNOWN.get(name) or _guessed(name)
    known = [value for _, value in points if value is not None]
    # the record's own mean is weighted as its protocol says; without it the samples' mean is drawn
    mean = _stored_mean(entry.record, name)
    level = mean if mean is not None else sum(known) / len(known)
    span = f"from {min(known):.4g} to {max(known):.4g} {channel.unit}"
    chart = Timeline(
        title=f"{channel.name} during {entry.label}",
        description=f"{len(known):,} samples {span}, mean {level:.4g} {channel.unit}.",
        x_title="time (s)",
        y_title=channel.unit,
        unit=channel.unit,
        points=tuple(points),
        joined=True,
        zero=channel.zero and min(known) >= 0,
        top=channel.full,
        mean=level,
        brief=brief,
    )
    return Figure(
        anchor=f"{entry.anchor}-usage{index}",
        chart=chart,
        captions=_captions(level, channel, points, known),
        numbers=numbers.of_series(points, channel.name, channel.unit, brief=brief),
        name=channel.name,
    )


def _captions(level: float, channel: _Channel, points: Sequence[Point], known: Sequence[float]) -> tuple[str, ...]:
    thin = len(points) > timeline.MOST_JOINED
    drawn = thinned(len(points), "samples") if thin else f"{plural(len(known), 'sample')}."
    captions = [f"Mean {number(level)} {channel.unit}. {drawn}"]
    gaps = len(points) - len(known)
    if gaps:
        captions.append(f"{gaps:,} without a reading.")
    if not channel.zero:
        captions.append("The axis does not begin at 0.")
    return tuple(captions)


def _stored_mean(record: Record, name: str) -> float | None:
    usage = record.utilization
    means = {
        "cpu_pct": usage.cpu_pct,
        "gpu_pct": usage.gpu_pct,
        "memory_pct": usage.memory_pct,
        "memory_used_mb": usage.memory_used_mb,
        "process_cpu_pct": usage.process_cpu_pct,
        "process_rss_mb": usage.process_rss_mb,
    }
    return means.get(name)


def _guessed(name: str) -> _Channel:
    end = max((end for end in _UNITS if name.endswith(end)), key=len, default="")
    words = name[: len(name) - len(end)].replace("_", " ").strip() or name
    unit = _UNITS.get(end, "no unit known")
    return _Channel(name=shorten(words[:1].upper() + words[1:], 60), unit=unit, zero=unit != "°C")
