"""What tegrastats could print comes back as it was, and no damage to its lines does more than lose readings."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espdeploy.profilers.nvidia_smi import document as nvidia_smi
from espdeploy.profilers.tegrastats.document import parse
from espdeploy.readings.tegrastats import Core, TegraSample, read_line

MIB = 1024 * 1024 / 1e6


@dataclass(frozen=True, kw_only=True)
class Board:
    """How a board prints: its rails, its zones, and the spelling of its release."""

    rails: tuple[str, ...]
    zones: tuple[str, ...]
    pair: str = "{now}/{mean}"
    load: str = "GR3D_FREQ {util}%@{freq}"
    zone: str = "{name}@{value}C"
    swap: bool = True
    timestamp: bool = False


BOARDS = (
    Board(rails=("VDD_SYS_GPU", "VDD_4V0_WIFI", "VDD_IN"), zones=("PLL", "GPU", "Tdiode")),
    Board(rails=("GPU", "CPU", "SYS5V"), zones=("AO", "GPU", "CPU"), pair="{now}mW/{mean}mW"),
    Board(
        rails=("VDD_GPU_SOC", "VDDQ_VDD2_1V8AO"),
        zones=("cpu", "soc2", "soc0"),
        pair="{now}mW/{mean}mW/{now}mW",
        load="GR3D_FREQ {util}%@[{freq},0]",
        zone="{name}@{value}C/99.5C",
        swap=False,
        timestamp=True,
    ),
    Board(rails=("VDD_GPU", "VIN"), zones=("tj", "soc012"), pair="{now}mW/{mean}mW", load="GR3D_FREQ @[{freq},{freq}]"),
    Board(rails=(), zones=(), load="GR3D {util}%@{freq}"),
    Board(rails=("POM_5V_IN",), zones=("thermal",), load=""),
)
CORES = st.lists(
    st.none() | st.builds(Core, util_pct=st.integers(0, 100), freq_mhz=st.none() | st.integers(1, 4000)),
    min_size=1,
    max_size=14,
).map(tuple)


@st.composite
def printed(draw: st.DrawFn, board: Board | None = None) -> tuple[str, TegraSample]:
    """A line, and what it says."""
    board = board or draw(st.sampled_from(BOARDS))
    used, total, swap = (draw(st.integers(0, 131_072)) for _ in range(3))
    cores = draw(CORES)
    util, freq = draw(st.integers(0, 100)), draw(st.integers(1, 2000))
    rails = {name: draw(st.integers(-500, 90_000)) for name in board.rails}
    temps = {name: draw(st.integers(-40_000, 110_000)) / 1000 for name in board.zones}
    load = board.load.format(util=util, freq=freq)
    tokens = [
        f"RAM {used}/{total}MB (lfb {draw(st.integers(0, 99))}x4MB)",
        *([f"SWAP {swap}/{total}MB (cached 0MB)"] if board.swap else []),
        f"CPU [{','.join(spelled(core) for core in cores)}]",
    ]
    others = [
        *([load] if load else []),
        "NVENC off",
        "APE 150",
        "MTS fg 0% bg 1%",
        *(board.zone.format(name=name, value=f"{value:g}") for name, value in temps.items()),
        *(f"{name} {board.pair.format(now=now, mean=now + 1)}" for name, now in rails.items()),
    ]
    stamp = "10-26-2025 05:10:54" if board.timestamp else None
    line = " ".join([*([stamp] if stamp else []), *tokens, *draw(st.permutations(others))])
    return line, TegraSample(
        ram_used_mb=used * MIB,
        ram_total_mb=total * MIB,
        swap_used_mb=swap * MIB if board.swap else None,
        cores=cores,
        gpu_util_pct=util if "{util}" in board.load else None,
        gpu_freq_mhz=freq if load else None,
        rails_mw=rails,
        temps_c={name: float(f"{value:g}") for name, value in temps.items()},
        timestamp=stamp,
    )


def spelled(core: Core | None) -> str:
    if core is None:
        return "off"
    return f"{core.util_pct}%" + ("" if core.freq_mhz is None else f"@{core.freq_mhz}")


@given(printed())
def test_what_is_printed_is_read(case: tuple[str, TegraSample]) -> None:
    line, sample = case
    assert read_line(line) == sample


@given(st.lists(printed(), min_size=1, max_size=12))
def test_a_log_adds_its_lines_up(cases: list[tuple[str, TegraSample]]) -> None:
    document = parse(io.StringIO("".join(f"{line}\n" for line, _ in cases)))
    assert document is not None
    agrees(document, [sample for _, sample in cases])


def agrees(document: dict[str, Any], samples: list[TegraSample]) -> None:
    assert document["samples"] == len(samples)
    assert document["ram_mb"]["used_mean"] == close([sample.ram_used_mb for sample in samples])
    assert document["gpu"]["util_pct"]["mean"] == close([sample.gpu_util_pct for sample in samples])
    assert document["gpu"]["freq_mhz"]["mean"] == close([sample.gpu_freq_mhz for sample in samples])
    assert document["cpu"]["util_pct"]["mean"] == close([sample.cpu_util_pct for sample in samples])
    for key in ("rails_mw", "temps_c"):
        names = {name for sample in samples for name in getattr(sample, key)}
        assert document[key].keys() == names
        for name in names:
            values = [getattr(sample, key).get(name) for sample in samples]
            assert document[key][name]["mean"] == close(values), name
            assert document[key][name]["max"] == max(value for value in values if value is not None)


def close(values: list[Any]) -> object:
    """Their mean; None where none is known."""
    known = [value for value in values if value is not None]
    return pytest.approx(sum(known) / len(known), abs=1e-6) if known else None


@given(st.data())
def test_damage_to_digits_is_read_alike_one_by_one_and_all_at_once(data: st.DataObject) -> None:
    """Lines of one shape are read by columns: each must be taken for what it is alone."""
    board = data.draw(st.sampled_from(BOARDS))
    line, _ = data.draw(printed(board))
    places = [at for at, char in enumerate(line) if char.isdigit() or char in ".-"]
    lines = []
    for _ in range(data.draw(st.integers(2, 6))):
        text = list(line)
        for at in data.draw(st.lists(st.sampled_from(places), max_size=4)):
            text[at] = data.draw(st.sampled_from([*"0123456789.-", ""]))
        lines.append("".join(text))
    samples = [sample for sample in map(read_line, lines) if sample is not None]
    document = parse(io.StringIO("".join(f"{each}\n" for each in lines)))
    if document is not None:
        agrees(document, samples)


NOISE = st.text(
    st.sampled_from(list('0123456789%@[],/CMBmWoffGPUVDD_IN-. \t\r\n"\x1b\x00é€')) | st.characters(), max_size=9
)


@given(st.lists(printed(), min_size=1, max_size=4), st.data())
def test_no_damage_makes_it_fail(cases: list[tuple[str, TegraSample]], data: st.DataObject) -> None:
    text = "".join(f"{line}\n" for line, _ in cases)
    for _ in range(data.draw(st.integers(0, 5))):
        begin = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(begin, min(begin + 40, len(text))))
        text = text[:begin] + data.draw(NOISE) + text[end:]
    for line in text.split("\n"):
        read_line(line)
    document = parse(io.StringIO(text))
    if document is not None:
        assert document["samples"] + document["skipped_lines"] <= 2 * (text.count("\n") + 1) + text.count("RAM")
        assert all(tally["mean"] is not None for tally in document["rails_mw"].values())
    nvidia_smi.parse(io.StringIO("index, power.draw [W]\n" + text.replace("@", ", ")))
