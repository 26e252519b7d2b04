"""Records -> the plain data of the page. Pure: it reads no file, no clock and no template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from espdeploy.findings import shared
from espdeploy.records import Record
from espdeploy.report import facts, gpu_facts, latency, lead, profiled, reasons, summary, swept, usage, versus
from espdeploy.report.entries import Entry, Group, grouped, runtime_of, tags_of
from espdeploy.report.knee import RULE
from espdeploy.report.parts import Card, Fact, Figure, Table, Tag
from espdeploy.report.profiles import ProfileDocument
from espdeploy.report.text import DASH, frame_size, listed, moment, number, shorten

#: more records than this start folded, or nobody finds the end of the page
UNFOLDED = 4
#: on longer pages the folded records are drawn with fewer tooltips and shorter tables: 1000 would take 90 MB
_BRIEF_FROM = 40
_NOTE_CHARS = 1000
_MOST_REFS = 24


class LeftOutFile(Protocol):
    """A file that the store did not read: what ``espdeploy.store.LeftOut`` offers."""

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def reason(self) -> str:
        """Why it was not read."""


@dataclass(frozen=True, kw_only=True)
class Detail:
    """One record's own part of the page."""

    entry: Entry
    context: str
    brief: str
    tags: tuple[Tag, ...]
    facts: tuple[Fact, ...]
    gpu: tuple[Fact, ...]
    latency: tuple[Figure, ...]
    usage: tuple[Figure, ...]
    constants: tuple[Fact, ...]
    no_latency: str
    no_usage: str
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class FindingRow:
    """A verdict and the records that it holds for, as numbers and anchors."""

    severity: str
    code: str
    text: str
    do: str
    refs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One protocol's table and the figures that set its records side by side."""

    group: Group
    table: Table
    figures: tuple[Figure, ...]
    why_none: str


@dataclass(frozen=True, kw_only=True)
class Page:
    """Everything that stands on the page."""

    title: str
    generated: str
    espdeploy_version: str
    measured: str
    lead: tuple[lead.Sentence, ...]
    cards: tuple[Card, ...]
    simulated: str
    comparisons: tuple[Comparison, ...]
    sweeps: swept.Sweeps
    profiles: tuple[profiled.ProfilePart, ...]
    details: tuple[Detail, ...]
    unfolded: int
    brief: bool
    findings: tuple[FindingRow, ...]
    without_findings: str
    knee_rule: str
    devices: tuple[facts.Sheet, ...]
    runtimes: tuple[facts.Sheet, ...]
    protocols: tuple[facts.Sheet, ...]
    conditions: Table
    repeats: tuple[facts.Repeat, ...]
    left_out: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Made:
    """Who made the page and when: ``generated`` is an ISO 8601 time."""

    title: str
    generated: str
    espdeploy_version: str


def build(
    records: Sequence[Record],
    left_out: Sequence[LeftOutFile],
    made: Made,
    profiles: Sequence[ProfileDocument] = (),
) -> Page:
    """The page of at least one record."""
    groups = grouped(records)
    entries = [entry for group in groups for entry in group.entries]
    return Page(
        title=shorten(made.title),
        generated=moment(made.generated),
        espdeploy_version=made.espdeploy_version,
        measured=lead.measured(entries),
        lead=lead.sentences(groups),
        cards=lead.cards(groups),
        simulated=_simulated(entries, profiles),
        comparisons=tuple(_comparison(group, index) for index, group in enumerate(groups, 1)),
        sweeps=swept.build(entries),
        profiles=profiled.build(profiles),
        details=tuple(
            _detail(entry, brief=len(entries) > _BRIEF_FROM and index >= UNFOLDED)
            for index, entry in enumerate(entries)
        ),
        brief=len(entries) > _BRIEF_FROM,
        unfolded=UNFOLDED,
        findings=_findings(entries),
        without_findings=listed([entry.ref for entry in entries if not entry.record.findings]),
        knee_rule=RULE,
        devices=facts.devices(entries),
        runtimes=facts.runtimes(entries),
        protocols=facts.protocols(entries),
        conditions=facts.conditions(entries),
        repeats=facts.repeats(entries),
        left_out=tuple((str(entry.path), shorten(entry.reason)) for entry in left_out),
    )


def _simulated(entries: Sequence[Entry], profiles: Sequence[ProfileDocument]) -> str:
    of_records = [entry.ref for entry in entries if entry.record.device.simulated]
    of_profiles = [f"P{index}" for index, profile in enumerate(profiles, 1) if profile.simulated]
    simulated = [*of_records, *of_profiles]
    if not simulated:
        return ""
    every = len(simulated) == len(entries) + len(profiles)
    which = "Every record" if every else _shown(of_records) + of_profiles
    told = which if isinstance(which, str) else listed(which)
    verb = "was" if every or len(simulated) == 1 else "were"
    return f"{told} {verb} made on a simulated device. These figures say nothing about real hardware."


