"""Figures of what the machine did during the run: a chart per quantity, or per family that shares a unit.

What stayed the same throughout is told in words: a level line says no more, and a board has a dozen of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from espdeploy.records import Record
from espdeploy.report import numbers
from espdeploy.report.channels import Channel, Family, channel_of, families, worth_drawing
from espdeploy.report.charts import courses, timeline
from espdeploy.report.charts.courses import Course, Courses
from espdeploy.report.charts.thin import Point, usable
from espdeploy.report.charts.timeline import Timeline
from espdeploy.report.entries import Entry
from espdeploy.report.latency import thinned
from espdeploy.report.parts import Column, Fact, Figure, Table, cells
from espdeploy.report.text import mhz, number, plural

_MOST_CHARTS = 24
_LEAST_CONSTANT = 2
_X_TITLE = "time (s)"
_TOTAL = "_total_w"


@dataclass(frozen=True, kw_only=True)
class Usage:
    """The charts, and the quantities that never changed."""

    figures: tuple[Figure, ...]
    constants: tuple[Fact, ...]


@dataclass(frozen=True, kw_only=True)
class _Series:
    """The samples of one channel from the first measured trial on."""

    name: str
    points: list[Point]

    @property
    def known(self) -> list[float]:
        return [value for _, value in self.points if value is not None]

    @property
    def constant(self) -> bool:
        known = self.known
        return len(known) >= _LEAST_CONSTANT and len(known) == len(self.points) and min(known) == max(known)


def build(entry: Entry, *, brief: bool = False) -> Usage:
    """What the record's channels show; initialisation (t < 0) is left out, and so is what holds no value."""
    series = _measured(entry.record)
    grouped = families(series)
    within = {name for family in grouped for name, _ in family.members}
    alone = [one for name, one in series.items() if name not in within]
    drawn = [one for one in alone if not one.constant]
    singles = [_figure(entry, index, one, brief=brief) for index, one in enumerate(drawn)]
    together = [_family_figure(entry, index, family, series) for index, family in enumerate(grouped)]
    return Usage(
        figures=(*singles[: _MOST_CHARTS - len(together)], *together),
        constants=tuple(_constant(one) for one in alone if one.constant),
    )


def _measured(record: Record) -> dict[str, _Series]:
    traces = record.traces
    read = {name: usable(traces[name].t_s, traces[name].values) for name in worth_drawing(traces)}
    kept = (_Series(name=name, points=[point for point in points if point[0] >= 0]) for name, points in read.items())
    series = {one.name: one for one in kept if one.known}
    return {name: one for name, one in series.items() if not _is_copy(one, series)}


def _is_copy(one: _Series, series: dict[str, _Series]) -> bool:
    """Whether a total is one rail's readings again: a board that has a rail for the whole module."""
    if not one.name.endswith(_TOTAL):
        return False
    rails = one.name.removesuffix(_TOTAL) + "_rail_"
    return any(other.points == one.points for name, other in series.items() if name.startswith(rails))


def _constant(one: _Series) -> Fact:
    channel, value = channel_of(one.name), one.known[0]
    told = mhz(value) if channel.unit == "MHz" else number(value, 4)
    return Fact(name=channel.name, value=f"{told} {channel.unit}".strip())


def _figure(entry: Entry, index: int, one: _Series, *, brief: bool) -> Figure:
    channel, known = channel_of(one.name), one.known
    # the record's own mean is weighted as its protocol says; without it the samples' mean is drawn
    mean = _stored_mean(entry.record, one.name)
    level = mean if mean is not None else sum(known) / len(known)
    span = f"from {min(known):.4g} to {max(known):.4g} {channel.unit}"
    chart = Timeline(
        title=f"{channel.name} during {entry.label}",
        description=f"{len(known):,} samples {span}, mean {level:.4g} {channel.unit}.",
        x_title=_X_TITLE,
        y_title=channel.unit,
        unit=channel.unit,
        points=tuple(one.points),
        joined=True,
        zero=channel.zero and min(known) >= 0,
        top=channel.full,
        mean=level,
        brief=brief,
    )
    return Figure(
        anchor=f"{entry.anchor}-usage{index}",
        chart=chart,
        captions=_captions(level, channel, one),
        numbers=numbers.of_series(one.points, channel.name, channel.unit, brief=brief),
        name=channel.name,
    )


def _captions(level: float, channel: Channel, one: _Series) -> tuple[str, ...]:
    thin = len(one.points) > timeline.MOST_JOINED
    drawn = thinned(len(one.points), "samples") if thin else f"{plural(len(one.known), 'sample')}."
    captions = [f"Mean {number(level)} {channel.unit}".rstrip() + f". {drawn}"]
    gaps = len(one.points) - len(one.known)
    if gaps:
        captions.append(f"{gaps:,} without a reading.")
    if not channel.zero:
        captions.append("The axis does not begin at 0.")
    return tuple(captions)


def _family_figure(entry: Entry, index: int, family: Family, series: dict[str, _Series]) -> Figure:
    ordered = sorted(family.members, key=lambda member: -_mean(series[member[0]]))
    drawn = [
        Course(text=f"{told}: mean {number(_mean(series[name]))} {family.unit}", points=tuple(series[name].points))
        for name, told in ordered
    ]
    chart = Courses(
        title=f"{family.title} during {entry.label}",
        description=". ".join(course.text for course in drawn) + ".",
        x_title=_X_TITLE,
        y_title=family.unit,
        courses=tuple(drawn),
        zero=family.zero,
    )
    return Figure(
        anchor=f"{entry.anchor}-family{index}",
        chart=chart,
        captions=_family_captions(family, [series[name] for name, _ in ordered]),
        numbers=_family_numbers(family, [(told, series[name]) for name, told in ordered]),
        name=family.title,
    )


def _family_captions(family: Family, members: Sequence[_Series]) -> tuple[str, ...]:
    captions = [f"{plural(max(len(one.points) for one in members), 'sample')} each, the greatest mean first."]
    if any(len(one.points) > courses.MOST_POINTS for one in members):
        captions.append("Longer lines go through the medians of slices of time.")
    if not family.zero:
        captions.append("The axis does not begin at 0.")
    return tuple(captions)


def _family_numbers(family: Family, members: Sequence[tuple[str, _Series]]) -> Table:
    columns = (
        Column(head="", numeric=False),
        *(Column(head=head, unit=family.unit) for head in ("First", "Least", "Mean", "Greatest", "Last")),
        Column(head="Samples"),
    )
    rows = tuple(cells((told, *_summed(one), f"{len(one.known):,}")) for told, one in members)
    return Table(caption="Each value stands in the record's file.", columns=columns, rows=rows)


def _summed(one: _Series) -> tuple[str, ...]:
    known = one.known
    return tuple(number(value, 4) for value in (known[0], min(known), _mean(one), max(known), known[-1]))


def _mean(one: _Series) -> float:
    return sum(one.known) / len(one.known)


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
