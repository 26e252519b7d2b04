"""Damage: cuts, noise, other files in the middle, gigantic fields. What is sound is read; nothing breaks or hangs."""

from __future__ import annotations

import io
import math
import random
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from espdeploy.profilers.metrics import standard
from espdeploy.profilers.ncu import ledger
from espdeploy.profilers.ncu.document import parse, recognise

HEAD = '"ID","Process ID","Process Name","Host Name","Kernel Name","Device","CC"'
CELLS = (("Duration", "us", "12.50"), ("Achieved Occupancy", "%", "74.45"), ("Grid", "", "1.491.586"))
DETAILS = HEAD + ',"Section Name","Metric Name","Metric Unit","Metric Value"\n' + "".join(
    f'"{at}","7","net","host","k{at % 3}<int, 4>(float *)","0","8.7","Speed","{name}","{unit}","{value}"\n'
    for at in range(6)
    for name, unit, value in CELLS
)  # fmt: skip
RAW = HEAD + ',"gpu__time_duration.sum","smsp__thread_inst_executed_per_inst_executed.ratio"\n' + (
    '"","","","","","","","ns",""\n'
    + "".join(f'"{at}","7","net","host","k{at % 3}","0","8.7","1,234,567","31.88"\n' for at in range(12))
)  # fmt: skip
TEXT = """[7] net@127.0.0.1
  k<int, 4>(float *) (9, 1, 1)x(64, 1, 1), Context 1, Stream 7, Device 0, CC 8.7, Invocations 4
    Section: Occupancy
    ------------------ ----------- ------- ------- -------
    Metric Name        Metric Unit Minimum Maximum Average
    ------------------ ----------- ------- ------- -------
    Duration                    us    1.00    3.00    2.00
    Achieved Occupancy           %   26.28   41.98   31.85
    ------------------ ----------- ------- ------- -------

==ERROR== LaunchFailed
"""
NOISE = [
    '"',
    ",",
    "\n",
    "\0",
    "\xff",
    "-----",
    "nan",
    "9" * 40,
    "(",
    "==ERROR== ",
    '","',
    "1.234",
    "\r",
    "[7] x@y\n",
    HEAD,
]


def mutated(source: random.Random, texts: list[str]) -> str:
    text = source.choice(texts)
    for _ in range(source.randint(1, 6)):
        at, kind = source.randrange(len(text) + 1), source.randrange(5)
        to = min(len(text), at + source.choice([1, 3, 30, 300]))
        if kind == 0:
            text = text[:at] + text[to:]
        elif kind == 1:
            text = text[:at] + source.choice(NOISE) + text[at:]
        elif kind == 2:
            text = text[:at] + text[at:to] * source.randint(2, 5) + text[to:]
        elif kind == 3:
            other = source.choice(texts)
            text = text[:at] + other[source.randrange(len(other)) :][:2000] + text[to:]
        else:
            text = text[:at] + "".join(chr(source.randrange(1, 300)) for _ in range(8)) + text[to:]
    return text


def assert_holds(text: str) -> None:
    """What holds for the profile of any text."""
    recognise(text[: 1 << 16])
    profile = parse(io.StringIO(text))
    told = [
        one for kernel in profile.kernels for one in (kernel.total_ms, kernel.mean_us, kernel.min_us, kernel.max_us)
    ]
    told += [one for reading in profile.readings for one in (reading.mean, reading.min, reading.max)]
    assert all(one is None or math.isfinite(one) for one in told)
    assert all(kernel.name and kernel.calls >= 0 for kernel in profile.kernels)
    assert 0 <= profile.skipped_lines <= text.count("\n") + 1
    for metric in standard(profile.readings, profile.kernels).values():
        assert metric.mean is None or math.isfinite(metric.mean)


def test_three_thousand_mutations() -> None:
    source = random.Random(7)  # noqa: S311 - the same texts in each run
    for _ in range(3000):
        assert_holds(mutated(source, [DETAILS, RAW, TEXT]))


