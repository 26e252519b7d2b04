"""Figures of one record's latency: how it is distributed, and its course over the run."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from espdeploy.report import numbers
from espdeploy.report.charts import timeline
from espdeploy.report.charts.histogram import Histogram, Mark
from espdeploy.report.charts.thin import Point, bars, bulk_edge, quantile, usable
from espdeploy.report.charts.timeline import Section, Timeline
from espdeploy.report.entries import Entry
from espdeploy.report.parts import Figure
from espdeploy.report.text import number, plural, signed_pct

TRACE = "latency_ms"
_THIRDS_FROM = 9  # fewer trials than this have no thirds worth a line


def figures(entry: Entry, *, brief: bool = False) -> tuple[Figure, ...]:
    """Histogram and course of the raw times; nothing where the record holds none."""
    series = entry.record.traces.get(TRACE)
    points = usable(series.t_s, series.values) if series else []
    times = sorted(value for _, value in points if value is not None)
    return (_histogram(entry, times), _course(entry, points, brief=brief)) if times else ()


def _histogram(entry: Entry, times: Sequence[float]) -> Figure:
    drawn, above = bars(times)
    marks = _marks(entry)
    captions = [f"{plural(len(times), 'trial')}, {plural(len(drawn), 'bar')}."]
    if above:
        captions.append(f"{plural(above, 'trial')} above {number(drawn[-1].high)} ms in the bar at the right.")
    chart = Histogram(
        title=f"Latency distribution of {entry.label}",
        description=f"Histogram of {len(times):,} trials. " + ", ".join(mark.label for mark in marks) + ".",
        x_title="latency (ms)",
        y_title="trials",
        bars=tuple(drawn),
        above=above,
        marks=marks,
    )
    return Figure(
        anchor=f"{entry.anchor}-distribution",
        chart=chart,
        captions=tuple(captions),
        numbers=numbers.of_bars(drawn, above),
        name="Distribution",
    )


def _marks(entry: Entry) -> tuple[Mark, ...]:
    times = entry.record.latency_ms
    marks = [Mark(value=times.p50, label=f"median {number(times.p50)} ms", kind="median")]
    if times.p95 is not None:
        marks.append(Mark(value=times.p95, label=f"p95 {number(times.p95)} ms", kind="p95"))
    return tuple(marks)


def _course(entry: Entry, points: Sequence[Point], *, brief: bool) -> Figure:
    sections = _thirds(points)
    known = sorted(value for _, value in points if value is not None)
    edge = bulk_edge(known)
    chart = Timeline(
        title=f"Latency of {entry.label} over the run",
        description=f"{len(known):,} trials from {min(known):.4g} to {max(known):.4g} ms. {_drift(sections)}",
        x_title="time since the first measured trial (s)",
        y_title="latency (ms)",
        unit="ms",
        points=tuple(points),
        joined=False,
        zero=known[0] < edge / 2,
        edge=edge,
        sections=sections,
        large=True,
        brief=brief,
    )
    return Figure(
        anchor=f"{entry.anchor}-course",
        chart=chart,
        captions=_course_captions(points, known, sections),
        numbers=numbers.of_series(points, "Latency", "ms", brief=brief),
        name="Course over the run",
    )


def _course_captions(points: Sequence[Point], known: Sequence[float], sections: Sequence[Section]) -> tuple[str, ...]:
    captions = []
    if len(points) > timeline.MOST_DOTS:
        captions.append(thinned(len(points), "trials"))
    else:
        captions.append("One dot per trial.")
    edge = bulk_edge(known)
    spikes = sum(value > edge for value in known)
    if spikes:
        captions.append(f"Triangles at the upper edge: {plural(spikes, 'trial')} of up to {number(known[-1])} ms.")
    if known[0] >= edge / 2:
        captions.append("The latency axis does not begin at 0.")
    if sections:
        captions.append(_drift(sections))
    return tuple(captions)


def thinned(count: int, what: str) -> str:
    """How a long series is drawn."""
    return f"{count:,} {what}, drawn as the least, median and greatest value of each slice of time: no spike is lost."


def _thirds(points: Sequence[Point]) -> tuple[Section, ...]:
    if len(points) < _THIRDS_FROM:
        return ()
    edges = [round(len(points) * third / 3) for third in range(4)]
    parts = [points[start:end] for start, end in pairwise(edges)]
    starts = [part[0][0] for part in parts]
    ends = [*starts[1:], points[-1][0]]
    medians = [_median(part) for part in parts]
    return tuple(
        Section(start=start, end=end, level=median, label=f"median {number(median)}")
        for start, end, median in zip(starts, ends, medians, strict=True)
        if median is not None
    )


def _median(part: Sequence[Point]) -> float | None:
    known = sorted(value for _, value in part if value is not None)
    return quantile(known, 0.5) if known else None


def _drift(sections: Sequence[Section]) -> str:
    if len(sections) < 3 or sections[0].level <= 0:
        return ""
    first, last = sections[0].level, sections[-1].level
    change = signed_pct((last / first - 1) * 100)
    return f"Median of the first third {number(first)} ms, of the last {number(last)} ms ({change})."
