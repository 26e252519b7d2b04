"""The head of the page: what was measured, in a sentence and a few cards, compared only where that is fair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from espdeploy.findings import shared
from espdeploy.report.entries import SIMULATED, Entry, Group, comparable_sets, runtime_of
from espdeploy.report.parts import Card
from espdeploy.report.text import frame_size, listed, moment, number, plural, scaled, shorten

_SETS_SHOWN = 3
_NAMES_SHOWN = 3
_MJ_PER_J = 1000.0


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """A statement whose ``strong`` part stands out."""

    before: str
    strong: str
    after: str
    link: str = ""


def measured(entries: Sequence[Entry]) -> str:
    """Which models on which devices, and when."""
    models = _some([entry.record.model.name for entry in entries])
    devices = _some([_device(entry) for entry in entries])
    starts = sorted(entry.record.started for entry in entries)
    first, last = moment(starts[0]), moment(starts[-1])
    when = first if first == last else f"{first} to {last}"
    return f"{models} on {devices}. {plural(len(entries), 'record')}, {when}."


def sentences(groups: Sequence[Group]) -> tuple[Sentence, ...]:
    """The fastest and the most efficient record of each set that may be compared, or why there is none."""
    sets = [entries for group in groups for entries in comparable_sets(group)]
    if not sets:
        return (_nothing_to_compare(groups),)
    told = [sentence for entries in sets[:_SETS_SHOWN] for sentence in _best(entries)]
    if len(sets) > _SETS_SHOWN:
        more = plural(len(sets) - _SETS_SHOWN, "more set")
        told.append(Sentence(before="", strong=more, after=" of comparable records in the table below."))
    return tuple(told)


def cards(groups: Sequence[Group]) -> tuple[Card, ...]:
    """The figures at the head: of the record itself where there is one, else of the best of those compared."""
    entries = [entry for group in groups for entry in group.entries]
    findings = _findings_card(entries)
    if len(entries) == 1:
        return (*_single(entries[0]), findings)
    best = next((found for group in groups for found in comparable_sets(group)), None)
    return (
        Card(label="Records", value=str(len(entries)), below=_of_groups(groups)),
        _names_card("Models", [entry.record.model.name for entry in entries]),
        _names_card("Devices", [entry.record.device.name for entry in entries]),
        *(_best_cards(best) if best else ()),
        findings,
    )


def _names_card(label: str, names: Sequence[str]) -> Card:
    return Card(label=label, value=str(len(set(names))), below=_some(names))


def _single(entry: Entry) -> tuple[Card, ...]:
    record, times = entry.record, entry.record.latency_ms
    below = "not measured" if record.power is None else f"{number(record.power.mean_w)} W mean"
    joules = record.power.energy_per_inference_j if record.power else None
    return (
        Card(label="Speed", value=number(record.fps), unit="FPS", below=plural(record.trials, "trial")),
        Card(label="Latency, median", value=number(times.p50), unit="ms", below=f"p95 {number(times.p95)} ms"),
        Card(label="Energy per inference", value=number(scaled(joules, _MJ_PER_J)), unit="mJ", below=below),
    )


def _best_cards(entries: Sequence[Entry]) -> tuple[Card, ...]:
    fastest = max(entries, key=_fps)
    where = frame_size(fastest.record.model.input_shape)
    cards = [Card(label=f"Fastest at {where}", value=number(_fps(fastest)), unit="FPS", below=fastest.label)]
    frugal = _most_frugal(entries)
    if frugal:
        joules = scaled(_energy_j(frugal), _MJ_PER_J)
        label = f"Least energy at {where}"
        cards.append(Card(label=label, value=number(joules), unit="mJ/inference", below=frugal.label))
    return tuple(cards)


def _findings_card(entries: Sequence[Entry]) -> Card:
    told = shared((entry.ref, finding) for entry in entries for finding in entry.record.findings)
    severities = [part.finding.severity for part in told]
    errors, warnings = severities.count("error"), severities.count("warning")
    others = len(severities) - errors - warnings
    below = listed([plural(n, word) for n, word in ((errors, "error"), (warnings, "warning"), (others, "note")) if n])
    return Card(label="Findings", value=str(len(severities)), below=below or "nothing to act on")


def _of_groups(groups: Sequence[Group]) -> str:
    return f"of {len(groups)} protocols, not compared across them" if len(groups) > 1 else "of one protocol"


def _best(entries: Sequence[Entry]) -> list[Sentence]:
    ordered = sorted(entries, key=_fps, reverse=True)
    told = [_fastest(ordered[0], ordered[1], len(ordered))]
    frugal = _most_frugal(entries)
    if frugal:
        told.append(_frugal(frugal, entries))
    return told


def _fastest(first: Entry, second: Entry, of: int) -> Sentence:
    lead = f"{_fps(first) / _fps(second):.2f}× {second.ref}" if _fps(second) > 0 else f"before {second.ref}"
    untold = f" {second.ref} is not told apart from it: the 95 % intervals of their means overlap."
    return Sentence(
        before=f"Fastest of {of} comparable records at {frame_size(first.record.model.input_shape)}: ",
        strong=f"{first.label}, {number(_fps(first))} FPS",
        after=f" (median {number(first.record.latency_ms.p50)} ms), {lead}.{untold if _overlap(first, second) else ''}",
        link=first.anchor,
    )


def _frugal(entry: Entry, entries: Sequence[Entry]) -> Sentence:
    with_power = sum(other.record.power is not None for other in entries)
    return Sentence(
        before=f"Least energy of {with_power} with power measured: ",
        strong=f"{entry.label}, {number(scaled(_energy_j(entry), _MJ_PER_J))} mJ per inference",
        after=f" at {number(_fps(entry))} FPS.",
        link=entry.anchor,
    )


def _most_frugal(entries: Sequence[Entry]) -> Entry | None:
    """The least energy, where at least two records have it and from the same source."""
    powered = [entry for entry in entries if entry.record.power is not None]
    sources = {_source(entry) for entry in powered}
    return min(powered, key=_energy_j) if len(powered) > 1 and len(sources) == 1 else None


def _source(entry: Entry) -> tuple[str, tuple[str, ...]] | None:
    power = entry.record.power
    return (power.source, tuple(sorted(power.rails))) if power else None


def _overlap(first: Entry, second: Entry) -> bool:
    one, other = first.record.latency_ms.ci95, second.record.latency_ms.ci95
    return one is not None and other is not None and one[0] <= other[1] and other[0] <= one[1]


def _nothing_to_compare(groups: Sequence[Group]) -> Sentence:
    entries = [entry for group in groups for entry in group.entries]
    if len(entries) == 1:
        return _alone(entries[0])
    if not any(entry.comparable for entry in entries):
        why = " every record is simulated or was interrupted."
    elif len(groups) > 1:
        why = " records of different protocols or input sizes are never set against each other."
    else:
        why = " they differ in input size, or were simulated or interrupted."
    return Sentence(before="", strong="No two records here are compared:", after=why)


def _alone(entry: Entry) -> Sentence:
    record = entry.record
    mark = f"{SIMULATED} " if record.device.simulated else ""
    what = f"{shorten(record.model.name, 90)} in {record.engine.precision} on {runtime_of(record)}"
    size = frame_size(record.model.input_shape)
    median = f"median {number(record.latency_ms.p50)} ms over {plural(record.trials, 'trial')}"
    return Sentence(before=f"{mark}{what}, {size}: ", strong=f"{number(record.fps)} FPS", after=f", {median}.")


def _fps(entry: Entry) -> float:
    return entry.record.fps


def _energy_j(entry: Entry) -> float:
    return entry.record.power.energy_per_inference_j if entry.record.power else float("inf")


def _device(entry: Entry) -> str:
    device = entry.record.device
    machine = device.gpu or device.cpu
    return f"{device.name} ({machine})" if machine else device.name


def _some(names: Sequence[str]) -> str:
    unique = [shorten(name, 60) for name in dict.fromkeys(names)]
    more = len(unique) - _NAMES_SHOWN
    return listed([*unique[:_NAMES_SHOWN], f"{more} more"] if more > 0 else unique)
