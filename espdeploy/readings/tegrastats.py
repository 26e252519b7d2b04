"""One line of tegrastats: the readings it holds, found by their names and never by their place.

The order of tokens, their number and their spelling differ between modules and releases. What is sure: a sample is one
line with ``RAM used/totalMB`` in it, most values stand behind their name, temperatures are ``NAME@41C``, and a rail is
a name followed by ``now/mean`` or ``now/mean/greatest`` in mW. The mean is that since tegrastats started, so only the
first number belongs to the sample. Sources: NVIDIA's Jetson Linux developer guides (tegrastats utility), and logs of
boards from the TX1 to the AGX Thor.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: tegrastats divides by 1024 twice and prints MB
MB_PER_MIB = 1024 * 1024 / 1_000_000
_LONGEST_CHARS = 16_384

_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[@-Z\\-_]|[\x00-\x08\x0e-\x1f\x7f]")
#: a sample may stand right behind the rest of another one, but not inside ``IRAM``
_START = re.compile(r"(?:\d\d-\d\d-\d{4} \d\d:\d\d:\d\d )?(?<![DISV])RAM \d+/\d+MB")
_OPEN_END = re.compile(r"@\[?[\d,]*$")
_DATE = re.compile(r"\d\d-\d\d-\d{4}")
_TIME = re.compile(r"\d\d:\d\d:\d\d")

_MEMORY = re.compile(r"(\d{1,9})/(\d{1,9})MB(?!\w)")
_PCT = r"(100|\d{1,2})%"
_CORES = re.compile(r"\[([\d%@a-z,]{2,8192})\](?:@(\d{1,5}))?")
_CORE = re.compile(_PCT + r"(?:@(\d{1,5}))?")
_LOAD = re.compile(rf"(?:{_PCT})?(?:@(?:(\d{{1,5}})|\[(\d{{1,5}}(?:,\d{{1,5}}){{0,63}})\]))?")
_TEMP = re.compile(r"([A-Za-z][\w.-]{0,63})@(-?\d{1,4}(?:[.,]\d{1,6})?)C(?:/\S*)?")
_RAIL_NAME = re.compile(r"[A-Za-z][\w.+-]{0,63}")
_RAIL = re.compile(r"(-?\d{1,9})(?:mW)?/(?:(-?\d{1,9})(?![\d.-]))?[-\d.mW/]{0,64}")
#: names whose value stands behind them, and what it is; ``CPU`` is a rail's name too
_KEYED = {
    "RAM": "ram",
    "SWAP": "swap",
    "CPU": "cores",
    "cpu": "cores",
    "EMC_FREQ": "emc",
    "EMC": "emc",
    "GR3D_FREQ": "gpu",
    "GR3D": "gpu",
}
_NO_DIGITS = str.maketrans("", "", "0123456789.-")
_KEYED_WITHOUT_DIGITS = {name.translate(_NO_DIGITS): kind for name, kind in _KEYED.items()}
_NO_RAIL = frozenset({"RAM", "SWAP", "IRAM"})
#: in place of the load of a core that is offline
OFF = "off"
#: a channel of the sensor that no rail is connected to
_NOT_CONNECTED = "NC"
#: of a zone whose sensor is powered off
_POWERED_OFF_C = -256.0
#: what the PMIC's zone reads on every board, whatever its heat
_PMIC_CONSTANTS_C = (50.0, 100.0)


@dataclass(frozen=True, kw_only=True)
class Core:
    """A core that is online: its load, and its clock where that was told."""

    util_pct: int
    freq_mhz: int | None


@dataclass(frozen=True, kw_only=True)
class Load:
    """A unit's load and clock; None where the board, or a user who is not root, is not told.

    Of the several clocks of a GPU with several clusters it is the first one that runs.
    """

    util_pct: int | None
    freq_mhz: int | None


@dataclass(frozen=True, kw_only=True)
class TegraSample:
    """What one line tells. Memory is in MB of 10^6 bytes; rails are the instantaneous values; None is unknown.

    ``cores`` has None for each core that is off, and is None itself where the line names no cores. ``temps_left_out``
    are zones that are powered off or print a constant, with what they printed.
    """

    ram_used_mb: float
    ram_total_mb: float
    swap_used_mb: float | None = None
    cores: tuple[Core | None, ...] | None = None
    gpu_util_pct: int | None = None
    gpu_freq_mhz: int | None = None
    emc_util_pct: int | None = None
    emc_freq_mhz: int | None = None
    rails_mw: dict[str, int] = field(default_factory=dict)
    temps_c: dict[str, float] = field(default_factory=dict)
    temps_left_out: dict[str, float] = field(default_factory=dict)
    timestamp: str | None = None

    @property
    def cpu_util_pct(self) -> float | None:
        """Mean load of the cores that are online; None where none is known."""
        online = [core.util_pct for core in self.cores or () if core is not None]
        return sum(online) / len(online) if online else None


@dataclass(frozen=True, kw_only=True)
class Field:
    """A reading of a line: ``ram``, ``swap``, ``cores``, ``emc``, ``gpu``, ``temp`` or ``rail``, and its token."""

    kind: str
    name: str
    index: int


def read_line(line: str) -> TegraSample | None:
    """The sample that a line holds; the last one of a line that holds several, None where it holds none."""
    samples = [piece for piece in split_line(line) if _START.match(piece)]
    return read_tokens(samples[-1].split()) if samples else None


def split_line(line: str) -> list[str]:
    """The line without terminal codes, one piece for each sample in it.

    What stands before the first sample, such as a shell's prompt, is left out, but for the rest of another sample.
    """
    text = line[:_LONGEST_CHARS]
    if not text.isprintable():
        text = _ANSI.sub("", text)
    starts = [match.start() for match in _START.finditer(text)]
    if not starts:
        return [text]
    pieces = [text[begin:end] for begin, end in zip(starts, [*starts[1:], len(text)], strict=True)]
    before = text[: starts[0]]
    return [before, *pieces] if fields_of(before.split()) else pieces


def without_open_end(line: str) -> str:
    """The last line of a file that ends without a line end: a clock at its end may lack digits and is left out."""
    return _OPEN_END.sub("", line)


def fields_of(tokens: Sequence[str]) -> list[Field]:
    """The readings among the tokens of a line, each name once: the first that has it."""
    found: dict[tuple[str, str], Field] = {}
    for index, token in enumerate(tokens):
        for one in _candidates(tokens, index, token):
            found.setdefault((one.kind, one.name), one)
    return list(found.values())


def is_doubtful(tokens: Sequence[str], fields: Sequence[Field]) -> bool:
    """Whether a token looks like a reading, or with other digits would, and is in none of the line's ``fields``."""
    taken = {each.index for each in fields}
    known = {(each.kind, each.name) for each in fields}
    kinds = {each.kind for each in fields}
    for index, token in enumerate(tokens):
        if index in taken:
            continue
        before = tokens[index - 1] if index else ""
        keyed = _KEYED_WITHOUT_DIGITS.get(token.translate(_NO_DIGITS))
        looks_hot = "@" in token and "C" in token and ("temp", token.partition("@")[0]) not in known
        looks_powered = "/" in token and before not in _NO_RAIL and not token.strip("-.0123456789/mW")
        if (keyed and keyed not in kinds) or looks_hot or (looks_powered and ("rail", before) not in known):
            return True
    return False


