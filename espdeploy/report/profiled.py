"""The part of the page on profiles: where the time goes inside a run, and what limits it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from espdeploy.report import profile_figures as figures
from espdeploy.report import profile_roofline
from espdeploy.report.channels import split_unit
from espdeploy.report.entries import SIMULATED
from espdeploy.report.parts import Fact, Figure, Tag
from espdeploy.report.profiles import Limit, Message, ProfileDocument, Times
from espdeploy.report.text import number, plural, share, shorten

_TEXT_CHARS = 1000
_MOST = 30
_WRITES_METRICS = "a profiler run with metrics (espdeploy profile with nvprof or ncu) tells them"


@dataclass(frozen=True, kw_only=True)
class LimitRow:
    """What limits the run: its share, the evidence and what helps."""

    text: str
    share: str
    evidence: str
    do: str


@dataclass(frozen=True, kw_only=True)
class ProfilePart:
    """One profile. ``absent`` says which parts it does not have, and why."""

    ref: str
    anchor: str
    title: str
    context: str
    tags: tuple[Tag, ...]
    facts: tuple[Fact, ...]
    limits: tuple[LimitRow, ...]
    figures: tuple[Figure, ...]
    errors: tuple[tuple[str, str], ...]
    absent: tuple[str, ...]
    notes: tuple[str, ...]


def build(profiles: Sequence[ProfileDocument]) -> tuple[ProfilePart, ...]:
    """A part for each profile, numbered P1, P2, … through the page."""
    return tuple(_part(profile, index) for index, profile in enumerate(profiles, 1))


def _part(profile: ProfileDocument, index: int) -> ProfilePart:
    anchor = f"p{index}"
    drawn = {
        "kernels": figures.kernels(profile, anchor),
        "categories": figures.categories(profile, anchor),
        "metrics": figures.metrics(profile, anchor),
        "roofline": profile_roofline.figure(profile, anchor),
        "layers": figures.layers(profile, anchor),
        "modules": figures.modules(profile, anchor),
    }
    context = (profile.kind, profile.version, profile.device, profile.engine, profile.file)
    return ProfilePart(
        ref=f"P{index}",
        anchor=anchor,
        title=shorten(profile.model or profile.file, 90),
        context=" · ".join(shorten(part, 80) for part in context if part),
        tags=_tags(profile),
        facts=_facts(profile),
        limits=tuple(_limit(limit) for limit in profile.limits[:_MOST]),
        figures=tuple(figure for figure in drawn.values() if figure is not None),
        errors=tuple(_error(error) for error in profile.errors[:_MOST]),
        absent=_absent(profile, {name for name, figure in drawn.items() if figure is None}),
        notes=tuple(shorten(note, _TEXT_CHARS) for note in profile.notes[:_MOST]),
    )


def _tags(profile: ProfileDocument) -> tuple[Tag, ...]:
    tags = [Tag(text=SIMULATED, kind="simulated")] if profile.simulated else []
    if profile.passed is False or profile.errors:
        tags.append(Tag(text="failed" if profile.passed is False else "with errors", kind="error"))
    return tuple(tags)


def _facts(profile: ProfileDocument) -> tuple[Fact, ...]:
    facts = []
    if profile.kernels:
        calls = [kernel.calls for kernel in profile.kernels if kernel.calls is not None]
        facts.append(
            Fact(name="Kernels", value=f"{len(profile.kernels):,} in {plural(sum(calls), 'launch', 'launches')}")
        )
    if profile.kernel_time_ms is not None:
        facts.append(Fact(name="Time of all kernels", value=f"{number(profile.kernel_time_ms, 4)} ms"))
    if profile.memory_alignment_pct is not None:
        facts.append(Fact(name="Memory alignment", value=f"{share(profile.memory_alignment_pct)} of the time"))
    if profile.gpu_compute_ms is not None:
        facts.append(Fact(name="GPU compute", value=_times(profile.gpu_compute_ms)))
    if profile.latency_ms is not None:
        facts.append(Fact(name="Latency, as trtexec tells", value=_times(profile.latency_ms)))
    if profile.throughput_qps is not None:
        facts.append(Fact(name="Throughput", value=f"{number(profile.throughput_qps)} per second"))
    return tuple(facts)


def _times(times: Times) -> str:
    median = f"median {number(times.median)} ms" if times.median is not None else ""
    mean = f"mean {number(times.mean)} ms" if times.mean is not None else ""
    return ", ".join(filter(None, (median, mean))) or "not told"


def _limit(limit: Limit) -> LimitRow:
    return LimitRow(
        text=shorten(limit.text, _TEXT_CHARS),
        share="" if limit.share_pct is None else share(limit.share_pct),
        evidence=shorten(_words(limit.evidence), _TEXT_CHARS),
        do=shorten(limit.do or "", _TEXT_CHARS),
    )


def _words(evidence: Any) -> str:
    """Evidence as text: a sentence, several, or names with values."""
    if evidence is None:
        return ""
    if isinstance(evidence, str):
        return evidence
    if isinstance(evidence, list):
        return "; ".join(_words(each) for each in evidence[:_MOST])
    if isinstance(evidence, dict):
        return "; ".join(_named(str(name), value) for name, value in list(evidence.items())[:_MOST])
    if isinstance(evidence, float):
        return number(evidence, 4)
    return json.dumps(evidence)


def _named(name: str, value: Any) -> str:
    """``time_pct: 55.6`` as people write it: ``time 55.6 %``; what is unknown is said to be."""
    bare, unit = split_unit(name)
    told = "unknown" if value is None else f"{_words(value)} {unit}".rstrip()
    return f"{bare.replace('_', ' ')}: {told}" if isinstance(value, str) else f"{bare.replace('_', ' ')} {told}"


def _error(error: Message) -> tuple[str, str]:
    return shorten(error.text, _TEXT_CHARS), shorten(error.do or "", _TEXT_CHARS)


def _absent(profile: ProfileDocument, missing: set[str]) -> tuple[str, ...]:
    """Which parts are not shown: damaged ones with what is wrong, others with what would tell them."""
    told = [f"{part} left out: {shorten(why, 200)}" for part, why in profile.damaged.items()]
    whole = missing - {part.rpartition(".")[2] for part in profile.damaged}
    if "kernels" in whole:
        if profile.kernels:
            told.append("no top kernels: the profile holds no times of kernels")
        elif profile.kind == "trtexec":
            told.append("no kernels: trtexec times layers; nvprof, nsys and ncu time kernels")
        else:
            told.append("no kernels: the profile holds none")
    if "metrics" in whole and profile.kind != "trtexec":
        told.append(f"no efficiencies: the profile holds no counters; {_WRITES_METRICS}")
    if "layers" in whole and profile.kind == "trtexec":
        told.append("no layers: the profile holds no times of layers (trtexec --dumpProfile tells them)")
    unexplained = not profile.limits and "explanation.limits" not in profile.damaged
    if "roofline" in whole and profile.roofline is None and unexplained:
        told.append("no roofline, and nothing on what limits the run: espdeploy explain tells both")
        return tuple(told)
    if "roofline" in whole:
        told.append(profile_roofline.why_none(profile))
    if unexplained:
        told.append("nothing is said of what limits the run: espdeploy explain tells it")
    return tuple(told)
