"""Records of one network and engine at several GPU frequencies, found among all records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from espdeploy.records import FrequencySensitivity, Record
from espdeploy.report.charts.scale import drawable
from espdeploy.report.entries import SIMULATED, Entry
from espdeploy.report.text import frame_size, shorten

#: a clock that was read within this of the step that was set did hold it
_HELD_WITHIN = 0.01
_NAME_CHARS = 60


@dataclass(frozen=True, kw_only=True)
class Stop:
    """The records at one frequency: the first one of a request is measured once more at its end."""

    mhz: float
    floating: bool
    entries: tuple[Entry, ...]

    def mean(self, value: Callable[[Record], float | None]) -> float | None:
        """The mean over the records that know the value."""
        known = [found for found in (value(entry.record) for entry in self.entries) if found is not None]
        return sum(known) / len(known) if known else None


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """The stops in order of frequency; ``index`` counts the sweeps of a page from 1."""

    index: int
    stops: tuple[Stop, ...]

    @property
    def anchor(self) -> str:
        """Its id on the page."""
        return f"sweep{self.index}"

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All its records, in order of frequency."""
        return tuple(entry for stop in self.stops for entry in stop.entries)

    @property
    def simulated(self) -> bool:
        """Whether the device was simulated; simulated and real records are never in one sweep."""
        return self.entries[0].record.device.simulated

    @property
    def title(self) -> str:
        """What was swept, with the warning that simulated figures carry."""
        record = self.entries[0].record
        parts = (
            self.entries[0].model,
            record.engine.precision,
            f"{record.engine.runtime} {record.engine.runtime_version}".strip(),
            record.device.name,
            record.device.power_mode or "",
            frame_size(record.model.input_shape),
        )
        told = " · ".join(shorten(part, _NAME_CHARS) for part in parts if part)
        return f"{SIMULATED} {told}" if self.simulated else told

    @property
    def sensitivity(self) -> FrequencySensitivity | None:
        """As the records hold it."""
        held = (entry.record.frequency_sensitivity for entry in self.entries)
        return next((found for found in held if found is not None), None)


def found_in(entries: Sequence[Entry]) -> tuple[Sweep, ...]:
    """The sweeps among the records, in order of appearance."""
    stops = [_stops(members) for members in _alike(entries).values()]
    several = [found for found in stops if len(found) > 1]
    return tuple(Sweep(index=index, stops=found) for index, found in enumerate(several, 1))


def apart(records: Sequence[Record]) -> list[list[int]]:
    """Indices of records that make a sweep and hold no sensitivity, since they came from several requests."""
    entries = [Entry(record=record, ref="", anchor=str(index), model="") for index, record in enumerate(records)]
    return [[int(entry.anchor) for entry in sweep.entries] for sweep in found_in(entries) if sweep.sensitivity is None]


def _alike(entries: Sequence[Entry]) -> dict[tuple[object, ...], list[Entry]]:
    """Records that differ in the GPU's clock alone, or that one request made."""
    found: dict[tuple[object, ...], list[Entry]] = {}
    for entry in entries:
        if not entry.record.interrupted and _mhz(entry.record) is not None:
            found.setdefault(_key(entry.record), []).append(entry)
    return found


def _key(record: Record) -> tuple[object, ...]:
    return (
        record.sweep,
        record.protocol.id,
        record.model.name,
        record.model.input_shape,
        record.engine.sha256,
        record.engine.runtime,
        record.engine.runtime_version,
        record.engine.precision,
        record.device.name,
        record.device.gpu,
        record.device.power_mode,
        record.device.simulated,
    )


def _stops(entries: Sequence[Entry]) -> tuple[Stop, ...]:
    held: dict[tuple[float, bool], list[Entry]] = {}
    for entry in entries:
        mhz = _mhz(entry.record)
        if mhz is not None:
            held.setdefault((mhz, entry.record.device.gpu_freq_mhz.set is None), []).append(entry)
    ordered = sorted(held.items())
    return tuple(Stop(mhz=mhz, floating=floating, entries=tuple(some)) for (mhz, floating), some in ordered)


def _mhz(record: Record) -> float | None:
    """The step that was set, or what was read under load where it did not hold or, in one request, none was set."""
    clock = record.device.gpu_freq_mhz
    held = clock.set is not None and (
        clock.mean is None or abs(clock.mean - clock.set) <= _HELD_WITHIN * abs(clock.set)
    )
    mhz = clock.set if held or (clock.set is None and record.sweep is None) else clock.mean
    return mhz if mhz is not None and mhz > 0 and drawable(mhz) else None