def _candidates(tokens: Sequence[str], index: int, token: str) -> Iterator[Field]:
    if "@" in token:
        match = _TEMP.fullmatch(token)
        if match is not None:
            yield Field(kind="temp", name=match[1], index=index)
        return
    if index + 1 == len(tokens):
        return
    value = tokens[index + 1]
    kind = _KEYED.get(token)
    if kind is not None and READERS[kind](value) is not None:
        yield Field(kind=kind, name=token, index=index + 1)
    elif "/" in value and token not in _NO_RAIL and _RAIL.fullmatch(value) and _RAIL_NAME.fullmatch(token):
        yield Field(kind="rail", name=token, index=index + 1)


def read_tokens(tokens: Sequence[str]) -> TegraSample | None:
    """The sample in the tokens of a line; None where they do not tell the memory, which every sample does."""
    found = fields_of(tokens)
    one = {each.kind: each for each in found if each.kind not in ("temp", "rail")}
    memory = read_memory(tokens[one["ram"].index]) if "ram" in one else None
    if memory is None:
        return None
    swap = read_memory(tokens[one["swap"].index]) if "swap" in one else None
    cores = read_cores(tokens[one["cores"].index]) if "cores" in one else None
    gpu = read_load(tokens[one["gpu"].index]) if "gpu" in one else None
    emc = read_load(tokens[one["emc"].index]) if "emc" in one else None
    temps_c = {each.name: read_temp(tokens[each.index]) for each in found if each.kind == "temp"}
    rails_mw = {each.name: read_rail(tokens[each.index]) for each in found if each.kind == "rail"}
    return TegraSample(
        ram_used_mb=memory[0],
        ram_total_mb=memory[1],
        swap_used_mb=swap[0] if swap else None,
        cores=cores,
        gpu_util_pct=gpu.util_pct if gpu else None,
        gpu_freq_mhz=gpu.freq_mhz if gpu else None,
        emc_util_pct=emc.util_pct if emc else None,
        emc_freq_mhz=emc.freq_mhz if emc else None,
        rails_mw={name: pair[0] for name, pair in rails_mw.items() if pair and is_rail(name)},
        temps_c={name: value for name, value in temps_c.items() if value is not None and is_real(name, value)},
        temps_left_out={
            name: value for name, value in temps_c.items() if value is not None and not is_real(name, value)
        },
        timestamp=timestamp_of(tokens, one["ram"].index - 1),
    )


