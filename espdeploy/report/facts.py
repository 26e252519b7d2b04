"""What surrounds the figures: machines, runtimes, protocols, the state during each run, and how to run it again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

from espdeploy.records import DeviceInfo, EngineInfo, Power, Protocol, Record
from espdeploy.report import reasons
from espdeploy.report.entries import Entry, performance_only
from espdeploy.report.parts import Cell, Column, Fact, Footnotes, Table
from espdeploy.report.text import DASH, mhz, moment, number, plural, scaled, shorten, yes_no

_UNKNOWN = "unknown"
_MOST_FACTS = 40
_MJ = 1e3


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """Facts that the records in ``refs`` share; ``refs`` are numbers and anchors."""

    title: str
    facts: tuple[Fact, ...]
    refs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Repeat:
    """How the rows in ``refs`` are made again, and what they were made from; ``runs`` tells each of them apart."""

    model: str
    refs: tuple[tuple[str, str], ...]
    command: str | None
    runs: tuple[Fact, ...]
    facts: tuple[Fact, ...]


def devices(entries: Sequence[Entry]) -> tuple[Sheet, ...]:
    """Machines, each once."""
    return _sheets(entries, lambda record: (record.device.name, _device(record.device)))


def runtimes(entries: Sequence[Entry]) -> tuple[Sheet, ...]:
    """Runtimes, each once."""
    return _sheets(entries, lambda record: (record.engine.runtime, _runtime(record.engine, record.espdeploy_version)))


def protocols(entries: Sequence[Entry]) -> tuple[Sheet, ...]:
    """Protocols with all their fields, each once."""
    return _sheets(entries, lambda record: (record.protocol.id, _protocol(record.protocol)))


def conditions(entries: Sequence[Entry]) -> Table:
    """The state of the machine during each run, and what measuring itself cost."""
    notes = Footnotes()
    columns = (
        Column(head="", numeric=False),
        Column(head="Trials"),
        Column(head="Warm-up", unit="trials"),
        Column(head="CPU", unit="%"),
        Column(head="Process CPU", unit="% of a core"),
        Column(head="GPU", unit="%"),
        Column(head="Memory used", unit="MB"),
        Column(head="GPU clock", unit="MHz"),
        Column(head="Start", unit="°C"),
        Column(head="End", unit="°C"),
        Column(head="Throttled", numeric=False),
        Column(head="Idle power", unit="W"),
        Column(head="Timer", unit="µs/trial"),
        Column(head="Sampler", unit="% of a core"),
    )
    rows = tuple(_condition(entry, notes) for entry in entries)
    return Table(caption="Means over the measured trials.", columns=columns, rows=rows, notes=notes.all())


def power_facts(power: Power) -> tuple[Fact, ...]:
    """All of a power measurement."""
    interval = f" (95 % interval {_pair(power.ci95_w)})" if power.ci95_w else ""
    return (
        Fact(name="Power, mean", value=f"{number(power.mean_w)} W{interval}"),
        Fact(name="Power, greatest", value=_with(power.max_w, "W")),
        Fact(name="Idle before, after", value=f"{_with(power.idle_before_w, 'W')}, {_with(power.idle_after_w, 'W')}"),
        Fact(name="Energy per inference, gross", value=_with(power.energy_per_inference_j * _MJ, "mJ")),
        Fact(name="Net of idle", value=_with(scaled(power.net_energy_per_inference_j, _MJ), "mJ")),
        Fact(name="Sensor", value=shorten(f"{power.source}: {', '.join(power.rails) or 'no rails named'}")),
        Fact(name="Samples", value=f"{power.samples:,} every {number(power.period_ms)} ms"),
    )


def repeats(entries: Sequence[Entry]) -> tuple[Repeat, ...]:
    """Command and checksums, once for all records that one command made of one engine."""
    held: dict[tuple[str, str | None, tuple[Fact, ...]], list[Entry]] = {}
    for entry in entries:
        held.setdefault((entry.model, entry.record.command, _made_from(entry.record)), []).append(entry)
    return tuple(
        Repeat(
            model=model,
            refs=tuple((entry.ref, entry.anchor) for entry in of),
            command=command,
            runs=tuple(_run(entry) for entry in of),
            facts=made_from,
        )
        for (model, command, made_from), of in held.items()
    )


def _run(entry: Entry) -> Fact:
    record = entry.record
    cell = f", cell {record.cell}" if record.cell else ""
    return Fact(name=f"Record {entry.ref}", value=shorten(f"{record.id}, {moment(record.started)}{cell}"))


def _made_from(record: Record) -> tuple[Fact, ...]:
    told = {f"setting {key}": value for key, value in record.model.settings.items()}
    made = {f"engine: {key}": value for key, value in record.engine.provenance.items()}
    facts = [
        *((Fact(name="Sweep", value=shorten(record.sweep)),) if record.sweep else ()),
        Fact(name="Model SHA-256", value=shorten(record.model.sha256) or _UNKNOWN),
        Fact(name="Engine SHA-256", value=shorten(record.engine.sha256) or _UNKNOWN),
        Fact(name="Weights", value=_weights(record)),
        *(Fact(name=shorten(key, 80), value=shorten(str(value))) for key, value in (told | made).items()),
    ]
    return tuple(facts[:_MOST_FACTS])


def _sheets(entries: Sequence[Entry], facts: Callable[[Record], tuple[str, tuple[Fact, ...]]]) -> tuple[Sheet, ...]:
    held: dict[tuple[str, tuple[Fact, ...]], list[tuple[str, str]]] = {}
    for entry in entries:
        held.setdefault(facts(entry.record), []).append((entry.ref, entry.anchor))
    return tuple(Sheet(title=shorten(title, 90), facts=told, refs=tuple(refs)) for (title, told), refs in held.items())


def _device(device: DeviceInfo) -> tuple[Fact, ...]:
    cores = f" ({plural(device.cpu_cores, 'core')})" if device.cpu_cores is not None else ""
    facts = (
        ("CPU", f"{device.cpu}{cores}" if device.cpu else None),
        ("CPU governor", device.cpu_governor),
        ("Memory", _with(device.memory_total_mb, "MB")),
        ("GPU", device.gpu),
        ("Compute capability", device.compute_capability),
        ("Driver", device.driver),
        ("Power mode", device.power_mode),
        ("L4T", device.l4t),
        ("Operating system", device.os),
        ("Python", device.python),
        ("Simulated", "yes: no figure here was measured on the device" if device.simulated else "no"),
    )
    return tuple(Fact(name=name, value=shorten(value) if value else DASH) for name, value in facts)


def _runtime(engine: EngineInfo, version: str) -> tuple[Fact, ...]:
    return (
        Fact(name="Version", value=shorten(engine.runtime_version) or _UNKNOWN),
        Fact(name="Provider", value=shorten(engine.provider or DASH)),
        Fact(name="espdeploy", value=shorten(version)),
    )


def _protocol(protocol: Protocol) -> tuple[Fact, ...]:
    units = {"warmup_s": "s"}
    names = {"warmup_s": "Warm-up, at least", "min_trials": "Trials, at least", "cuda_graph": "CUDA graph"}
    return tuple(
        Fact(name=names.get(key, key.replace("_", " ").capitalize()), value=_protocol_value(value, units.get(key, "")))
        for key, value in asdict(protocol).items()
        if key != "id"
    )


def _protocol_value(value: object, unit: str) -> str:
    if value is None or isinstance(value, bool):
        return yes_no(value)
    return shorten(f"{value} {unit}".strip())


def _condition(entry: Entry, notes: Footnotes) -> tuple[Cell, ...]:
    record = entry.record
    usage, thermal, overhead = record.utilization, record.thermal, record.overhead
    sampled, heat = (
        reasons.utilization(record),
        reasons.noted(record, ("temperature", "thermal"), "no temperature sensor could be read"),
    )
    return (
        Cell(text=entry.ref, link=entry.anchor),
        Cell(text=f"{record.trials:,}"),
        Cell(text=f"{record.warmup_trials:,}"),
        _cell(usage.cpu_pct, sampled, notes),
        _cell(usage.process_cpu_pct, sampled, notes),
        _cell(usage.gpu_pct, reasons.gpu(record), notes),
        _cell(usage.memory_used_mb, sampled, notes, digits=4),
        _gpu_clock(record, notes),
        _cell(thermal.start_c, heat, notes),
        _cell(thermal.end_c, heat, notes),
        _throttled(record, notes),
        _idle(record.power, reasons.power(record), notes),
        _cell(overhead.timer_us if overhead else None, "not measured", notes),
        _cell(overhead.sampler_cpu_pct if overhead else None, "not measured", notes),
    )


def _idle(power: Power | None, reason: str, notes: Footnotes) -> Cell:
    if power is None:
        return notes.missing(reason)
    return Cell(text=number(power.idle_before_w), below=f"after {number(power.idle_after_w)}")


def _throttled(record: Record, notes: Footnotes) -> Cell:
    throttled = record.thermal.throttled
    return notes.missing(reasons.throttled(record)) if throttled is None else Cell(text=yes_no(throttled))


def _gpu_clock(record: Record, notes: Footnotes) -> Cell:
    clock = record.device.gpu_freq_mhz
    if clock.requested is None and clock.set is None and clock.mean is None:
        return notes.missing(reasons.gpu(record))
    below = "floating" if clock.set is None else f"requested {mhz(clock.requested)}, set {mhz(clock.set)}"
    return Cell(text=mhz(clock.mean), below=below)


def _cell(value: float | None, reason: str, notes: Footnotes, digits: int = 3) -> Cell:
    return notes.missing(reason) if value is None else Cell(text=number(value, digits))


def _weights(record: Record) -> str:
    told = shorten(record.model.weights or _UNKNOWN)
    return f"{told} (performance only: accuracy would mean nothing)" if performance_only(record) else told


def _with(value: float | None, unit: str) -> str:
    return DASH if value is None else f"{number(value)} {unit}"


def _pair(ends: Iterable[float]) -> str:
    return " to ".join(number(end, 4) for end in ends)