def _shown(refs: Sequence[str]) -> list[str]:
    """As many as a reader takes in."""
    more = len(refs) - _MOST_REFS
    return [*refs[:_MOST_REFS], f"{more} more records"] if more > 1 else list(refs)


def _comparison(group: Group, index: int) -> Comparison:
    drawn = (
        versus.latencies(group, index),
        versus.speed_by_params(group, index),
        versus.energy_by_speed(group, index),
        versus.accuracy_by_speed(group, index),
    )
    figures = tuple(figure for figure in drawn if figure is not None)
    return Comparison(
        group=group,
        table=summary.table(group),
        figures=figures,
        why_none="" if figures else _why_none(group),
    )


def _why_none(group: Group) -> str:
    if len(group.entries) == 1:
        return "One record: there is nothing to set it against under the same protocol."
    return "Fewer than two of these records say how many parameters their network has, or cost in energy."


def _detail(entry: Entry, *, brief: bool) -> Detail:
    record = entry.record
    engine = record.engine
    used = usage.build(entry, brief=brief)
    context = (
        engine.precision,
        runtime_of(record),
        record.device.name,
        f"{frame_size(record.model.input_shape)} px",
        f"batch {record.protocol.batch}",
        moment(record.started),
    )
    return Detail(
        entry=entry,
        context=" · ".join(shorten(part, 80) for part in context),
        brief=f"{engine.precision[:20]} · {number(record.fps)} FPS · median {_ms(record.latency_ms.p50)}",
        tags=tags_of(record),
        facts=_figures_in_words(record),
        gpu=gpu_facts.facts(record),
        latency=_marked(entry, latency.figures(entry, brief=brief)),
        usage=_marked(entry, used.figures),
        constants=used.constants,
        no_latency="The record holds no raw times, so there is nothing to draw.",
        no_usage=f"No utilisation to draw: {reasons.utilization(record)}.",
        notes=tuple(shorten(note, _NOTE_CHARS) for note in record.notes),
    )


def _marked(entry: Entry, figures: Sequence[Figure]) -> tuple[Figure, ...]:
    """Each figure of a simulated record says so itself: figures are cut out and passed on."""
    return tuple(replace(figure, simulated=entry.record.device.simulated) for figure in figures)


def _figures_in_words(record: Record) -> tuple[Fact, ...]:
    speed = Fact(name="Speed", value=f"{number(record.fps)} FPS")
    power = facts.power_facts(record.power) if record.power else (Fact(name="Power", value=_no_power(record)),)
    return (speed, *_times(record), *power)


def _no_power(record: Record) -> str:
    reason = reasons.power(record)
    return f"{DASH} (see the notes)" if reason in record.notes else f"{DASH} ({reason})"


def _times(record: Record) -> tuple[Fact, ...]:
    times = record.latency_ms
    interval = f" (95 % interval {number(times.ci95[0], 4)} to {number(times.ci95[1], 4)})" if times.ci95 else ""
    return (
        Fact(name="Median", value=_ms(times.p50)),
        Fact(name="p95", value=_percentile(record, times.p95, 95)),
        Fact(name="p99", value=_percentile(record, times.p99, 99)),
        Fact(name="Mean", value=f"{_ms(times.mean)}{interval}"),
        Fact(name="Standard deviation", value=_ms(times.std)),
        Fact(name="Least, greatest", value=f"{number(times.min)}, {_ms(times.max)}"),
    )


def _percentile(record: Record, value_ms: float | None, share_pct: int) -> str:
    return _ms(value_ms) if value_ms is not None else f"{DASH} ({reasons.percentile(record, share_pct)})"


def _ms(value_ms: float | None) -> str:
    return DASH if value_ms is None else f"{number(value_ms)} ms"


def _findings(entries: Sequence[Entry]) -> tuple[FindingRow, ...]:
    """Each verdict once, with the records it holds for; errors first."""
    held = [((entry.ref, entry.anchor), found) for entry in entries for found in entry.record.findings]
    return tuple(
        FindingRow(
            severity=shorten(part.finding.severity, 20),
            code=shorten(part.finding.code, 60),
            text=shorten(part.finding.text, _NOTE_CHARS),
            do=shorten(part.finding.do, _NOTE_CHARS),
            refs=part.owners,
        )
        for part in shared(held)
    )