@pytest.mark.data
def test_mutations_of_real_files(data_dir: Path) -> None:
    texts = [
        path.read_text(encoding="utf-8", errors="replace")[:9000]
        for path in sorted((data_dir / "logs" / "ncu").iterdir())
        if path.suffix != ".json" and "raw" not in path.name
    ]
    source = random.Random(11)  # noqa: S311 - the same texts in each run
    for _ in range(600):
        assert_holds(mutated(source, texts))


@pytest.mark.parametrize("text", [DETAILS, RAW, TEXT])
def test_a_file_cut_anywhere_keeps_what_is_whole(text: str) -> None:
    whole = parse(io.StringIO(text))
    calls = 0
    for at in range(0, len(text) + 1, 17):
        assert_holds(text[:at])
        found = sum(kernel.calls for kernel in parse(io.StringIO(text[:at])).kernels)
        assert calls <= found
        calls = found
    assert sum(kernel.calls for kernel in whole.kernels) >= calls > 0


def test_damaged_rows_are_counted_and_the_others_read() -> None:
    lines = RAW.splitlines(keepends=True)
    lines[4] = lines[4][:30] + "\n"  # the end is lost
    lines[6] = lines[6][10:]  # the beginning
    lines[8] = lines[8].replace('"31.88"', '"31.88","more","still more"')
    profile = parse(io.StringIO("".join(lines)))
    assert sum(kernel.calls for kernel in profile.kernels) == 12 - 3
    assert profile.skipped_lines == 3
    assert profile.kernels[0].mean_us == pytest.approx(1234.567)


@pytest.mark.parametrize(
    "text",
    [
        "x" * (3 << 20) + "\n" + DETAILS,
        DETAILS.replace("k0<", "k" * (2 << 20) + "<", 1),
        '"' * 300_000 + "\n" + DETAILS,
        DETAILS + '"' + "a" * 200_000,
        "  " + "(" * 19_000 + ", Context 1 invocations\n" + DETAILS,
        "  k (1, 1, 1)x(1, 1, 1)" + ", Aa 1" * 3000 + " !\n" + DETAILS,
        "- " * 9000 + "\n" + TEXT + DETAILS,
        '==PROF== Profiling "' + '"' * 15_000 + "\n" + DETAILS,
    ],
)
def test_gigantic_lines_neither_hang_nor_hide_the_rest(text: str) -> None:
    began = time.process_time()
    profile = parse(io.StringIO(text))
    assert time.process_time() - began < 20  # a hang, not a measurement: quadratic searches take minutes
    assert {kernel.name for kernel in profile.kernels} >= {"k1<int, 4>(float *)", "k2<int, 4>(float *)"}


class Endless(io.StringIO):
    """A raw page of many launches, made while it is read."""

    def __init__(self, lines: Iterator[str]) -> None:
        super().__init__()
        self._lines = lines

    def readline(self, _size: int | None = -1, /) -> str:
        return next(self._lines, "")


def raw_page(rows: int, *, kernels: int, counters: int = 40) -> Iterator[str]:
    names = ",".join(f'"sm__counter_{at}.sum"' for at in range(counters))
    yield f"{HEAD},{names}\n"
    yield '"","","","","","",""' + ',"byte"' * counters + "\n"
    values = ",".join(f'"{at}.500000"' for at in range(counters))
    for at in range(rows):
        yield f'"{at}","7","net","host","kernel {at % kernels}","0","8.7",{values}\n'


def peak_bytes(rows: int) -> int:
    tracemalloc.start()
    try:
        profile = parse(Endless(raw_page(rows, kernels=2)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [kernel.calls for kernel in profile.kernels] == [rows / 2, rows / 2]
    assert profile.readings[0].mean == 0.5
    return peak


def test_memory_does_not_grow_with_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "_MOST_WAITING", 10_000)
    monkeypatch.setattr(ledger, "_BATCH", 32)
    assert peak_bytes(800) < 1.2 * peak_bytes(200)


def test_memory_does_not_grow_with_the_kernels_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "_ROOM", 1_000_000)
    profile = parse(Endless(raw_page(300, kernels=300)))
    assert 0 < len(profile.kernels) < 200
    assert len(profile.readings) <= 5000
    assert any("left out" in note for note in profile.notes)
