"""What a recorded channel is called and in which unit it is drawn, and which of them share a chart."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from espdeploy.report.latency import TRACE
from espdeploy.report.text import shorten

_LONGEST_NAME = 60
#: units by the end of a channel's name; the longest end that fits counts
_UNITS = {
    "_pct": "%",
    "_mb": "MB",
    "_mw": "mW",
    "_w": "W",
    "_mhz": "MHz",
    "_c": "°C",
    "_ms": "ms",
    "_us": "µs",
    "_v": "V",
    "_ma": "mA",
    "_rpm": "rpm",
    "_state": "step",
    "_gflops": "GFLOPS",
    "_gb_s": "GB/s",
}
#: counters that only rise say nothing as a curve
_CUMULATIVE = ("_j", "_mj")


@dataclass(frozen=True, kw_only=True)
class Channel:
    """How a channel is called and drawn; ``full`` is the upper end of its axis."""

    name: str
    unit: str
    full: float | None = None
    zero: bool = True


_KNOWN = {
    "cpu_pct": Channel(name="CPU, whole machine", unit="%", full=100.0),
    "process_cpu_pct": Channel(name="CPU, this process", unit="% of one core"),
    "memory_used_mb": Channel(name="Memory used", unit="MB", zero=False),
    "memory_pct": Channel(name="Memory used", unit="%", full=100.0),
    "process_rss_mb": Channel(name="Memory of this process", unit="MB"),
    "gpu_pct": Channel(name="GPU", unit="%", full=100.0),
    "power_w": Channel(name="Power", unit="W"),
    "rapl_power_w": Channel(name="Power, CPU package", unit="W"),
    "gpu_power_w": Channel(name="Power, GPU", unit="W"),
    "gpu_freq_mhz": Channel(name="GPU clock", unit="MHz"),
    "swap_used_mb": Channel(name="Swap used", unit="MB"),
}
#: who read it: the first word of a channel's name, and the name that people know
_SOURCES = {
    "ina3221": "INA3221",
    "jtop": "jtop",
    "nvml": "NVML",
    "nvidia_smi": "nvidia-smi",
    "rapl": "RAPL",
    "soc": "kernel",
    "tegrastats": "tegrastats",
}
_SOURCE = re.compile(rf"({'|'.join(_SOURCES)})_(.+)")
#: what the rest of the name says, without its unit
_WORDS = {
    "gpu_util": Channel(name="GPU load", unit="%", full=100.0),
    "gpu_freq": Channel(name="GPU clock", unit="MHz"),
    "gpu_cap": Channel(name="GPU clock, upper limit", unit="MHz"),
    "sm_clock": Channel(name="GPU clock", unit="MHz"),
    "memory_clock": Channel(name="Memory clock", unit="MHz"),
    "emc_freq": Channel(name="Memory clock (EMC)", unit="MHz"),
    "emc_util": Channel(name="Memory controller (EMC) load", unit="%", full=100.0),
    "power": Channel(name="Power", unit="W"),
    "total": Channel(name="Power, whole module", unit="W"),
    "temp": Channel(name="Temperature", unit="°C", zero=False),
}
_PREFIXES = (("rail_", "Power, "), ("temp_", "Temperature, "), ("cooling_", "Cooling, "))


@dataclass(frozen=True, kw_only=True)
class Family:
    """Channels of one source and one kind, which share an axis: all power rails, all temperatures."""

    title: str
    members: tuple[tuple[str, str], ...]  # the channel's name, and what tells it from the others
    unit: str
    zero: bool


def channel_of(name: str) -> Channel:
    """How ``name`` is drawn; a name that nobody foresaw keeps its own words."""
    known = _KNOWN.get(name)
    if known is not None:
        return known
    bare, unit = split_unit(name)
    found = _SOURCE.fullmatch(bare)
    if found is None:
        return _of_words(bare.replace("_", " ").strip() or name, unit)
    source, words = _SOURCES[found[1]], found[2]
    told = _WORDS.get(words)
    if told is not None:
        return Channel(name=f"{told.name} ({source})", unit=unit or told.unit, full=told.full, zero=told.zero)
    for prefix, kind in _PREFIXES:
        if words.startswith(prefix):
            return _of_words(f"{kind}{words.removeprefix(prefix)} ({source})", unit)
    return _of_words(f"{words.replace('_', ' ')} ({source})", unit)


def split_unit(name: str) -> tuple[str, str]:
    """The name without the unit at its end, and that unit; none where the end is no unit."""
    end = max((end for end in _UNITS if name.endswith(end)), key=len, default="")
    return name[: len(name) - len(end)], _UNITS.get(end, "")


def worth_drawing(traces: Iterable[str]) -> list[str]:
    """The channels worth a curve, known ones first: no rising counters, and memory once, in MB if it can be."""
    kept = set(traces)
    kept -= {TRACE, *(["memory_pct"] if "memory_used_mb" in kept else [])}
    unknown = sorted(kept - set(_KNOWN))
    return [name for name in (*_KNOWN, *unknown) if name in kept and not name.endswith(_CUMULATIVE)]


def families(names: Iterable[str]) -> list[Family]:
    """Where at least two channels are of one source and kind, in order of first appearance."""
    held: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for name in names:
        bare, unit = split_unit(name)
        found = _SOURCE.fullmatch(bare)
        if found is None:
            continue
        source, words = found[1], found[2]
        if unit == "W" and (words.startswith("rail_") or words == "total"):
            held.setdefault((source, unit), []).append((name, words.removeprefix("rail_")))
        elif unit == "°C" and words.startswith("temp_"):
            held.setdefault((source, unit), []).append((name, words.removeprefix("temp_")))
    kinds = {"W": "Power by rail", "°C": "Temperatures"}
    return [
        Family(title=f"{kinds[unit]} ({_SOURCES[source]})", members=tuple(members), unit=unit, zero=unit == "W")
        for (source, unit), members in held.items()
        if len(members) > 1
    ]


def _of_words(words: str, unit: str) -> Channel:
    name = shorten(words[:1].upper() + words[1:], _LONGEST_NAME)
    return Channel(name=name, unit=unit, zero=unit != "°C")
