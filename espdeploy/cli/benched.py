"""What `espdeploy bench` and its like show of the records that they made."""

from __future__ import annotations

from itertools import compress
from typing import TYPE_CHECKING

from espdeploy import units
from espdeploy.cli.output import Column, Output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espdeploy.pipeline.measuring.request import Benched
    from espdeploy.records import Power, Record, SensitivityStep


def show(output: Output, benched: Sequence[Benched]) -> None:
    """One row per record, then sensitivity, verdicts, notes and files."""
    records = [item.record for item in benched]
    if output.as_json:
        output.json(records[0] if len(records) == 1 else records)
        return
    for head in dict.fromkeys(_head(record) for record in records):
        output.line(head)
    table(output, records)
    shared = records[-1].frequency_sensitivity
    if shared is not None:
        columns = [
            Column(head="GPU frequency MHz"),
            Column(head="sensitivity", numeric=True),
            Column(head="95 % interval"),
        ]
        span = (shared.span,) if len(shared.pairs) > 1 else ()
        output.table(columns, [_sensitivity_row(step) for step in (*shared.pairs, *span)])
    ordered = sorted(benched, key=lambda item: _set_mhz(item.record))
    output.shared_findings([(_told_apart(item), item.record.findings) for item in ordered])
    for note in dict.fromkeys(note for record in records for note in record.notes):
        output.note(note)
    for item in benched:
        output.note(f"record: {item.path}")


def table(output: Output, records: Sequence[Record]) -> None:
    """One row per record, by frequency; a processor has no GPU clock to show, and one runtime stands in the head."""
    shown = [True] * len(_COLUMNS)
    shown[0] = len({_runtime(record) for record in records}) > 1
    shown[1] = any(_frequency(record) for record in records)
    rows = [_row(record) for record in sorted(records, key=_set_mhz)]
    output.table(list(compress(_COLUMNS, shown)), [list(compress(row, shown)) for row in rows])


#: what differs between the records of one request; it fits 100 columns
_COLUMNS = [
    Column(head="runtime"),
    Column(head="GPU MHz", numeric=True),
    Column(head="FPS", numeric=True),
    Column(head="median ms", numeric=True),
    Column(head="mean (95 %) ms", numeric=True),
    Column(head="p95 ms", numeric=True),
    Column(head="power W", numeric=True),
    Column(head="J/frame (net)", numeric=True),
]


def _head(record: Record) -> str:
    """What all records of one request share; speed is never shown without accuracy."""
    accuracy, engine = record.accuracy, record.engine
    mark = "SIMULATED " if record.device.simulated else ""
    shape = "x".join(str(extent) for extent in record.model.input_shape)
    scored = "accuracy not evaluated" if accuracy is None else f"{accuracy.metric} {accuracy.value:.2f}"
    made = f"{engine.runtime} {engine.runtime_version}, {engine.precision}"
    mode = f", power mode {record.device.power_mode}" if record.device.power_mode else ""
    return f"{mark}{record.model.name} {shape} on {record.device.name}: {made}{mode}; {scored}"


def _row(record: Record) -> list[str]:
    latency, power = record.latency_ms, record.power
    interval = f" ({_ms(latency.ci95[0])} … {_ms(latency.ci95[1])})" if latency.ci95 else ""
    return [
        _runtime(record),
        _frequency(record) or "–",
        f"{record.fps:.2f}",
        _ms(latency.p50),
        f"{_ms(latency.mean)}{interval}",
        _ms(latency.p95),
        "not measured" if power is None else f"{power.mean_w:.2f}",
        "not measured" if power is None else _energy(power),
    ]


def _runtime(record: Record) -> str:
    return f"{record.engine.runtime} {record.engine.runtime_version}"


def _ms(time_ms: float | None) -> str:
    """Two digits after the point, and four that count where that would be less: a small network takes microseconds."""
    return f"{time_ms:.2f}" if time_ms is not None and time_ms >= 1 else units.significant(time_ms, 4)


def _frequency(record: Record) -> str:
    clock = record.device.gpu_freq_mhz
    if clock.set is not None:
        return f"{clock.set:g}"
    return "" if clock.mean is None else f"{clock.mean:.0f} floating"


def _set_mhz(record: Record) -> float:
    """Frequencies are measured in an order that hides drift, and read in that of their figures."""
    clock = record.device.gpu_freq_mhz
    return clock.set or clock.mean or 0.0


def _told_apart(item: Benched) -> str:
    frequency = _frequency(item.record)
    return f"{frequency} MHz" if frequency else _runtime(item.record)


def _energy(power: Power) -> str:
    net = power.net_energy_per_inference_j
    return f"{power.energy_per_inference_j:.4g}" + ("" if net is None else f" ({net:.4g})")


def _sensitivity_row(step: SensitivityStep) -> list[str]:
    interval = "" if step.ci95 is None else f"{step.ci95[0]:.3f} … {step.ci95[1]:.3f}"
    return [f"{step.from_mhz:g} to {step.to_mhz:g}", f"{step.value:.3f}", interval]