def timestamp_of(tokens: Sequence[str], start: int) -> str | None:
    """Date and time right before the token ``start``, as they stand there: they carry no time zone."""
    if start >= 2 and _DATE.fullmatch(tokens[start - 2]) and _TIME.fullmatch(tokens[start - 1]):
        return f"{tokens[start - 2]} {tokens[start - 1]}"
    return None


def read_memory(token: str) -> tuple[float, float] | None:
    """``896/7859MB`` as used and total MB of 10^6 bytes."""
    match = _MEMORY.match(token)
    return (int(match[1]) * MB_PER_MIB, int(match[2]) * MB_PER_MIB) if match else None


def read_cores(token: str) -> tuple[Core | None, ...] | None:
    """``[4%@2035,off]``, or ``[17%,13%]@408`` with one clock for all; None where a core cannot be read."""
    match = _CORES.fullmatch(token)
    if match is None:
        return None
    shared_mhz = int(match[2]) if match[2] else None
    cores: list[Core | None] = []
    for part in match[1].split(","):
        core = read_core(part, shared_mhz=shared_mhz)
        if core is None and part != OFF:
            return None
        cores.append(core)
    return tuple(cores)


def read_core(part: str, *, shared_mhz: int | None = None) -> Core | None:
    """``4%@2035`` or ``4%``; None for ``off`` and whatever else it is."""
    match = _CORE.fullmatch(part)
    return Core(util_pct=int(match[1]), freq_mhz=int(match[2]) if match[2] else shared_mhz) if match else None


def read_load(token: str) -> Load | None:
    """``99%@1134``, ``0%``, ``@3199``, ``40%@[305,305]``; None where the token is none of these."""
    match = _LOAD.fullmatch(token)
    if match is None or not token:
        return None
    util, clock, clocks = match.groups()
    mhz = [int(each) for each in (clock or clocks or "").split(",") if each]
    freq = next((each for each in mhz if each), mhz[0]) if mhz else None
    return Load(util_pct=int(util) if util is not None else None, freq_mhz=freq)


def read_temp(token: str) -> float | None:
    """``GPU@41C``, ``cpu@50.281C/50.281C`` (now and greatest so far); some locales write a comma."""
    match = _TEMP.fullmatch(token)
    return float(match[2].replace(",", ".")) if match else None


def read_rail(token: str) -> tuple[int, int | None] | None:
    """``3624/3624``, ``4950mW/4950mW``, ``6615mW/6615mW/6615mW``: the instantaneous mW, and the mean since the start.

    A line that was cut behind the first number's stroke still tells that number.
    """
    match = _RAIL.fullmatch(token)
    if match is None:
        return None
    return int(match[1]), int(match[2]) if match[2] else None


def is_real(zone: str, celsius: float) -> bool:
    """Whether a zone's value is a temperature: not the mark of one that is powered off, nor the PMIC's constant."""
    return celsius > _POWERED_OFF_C and not (zone.upper() == "PMIC" and celsius in _PMIC_CONSTANTS_C)


def is_rail(name: str) -> bool:
    """Whether a name with a pair of numbers is a rail that is connected."""
    return name != _NOT_CONNECTED


#: by the kind of field: the value in its token, None where the token holds none
READERS: Mapping[str, Callable[[str], Any]] = {
    "ram": read_memory,
    "swap": read_memory,
    "cores": read_cores,
    "emc": read_load,
    "gpu": read_load,
    "temp": read_temp,
    "rail": read_rail,
}
