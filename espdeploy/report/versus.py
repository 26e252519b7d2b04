"""Figures that set the records of one protocol side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from espdeploy.records import Record
from espdeploy.report import entries as names
from espdeploy.report.charts import ranges
from espdeploy.report.charts.ranges import Range, Ranges
from espdeploy.report.charts.scale import drawable
from espdeploy.report.charts.scatter import Dot, Scatter, is_log, unlabelled
from espdeploy.report.entries import Entry, Group
from espdeploy.report.parts import Column, Figure, Table, cells
from espdeploy.report.text import metric_name, number, plural, shorten

_MOST_SERIES = 8
_M, _MJ = 1e-6, 1e3
Axis = Callable[[Record], float | None]


def latencies(group: Group, index: int) -> Figure | None:
    """Least, median, 95th percentile and greatest time of each record; None for fewer than two."""
    shown = [entry for entry in group.entries if _has_range(entry.record)]
    if len(shown) < 2:
        return None
    chart = Ranges(
        title=f"Latency of {plural(len(shown), 'record')} of protocol {group.title}",
        description="For each record the median, the 95th percentile and the greatest time.",
        x_title="latency (ms)",
        rows=tuple(_range(entry, name) for entry, name in zip(shown, _short_names(shown), strict=True)),
        simulated=_all_simulated(shown),
    )
    return Figure(
        anchor=f"latencies{index}",
        chart=chart,
        captions=(ranges.legend(chart),),
        numbers=_range_table(shown),
        name="Latency of each record",
    )


def speed_by_params(group: Group, index: int) -> Figure | None:
    """Frames per second against the number of parameters."""
    return _scatter(
        group,
        f"speed{index}",
        ("Speed against parameters", "parameters (M)", "speed (FPS)"),
        lambda record: None if record.model.params is None else record.model.params * _M,
        lambda record: record.fps,
    )


def energy_by_speed(group: Group, index: int) -> Figure | None:
    """Energy per inference against frames per second, where power was measured."""
    return _scatter(
        group,
        f"energy{index}",
        ("Energy against speed", "speed (FPS)", "energy (mJ/inference)"),
        lambda record: record.fps,
        lambda record: None if record.power is None else record.power.energy_per_inference_j * _MJ,
    )


def accuracy_by_speed(group: Group, index: int) -> Figure | None:
    """Accuracy against frames per second, for the metric and the data that most records were scored with."""
    scores = [record.accuracy for record in (entry.record for entry in group.entries) if record.accuracy is not None]
    if not scores:
        return None
    kinds = [(score.metric, score.data) for score in scores]
    kind = max(kinds, key=kinds.count)
    return _scatter(
        group,
        f"accuracy{index}",
        ("Accuracy against speed", "speed (FPS)", f"{metric_name(kind[0])} on {shorten(kind[1], 40)}"),
        lambda record: record.fps,
        lambda record: _score(record, kind),
    )


def _score(record: Record, kind: tuple[str, str]) -> float | None:
    score = record.accuracy
    return score.value if score is not None and (score.metric, score.data) == kind else None


def _scatter(group: Group, anchor: str, titles: tuple[str, str, str], x: Axis, y: Axis) -> Figure | None:
    """``titles``: of the chart, its x axis and its y axis."""
    shown = [entry for entry in group.entries if drawable(x(entry.record)) and drawable(y(entry.record))]
    if len(shown) < 2 or any(len({axis(entry.record) for entry in shown}) == 1 for axis in (x, y)):
        return None  # marks on one upright or level line set nothing against anything
    kinds, told = _kinds(shown)
    series = tuple(dict.fromkeys(kinds))
    chart = Scatter(
        title=f"{titles[0]}, protocol {group.title}",
        description=f"{plural(len(shown), 'record')}: {titles[2]} against {titles[1]}.",
        x_title=titles[1],
        y_title=titles[2],
        dots=tuple(
            _dot((entry, name), (x(entry.record), y(entry.record)), series.index(kind), titles)
            for entry, name, kind in zip(shown, _short_names(shown), kinds, strict=True)
        ),
        series=series,
        simulated=_all_simulated(shown),
    )
    return Figure(
        anchor=anchor,
        chart=chart,
        captions=_captions(chart, told, len(group.entries) - len(shown)),
        numbers=_scatter_table(chart, shown),
        name=titles[0],
    )


def _all_simulated(shown: Sequence[Entry]) -> bool:
    return all(entry.record.device.simulated for entry in shown)


def _short_names(shown: Sequence[Entry]) -> list[str]:
    """What a label has room for: the number, the model where they differ, and SIMULATED where not all of them are."""
    several = len({entry.model for entry in shown}) > 1
    if several and not _all_simulated(shown):
        return [entry.name for entry in shown]
    if several:
        return [f"{entry.ref} {entry.model}" for entry in shown]
    if _all_simulated(shown):
        return [entry.ref for entry in shown]
    return [f"{entry.ref} {names.SIMULATED}" if entry.record.device.simulated else entry.ref for entry in shown]


def _dot(
    named: tuple[Entry, str], at: tuple[float | None, float | None], kind: int, titles: tuple[str, str, str]
) -> Dot:
    entry, name = named
    x, y = at[0] or 0.0, at[1] or 0.0
    return Dot(
        x=x,
        y=y,
        label=name,
        text=f"{entry.label}: {number(x)} {titles[1]}, {number(y)} {titles[2]}",
        kind=kind,
        hollow=not entry.comparable,
    )


def _captions(chart: Scatter, told: bool, without: int) -> tuple[str, ...]:
    captions = []
    logs = [
        f"the {title} axis is logarithmic"
        for title, values in (
            (chart.x_title, [dot.x for dot in chart.dots]),
            (chart.y_title, [dot.y for dot in chart.dots]),
        )
        if is_log(values)
    ]
    captions += [f"{text[0].upper()}{text[1:]}." for text in logs]
    if any(dot.hollow for dot in chart.dots):
        captions.append("Hollow: simulated or interrupted.")
    if not told:
        captions.append("The records differ in more ways than marks can show; the table below names them.")
    if without:
        captions.append(f"{plural(without, 'record')} without these figures left out.")
    hidden = unlabelled(chart)
    if hidden:
        captions.append(f"{plural(hidden, 'mark')} without room for a label; the numbers below name all.")
    return tuple(captions)


def _kinds(shown: Sequence[Entry]) -> tuple[list[str], bool]:
    """The series of each entry: what varies, as far as it makes few enough series, and whether that is all of it."""
    traits = names.varying([entry.record for entry in shown])
    for kept in range(len(traits), 0, -1):
        kinds = [" · ".join(trait(entry.record) for trait in traits[:kept]) for entry in shown]
        if len(set(kinds)) <= _MOST_SERIES:
            return kinds, kept == len(traits)
    return ["all records"] * len(shown), not traits


def _scatter_table(chart: Scatter, shown: Sequence[Entry]) -> Table:
    columns = (Column(head="Record", numeric=False), Column(head=chart.x_title), Column(head=chart.y_title))
    dots = zip(shown, chart.dots, strict=True)
    rows = tuple(cells((entry.label, number(dot.x), number(dot.y))) for entry, dot in dots)
    return Table(caption="One row per mark.", columns=columns, rows=rows)


def _has_range(record: Record) -> bool:
    times = record.latency_ms
    return all(map(drawable, (times.min, times.p50, times.max)))


def _range(entry: Entry, name: str) -> Range:
    times = entry.record.latency_ms
    return Range(
        label=name,
        kind=" · ".join(entry.varies),
        median=times.p50,
        p95=times.p95,
        high=times.max,
        hollow=not entry.comparable,
    )


def _range_table(shown: Sequence[Entry]) -> Table:
    columns = (
        Column(head="Record", numeric=False),
        *(Column(head=head, unit="ms") for head in ("Least", "Median", "p95", "p99", "Greatest")),
    )
    times = [(entry.label, entry.record.latency_ms) for entry in shown]
    rows = tuple(
        cells((label, number(t.min), number(t.p50), number(t.p95), number(t.p99), number(t.max))) for label, t in times
    )
    return Table(caption="Latency by record.", columns=columns, rows=rows)
