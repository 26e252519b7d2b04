"""Records with the name that each goes by on the page, in groups that may be compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from espdeploy.records import Record
from espdeploy.report.parts import Tag
from espdeploy.report.text import frame_size, mhz, shorten

SIMULATED = "SIMULATED"
_NAME_CHARS = 90


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A record, its number on the page, and what tells it from the others of its group."""

    record: Record
    ref: str
    anchor: str
    model: str
    varies: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Number and model, with the warning that a simulated record carries everywhere."""
        return f"{self.ref} {SIMULATED} {self.model}" if self.record.device.simulated else f"{self.ref} {self.model}"

    @property
    def label(self) -> str:
        """The name and what varies."""
        return " · ".join((self.name, *self.varies))

    @property
    def comparable(self) -> bool:
        """Whether its figures may stand beside those of others: really measured, and to the end."""
        return not (self.record.device.simulated or self.record.interrupted)


@dataclass(frozen=True, kw_only=True)
class Group:
    """The records of one measurement protocol, which alone may be compared."""

    protocol_id: str
    entries: tuple[Entry, ...]

    @property
    def title(self) -> str:
        """The protocol's id, as long as a heading may be."""
        return shorten(self.protocol_id, _NAME_CHARS)


def grouped(records: Sequence[Record]) -> tuple[Group, ...]:
    """Records by protocol id, in order of first appearance, numbered R1, R2, … through the page."""
    by_id: dict[str, list[Record]] = {}
    for record in records:
        by_id.setdefault(record.protocol.id, []).append(record)
    groups: list[Group] = []
    first = 1
    for protocol_id, members in by_id.items():
        groups.append(Group(protocol_id=protocol_id, entries=_entries(members, first)))
        first += len(members)
    return tuple(groups)


def comparable_sets(group: Group) -> list[tuple[Entry, ...]]:
    """Entries of one group that ran on inputs of the same shape, the largest set first; single ones left out."""
    by_shape: dict[tuple[int, ...], list[Entry]] = {}
    for entry in group.entries:
        if entry.comparable:
            by_shape.setdefault(entry.record.model.input_shape, []).append(entry)
    sets = [tuple(entries) for entries in by_shape.values() if len(entries) > 1]
    return sorted(sets, key=len, reverse=True)


def varying(records: Sequence[Record]) -> list[Callable[[Record], str]]:
    """The traits in which the records differ."""
    return [trait for trait in _TRAITS if len({trait(record) for record in records}) > 1]


def tags_of(record: Record) -> tuple[Tag, ...]:
    """Its verdicts, the gravest first."""
    tags = []
    if record.device.simulated:
        tags.append(Tag(text=SIMULATED, kind="simulated"))
    if record.interrupted:
        tags.append(Tag(text="interrupted", kind="error"))
    tags.append(Tag(text="steady", kind="good") if record.steady else Tag(text="not steady", kind="warning"))
    return tuple(tags)


def performance_only(record: Record) -> bool:
    """Whether the weights or the calibration are random, so that speed is all the record tells."""
    told = " ".join((record.model.weights or "", *(str(v) for v in record.engine.provenance.values())))
    return "random" in told.lower() or bool(record.engine.provenance.get("performance_only"))


def runtime_of(record: Record) -> str:
    """Runtime and version in one text."""
    return f"{record.engine.runtime} {record.engine.runtime_version}".strip()


def _entries(records: Sequence[Record], first: int) -> tuple[Entry, ...]:
    traits = varying(records)
    settings = _varying_settings(records)
    return tuple(
        Entry(
            record=record,
            ref=f"R{number_on_page}",
            anchor=f"r{number_on_page}",
            model=_model_name(record, settings),
            varies=tuple(shorten(trait(record), _NAME_CHARS) for trait in traits),
        )
        for number_on_page, record in enumerate(records, first)
    )


def _model_name(record: Record, settings: Iterable[str]) -> str:
    told = [f"{key}={record.model.settings[key]}" for key in settings if key in record.model.settings]
    return shorten(" ".join((record.model.name, *told)), _NAME_CHARS)


def _varying_settings(records: Sequence[Record]) -> list[str]:
    """Settings that tell records of one model name apart."""
    seen: dict[tuple[str, str], set[str]] = {}
    for record in records:
        for key, value in record.model.settings.items():
            seen.setdefault((record.model.name, key), set()).add(str(value))
    return sorted({key for (_, key), values in seen.items() if len(values) > 1})


def _precision(record: Record) -> str:
    return record.engine.precision


def _device(record: Record) -> str:
    return record.device.name


def _size(record: Record) -> str:
    return frame_size(record.model.input_shape)


def _batch(record: Record) -> str:
    return f"batch {record.protocol.batch}"


def _power_mode(record: Record) -> str:
    return record.device.power_mode or "power mode unknown"


def _gpu_clock(record: Record) -> str:
    clock_mhz = record.device.gpu_freq_mhz.set
    return "GPU clock unknown" if clock_mhz is None else f"{mhz(clock_mhz)} MHz"


_TRAITS: tuple[Callable[[Record], str], ...] = (
    _precision,
    runtime_of,
    _device,
    _size,
    _batch,
    _power_mode,
    _gpu_clock,
)
