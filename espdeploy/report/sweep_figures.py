"""Figures of one sweep over GPU frequencies: time, speed, sensitivity, power, and energy against speed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from espdeploy.records import Record
from espdeploy.report import sweep_sensitivity
from espdeploy.report.charts.curves import Curve, Curves, Point
from espdeploy.report.charts.scale import drawable
from espdeploy.report.entries import Entry
from espdeploy.report.knee import RULE, knee
from espdeploy.report.parts import Cell, Column, Figure, Table, cells
from espdeploy.report.sweep_sensitivity import FREQUENCY
from espdeploy.report.sweeps import Stop, Sweep
from espdeploy.report.text import mhz, number

_MJ = 1e3
Value = Callable[[Record], float | None]
Interval = Callable[[Record], tuple[float, float] | None]


@dataclass(frozen=True, kw_only=True)
class _Quantity:
    """What one curve shows of each record."""

    name: str
    unit: str
    value: Value
    interval: Interval = lambda _: None


_MEAN = _Quantity(
    name="mean latency",
    unit="ms",
    value=lambda record: record.latency_ms.mean,
    interval=lambda record: record.latency_ms.ci95,
)
_GPU_MEAN = _Quantity(
    name="mean GPU time",
    unit="ms",
    value=lambda record: None if record.gpu_latency_ms is None else record.gpu_latency_ms.mean,
    interval=lambda record: None if record.gpu_latency_ms is None else record.gpu_latency_ms.ci95,
)
_FPS = _Quantity(name="speed", unit="FPS", value=lambda record: record.fps)
_POWER = _Quantity(
    name="mean power",
    unit="W",
    value=lambda record: None if record.power is None else record.power.mean_w,
    interval=lambda record: None if record.power is None else record.power.ci95_w,
)
_IDLE = _Quantity(
    name="idle before",
    unit="W",
    value=lambda record: None if record.power is None else record.power.idle_before_w,
)
_ENERGY = _Quantity(
    name="energy per frame",
    unit="mJ",
    value=lambda record: None if record.power is None else record.power.energy_per_inference_j * _MJ,
)


def figures(sweep: Sweep) -> tuple[Figure, ...]:
    """All that the records tell; a figure of which fewer than two frequencies know the quantity is left out."""
    drawn = (
        _against_frequency(sweep, "latency", "Latency against frequency", (_MEAN, _GPU_MEAN)),
        _against_frequency(sweep, "speed", "Speed against frequency", (_FPS,)),
        sweep_sensitivity.figure(sweep),
        _against_frequency(sweep, "power", "Power against frequency", (_POWER, _IDLE)),
        _energy(sweep),
    )
    return tuple(figure for figure in drawn if figure is not None)


def knee_of(sweep: Sweep) -> Stop | None:
    """The stop at the knee of energy over speed."""
    stops = _with_energy(sweep)
    found = knee([(stop.mean(_FPS.value) or 0.0, stop.mean(_ENERGY.value) or 0.0) for stop in stops])
    return None if found is None else stops[found]


def _against_frequency(sweep: Sweep, kind: str, name: str, quantities: Sequence[_Quantity]) -> Figure | None:
    curves = [curve for quantity in quantities if (curve := _curve(sweep, quantity)) is not None]
    known = [quantity for quantity in quantities if _curve(sweep, quantity) is not None]
    if not curves:
        return None
    unit = known[0].unit
    chart = Curves(
        title=f"{name} of {sweep.title}",
        description=f"{', '.join(curve.name for curve in curves)} in {unit} at {len(sweep.stops)} GPU frequencies.",
        x_title=FREQUENCY,
        y_title=unit,
        curves=tuple(curves),
        simulated=sweep.simulated,
    )
    barred = any(point.interval for curve in curves for point in curve.points)
    return Figure(
        anchor=f"{sweep.anchor}-{kind}",
        chart=chart,
        captions=(
            *(("Strokes: the 95 % interval of the mean, where it is wider than the mark.",) if barred else ()),
            *_hollow(sweep),
        ),
        numbers=_numbers(sweep, known),
        name=name,
    )


def _curve(sweep: Sweep, quantity: _Quantity) -> Curve | None:
    points, line = [], []
    for stop in sweep.stops:
        known = [(entry, quantity.value(entry.record)) for entry in stop.entries]
        drawn = [(entry, value) for entry, value in known if value is not None and drawable(value)]
        points += [_point(entry, stop, (value, quantity)) for entry, value in drawn]
        if drawn:
            line.append((stop.mhz, sum(value for _, value in drawn) / len(drawn)))
    if len(line) < 2:
        return None
    return Curve(name=quantity.name, points=tuple(points), line=tuple(line))


def _point(entry: Entry, stop: Stop, of: tuple[float, _Quantity]) -> Point:
    value, quantity = of
    ends = quantity.interval(entry.record)
    return Point(
        x=stop.mhz,
        y=value,
        text=f"{entry.ref}, {mhz(stop.mhz)} MHz: {quantity.name} {number(value, 4)} {quantity.unit}",
        interval=ends if ends is not None and all(map(drawable, ends)) else None,
        hollow=stop.floating,
    )


def _numbers(sweep: Sweep, quantities: Sequence[_Quantity]) -> Table:
    columns = (
        Column(head="Record", numeric=False),
        Column(head="Frequency", unit="MHz"),
        *(Column(head=quantity.name.capitalize().replace("gpu", "GPU"), unit=quantity.unit) for quantity in quantities),
    )
    rows = tuple(
        (
            Cell(text=entry.ref),
            Cell(text=mhz(stop.mhz)),
            *cells(number(quantity.value(entry.record), 4) for quantity in quantities),
        )
        for stop in sweep.stops
        for entry in stop.entries
    )
    return Table(caption="One row per record.", columns=columns, rows=rows)


def _with_energy(sweep: Sweep) -> list[Stop]:
    return [stop for stop in sweep.stops if drawable(stop.mean(_ENERGY.value)) and drawable(stop.mean(_FPS.value))]


def _energy(sweep: Sweep) -> Figure | None:
    stops = _with_energy(sweep)
    if len(stops) < 2:
        return None
    at = knee_of(sweep)
    places = {stop.mhz: (stop.mean(_FPS.value) or 0.0, stop.mean(_ENERGY.value) or 0.0) for stop in stops}
    points = tuple(
        Point(
            x=places[stop.mhz][0],
            y=places[stop.mhz][1],
            text=f"{mhz(stop.mhz)} MHz: {number(places[stop.mhz][0])} FPS, {number(places[stop.mhz][1])} mJ per frame",
            label=f"{mhz(stop.mhz)} MHz{', knee' if stop is at else ''}",
            hollow=stop.floating,
        )
        for stop in stops
    )
    chart = Curves(
        title=f"Energy per frame against speed of {sweep.title}",
        description=f"Gross energy per frame and speed at {len(stops)} GPU frequencies.",
        x_title="speed (FPS)",
        y_title="mJ per frame",
        curves=(Curve(name=_ENERGY.name, points=points, line=tuple(places[stop.mhz] for stop in stops)),),
        ring=None if at is None else places[at.mhz],
        ring_text="" if at is None else f"knee: {mhz(at.mhz)} MHz",
        simulated=sweep.simulated,
    )
    return Figure(
        anchor=f"{sweep.anchor}-energy",
        chart=chart,
        captions=(*_knee_captions(stops, at), *_hollow(sweep)),
        numbers=_energy_numbers(stops, at),
        name="Energy per frame against speed",
    )


def _knee_captions(stops: Sequence[Stop], at: Stop | None) -> tuple[str, ...]:
    if at is not None:
        return (f"Knee (ringed): {mhz(at.mhz)} MHz. {RULE}",)
    if len(stops) < 3:
        return ("Two frequencies have no knee between them.",)
    return ("No knee: the points lie on, or above, a straight line, or differ too little.",)


def _energy_numbers(stops: Sequence[Stop], at: Stop | None) -> Table:
    columns = (
        Column(head="Frequency", unit="MHz"),
        Column(head="Speed", unit="FPS"),
        Column(head="Energy", unit="mJ per frame"),
        Column(head="", numeric=False),
    )
    rows = tuple(
        cells(
            (
                mhz(stop.mhz),
                number(stop.mean(_FPS.value), 4),
                number(stop.mean(_ENERGY.value), 4),
                "knee" if stop is at else "",
            )
        )
        for stop in stops
    )
    return Table(caption="Means over the records of each frequency.", columns=columns, rows=rows)


def _hollow(sweep: Sweep) -> tuple[str, ...]:
    floating = any(stop.floating for stop in sweep.stops)
    return ("Hollow: the clock floated, and stands where it was read on average.",) if floating else ()
