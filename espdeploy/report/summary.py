"""The summary: one row per record, one table per protocol."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from espdeploy.records import Protocol, Record
from espdeploy.report import reasons
from espdeploy.report.entries import Entry, Group, performance_only, tags_of
from espdeploy.report.parts import Cell, Column, Footnotes, Table, Tag
from espdeploy.report.text import frame_size, metric_name, mhz, number, plural, scaled, shorten

_NAME_CHARS = 60
_M, _G, _MJ = 1e-6, 1e-9, 1e3

COLUMNS = (
    Column(head="", numeric=False),
    Column(head="Model", numeric=False),
    Column(head="Status", numeric=False),
    Column(head="Precision", numeric=False),
    Column(head="Runtime", numeric=False),
    Column(head="Device", numeric=False),
    Column(head="Input", unit="px, batch"),
    Column(head="Speed", unit="FPS"),
    Column(head="Median", unit="ms"),
    Column(head="p95", unit="ms"),
    Column(head="Accuracy"),
    Column(head="Power", unit="W"),
    Column(head="Energy", unit="mJ/inference"),
    Column(head="Params", unit="M"),
    Column(head="MACs", unit="G"),
)


def table(group: Group) -> Table:
    """The records of one protocol."""
    notes = Footnotes()
    rows = tuple(_row(entry, notes) for entry in group.entries)
    return Table(caption=protocol_line(group.entries[0].record.protocol), columns=COLUMNS, rows=rows, notes=notes.all())


def protocol_line(protocol: Protocol) -> str:
    """The protocol in one line."""
    parts = [
        f"Protocol {_short(protocol.id)}",
        f"warm-up of at least {number(protocol.warmup_s)} s",
        f"at least {plural(protocol.min_trials, 'trial')}",
        f"batch {protocol.batch}",
    ]
    if protocol.threads is not None:
        parts.append(plural(protocol.threads, "thread"))
    if protocol.transfers is not None:
        parts.append(f"transfers {_short(protocol.transfers)}")
    return " · ".join(parts)


def _row(entry: Entry, notes: Footnotes) -> tuple[Cell, ...]:
    record = entry.record
    return (
        Cell(text=entry.ref, link=entry.anchor),
        _model(entry),
        Cell(text="", tags=tags_of(record)),
        Cell(text=_short(record.engine.precision), below=precision_share(record)),
        Cell(text=_short(record.engine.runtime), below=_short(record.engine.runtime_version)),
        Cell(text=_short(record.device.name), below=_setting(record), title=_machine(record)),
        _input(record),
        Cell(text=number(record.fps)),
        *_latency(record, notes),
        _accuracy(record),
        *_power(record, notes),
        *_network(record, notes),
    )


def _input(record: Record) -> Cell:
    shape = record.model.input_shape
    return Cell(text=frame_size(shape), below=f"batch {record.protocol.batch}", title=f"N,C,H,W {shape}")


def precision_share(record: Record) -> str:
    """Which share of the convolutions really ran in which precision, where it is mixed or not what was asked for."""
    shares = {name: pct for name, pct in (record.engine.precision_share_pct or {}).items() if pct > 0}
    if not shares or set(shares) == {record.engine.precision}:
        return ""
    return shorten(", ".join(f"{number(pct, 2)} % {name}" for name, pct in shares.items()))


def _model(entry: Entry) -> Cell:
    record = entry.record
    tags = (Tag(text="performance only", kind="warning"),) if performance_only(record) else ()
    weights = f"weights: {shorten(record.model.weights, 60)}" if record.model.weights else "weights unknown"
    return Cell(text=entry.model, below=weights, tags=tags)


def _setting(record: Record) -> str:
    """Power mode and GPU clock."""
    clock = record.device.gpu_freq_mhz
    told = (
        f"{mhz(clock.set)}\N{NO-BREAK SPACE}MHz"
        if clock.set is not None
        else ("clock floating" if clock.mean is not None else "")
    )
    return ", ".join(filter(None, (_short(record.device.power_mode or ""), told)))


def _machine(record: Record) -> str:
    return shorten(record.device.gpu or record.device.cpu or "")


def _latency(record: Record, notes: Footnotes) -> Iterable[Cell]:
    times = record.latency_ms
    interval = f"mean {number(times.mean)} ms"
    if times.ci95 is not None:
        interval += f", 95 % interval {number(times.ci95[0], 4)} to {number(times.ci95[1], 4)} ms"
    on_gpu = f"GPU {number(record.gpu_latency_ms.p50)}" if record.gpu_latency_ms else ""
    yield Cell(text=number(times.p50), below=on_gpu, title=interval)
    yield _known(times.p95, reasons.percentile(record, 95), notes)


def _network(record: Record, notes: Footnotes) -> Iterable[Cell]:
    reason = reasons.model(record)
    size_mb = record.model.size_mb
    params = _known(scaled(record.model.params, _M), reason, notes)
    yield params if size_mb is None else replace(params, below=f"{number(size_mb)} MB")
    yield _known(scaled(record.model.macs, _G), reason, notes)


def _power(record: Record, notes: Footnotes) -> Iterable[Cell]:
    power = record.power
    if power is None:
        yield notes.missing(reasons.power(record))
        yield notes.missing(reasons.power(record))
        return
    title = f"{_short(power.source)}: {shorten(', '.join(power.rails))}; {plural(power.samples, 'sample')}"
    yield Cell(text=number(power.mean_w), title=title)
    net = scaled(power.net_energy_per_inference_j, _MJ)
    below = "" if net is None else f"net {number(net)}"
    yield Cell(text=number(power.energy_per_inference_j * _MJ), below=below, title=title)


def _accuracy(record: Record) -> Cell:
    accuracy = record.accuracy
    if accuracy is None:
        return Cell(text="not evaluated")
    reference = accuracy.reference_value
    below = f"reference {number(reference)}" if reference is not None else ""
    return Cell(
        text=f"{number(accuracy.value)} {metric_name(accuracy.metric)}",
        below=below,
        title=f"on {shorten(accuracy.data)}",
    )


def _short(text: str) -> str:
    return shorten(text, _NAME_CHARS)


def _known(value: float | None, reason: str, notes: Footnotes) -> Cell:
    return notes.missing(reason) if value is None else Cell(text=number(value))
