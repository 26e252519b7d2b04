"""The part of the page on GPU frequencies: each sweep with its figures and its table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from espdeploy.report import reasons, sweep_figures, sweep_sensitivity
from espdeploy.report.entries import SIMULATED, Entry
from espdeploy.report.parts import Cell, Column, Figure, Footnotes, Table, Tag, cells
from espdeploy.report.sweeps import Stop, Sweep, found_in
from espdeploy.report.text import DASH, mhz, number, plural, scaled, yes_no

_MJ = 1e3


@dataclass(frozen=True, kw_only=True)
class SweepPart:
    """One sweep: what was swept, in a sentence what came of it, figures, and all numbers."""

    anchor: str
    title: str
    tags: tuple[Tag, ...]
    sentences: tuple[str, ...]
    figures: tuple[Figure, ...]
    table: Table


@dataclass(frozen=True, kw_only=True)
class Sweeps:
    """All sweeps, and where there are several their sensitivities side by side."""

    parts: tuple[SweepPart, ...]
    together: Table | None


def build(entries: Sequence[Entry]) -> Sweeps:
    """The sweeps among the records of the page."""
    sweeps = found_in(entries)
    return Sweeps(parts=tuple(_part(sweep) for sweep in sweeps), together=_together(sweeps))


def _part(sweep: Sweep) -> SweepPart:
    return SweepPart(
        anchor=sweep.anchor,
        title=sweep.title.removeprefix(f"{SIMULATED} "),
        tags=(Tag(text=SIMULATED, kind="simulated"),) if sweep.simulated else (),
        sentences=_sentences(sweep),
        figures=sweep_figures.figures(sweep),
        table=_table(sweep),
    )


def _sentences(sweep: Sweep) -> tuple[str, ...]:
    shared = sweep.sensitivity
    told = [
        f"{plural(len(sweep.entries), 'record')} at {plural(len(sweep.stops), 'GPU frequency', 'GPU frequencies')}."
    ]
    if shared is None:
        told.append("No sensitivity: the records do not hold it.")
    else:
        span = shared.span
        told.append(
            f"From {mhz(span.from_mhz)} to {mhz(span.to_mhz)} MHz the sensitivity to GPU frequency is "
            f"{sweep_sensitivity.told(span)}; {span.from_mhz / span.to_mhz:.3f} is what time "
            "inversely proportional to the clock gives."
        )
    if not any(entry.record.power for entry in sweep.entries):
        told.append(f"No power and no energy: {reasons.power(sweep.entries[0].record)}.")
        return tuple(told)
    at = sweep_figures.knee_of(sweep)
    if at is not None:
        told.append(f"The knee of energy per frame over speed is at {mhz(at.mhz)} MHz.")
    return tuple(told)


_COLUMNS = (
    Column(head="", numeric=False),
    Column(head="GPU clock", unit="MHz"),
    Column(head="Under load", unit="MHz"),
    Column(head="Speed", unit="FPS"),
    Column(head="Median", unit="ms"),
    Column(head="Mean", unit="ms, 95 % interval"),
    Column(head="GPU median", unit="ms"),
    Column(head="Power", unit="W"),
    Column(head="Idle", unit="W, before and after"),
    Column(head="Energy", unit="mJ/frame"),
    Column(head="Net", unit="mJ/frame"),
    Column(head="Start, end", unit="°C"),
    Column(head="Throttled", numeric=False),
)


def _table(sweep: Sweep) -> Table:
    notes = Footnotes()
    rows = tuple(_row(stop, entry, notes) for stop in sweep.stops for entry in stop.entries)
    caption = "One row per record, by frequency. A frequency that stands twice was measured again at the end."
    return Table(caption=caption, columns=_COLUMNS, rows=rows, notes=notes.all())


def _row(stop: Stop, entry: Entry, notes: Footnotes) -> tuple[Cell, ...]:
    record = entry.record
    clock, times, gpu, heat = record.device.gpu_freq_mhz, record.latency_ms, record.gpu_latency_ms, record.thermal
    interval = f"{number(times.ci95[0], 4)} to {number(times.ci95[1], 4)}" if times.ci95 else ""
    return (
        Cell(text=entry.ref, link=entry.anchor),
        Cell(text="floating" if clock.set is None else mhz(clock.set)),
        Cell(text=mhz(clock.mean) if clock.mean is not None else DASH, title="" if clock.mean else reasons.gpu(record)),
        Cell(text=number(record.fps)),
        Cell(text=number(times.p50)),
        Cell(text=number(times.mean, 4), below=interval),
        Cell(text=number(gpu.p50)) if gpu else notes.missing(reasons.gpu_times(record)),
        *_power_cells(entry, notes),
        Cell(text=f"{number(heat.start_c)}, {number(heat.end_c)}"),
        Cell(text=yes_no(heat.throttled)) if heat.throttled is not None else notes.missing(reasons.throttled(record)),
    )


def _power_cells(entry: Entry, notes: Footnotes) -> tuple[Cell, ...]:
    power = entry.record.power
    if power is None:
        return tuple(notes.missing(reasons.power(entry.record)) for _ in range(4))
    return (
        Cell(text=number(power.mean_w)),
        Cell(text=f"{number(power.idle_before_w)}, {number(power.idle_after_w)}"),
        Cell(text=number(power.energy_per_inference_j * _MJ)),
        Cell(text=number(scaled(power.net_energy_per_inference_j, _MJ))),
    )


def _together(sweeps: Sequence[Sweep]) -> Table | None:
    """The span's sensitivity of each sweep: what the papers compare networks by."""
    known = [(sweep, sweep.sensitivity.span) for sweep in sweeps if sweep.sensitivity is not None]
    if len(known) < 2:
        return None
    columns = (
        Column(head="Swept", numeric=False),
        Column(head="From", unit="MHz"),
        Column(head="To", unit="MHz"),
        Column(head="Sensitivity"),
        Column(head="95 % interval"),
        Column(head="Knee", unit="MHz"),
    )
    rows = []
    for sweep, span in known:
        at = sweep_figures.knee_of(sweep)
        interval = f"{span.ci95[0]:.3f} to {span.ci95[1]:.3f}" if span.ci95 else DASH
        told = (mhz(span.from_mhz), mhz(span.to_mhz), f"{span.value:.3f}", interval, mhz(at.mhz) if at else DASH)
        rows.append((Cell(text=sweep.title, link=sweep.anchor), *cells(told)))
    return Table(caption="Sensitivity over the whole span of each sweep.", columns=columns, rows=tuple(rows))
