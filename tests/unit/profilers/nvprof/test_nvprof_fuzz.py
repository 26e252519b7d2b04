"""Summaries of any figures, units and names come back as they were; damage of any form never breaks the reader."""

from __future__ import annotations

import io
import math
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espdeploy.profilers.nvprof.document import HEAD_CHARS, parse, recognise
from espdeploy.profilers.values import Profile

US = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}
units = st.sampled_from(sorted(US))
names = (
    st.text(st.characters(min_codepoint=32, max_codepoint=0x24F, exclude_characters="\x7f\x85\xa0\xad"), min_size=1)
    .map(str.strip)
    .filter(lambda name: name and not name.startswith("[") and "== " not in name)
)
rows = st.tuples(
    st.integers(1, 10**9),
    *(st.integers(0, 10**12) for _ in range(3)),  # total, least and greatest, as millionths of the column's unit
)


@given(st.dictionaries(names, rows, min_size=1, max_size=6), st.tuples(units, units, units), st.booleans())
def test_a_summary_comes_back(kernels: dict[str, tuple[int, ...]], at: tuple[str, ...], typed: bool) -> None:
    head = '"Time(%)","Time","Calls","Avg","Min","Max","Name"'
    above = f"%,{at[0]},,us,{at[1]},{at[2]},"
    lines = [f'"Type",{head}' if typed else head, f",{above}" if typed else above]
    for name, (calls, *figures) in kernels.items():
        total, least, most = (f"{value / 1e6:.6f}" for value in figures)
        cells = f'1.000000,{total},{calls},1.000000,{least},{most},"{name}"'
        lines.append(f'"GPU activities",{cells}' if typed else cells)
    profile = parse(io.StringIO("\n".join(["==1== Profiling result:", *lines, ""])))
    assert profile.skipped_lines == 0
    assert {one.name: one.calls for one in profile.kernels} == {name: row[0] for name, row in kernels.items()}
    for one in profile.kernels:
        _, total, least, most = kernels[one.name]
        assert one.total_ms == pytest.approx(total / 1e6 * US[at[0]] / 1e3)
        assert (one.min_us, one.max_us) == (
            pytest.approx(least / 1e6 * US[at[1]]),
            pytest.approx(most / 1e6 * US[at[2]]),
        )
    totals = [one.total_ms or 0 for one in profile.kernels]
    assert totals == sorted(totals, reverse=True)


def sound(profile: Profile) -> None:
    """What must hold of any profile: it can be written as JSON, and counts are counts."""
    assert profile.kind == "nvprof"
    assert profile.skipped_lines >= 0
    for one in (*profile.kernels, *profile.memops):
        figures = (one.total_ms, one.mean_us, one.min_us, one.max_us)
        assert one.name
        assert one.calls >= 0
        assert all(value is None or (math.isfinite(value) and value >= 0) for value in figures)
    for reading in profile.readings:
        values = (reading.mean, reading.min, reading.max)
        assert all(value is None or math.isfinite(value) for value in values)
    for error in profile.errors:
        assert error.code
        assert error.do


def mutated(text: str, draw: random.Random) -> str:
    """Cut, doubled, swapped, or with pieces replaced by what hurts parsers."""
    hurt = (
        "\0",
        '"',
        '""',
        ",",
        "\n",
        "\r\n",
        "==5== ",
        "======== ",
        "<OVERFLOW>",
        "inf",
        "-1e308",
        "9" * 400,
        "\ufeff",
    )
    hurt += (
        "[",
        "]",
        "  ",
        "\t",
        "%",
        "GB/s",
        ' (3 instances)"',
        "Device",
        "\ud800",
        "1e999",
        "nan",
        "-",
        "Range:",
        "٣",
    )
    for _ in range(draw.randrange(1, 5)):
        start = draw.randrange(len(text) + 1)
        end = min(len(text), start + draw.choice((0, 1, 3, 40, 900)))
        kind = draw.randrange(4)
        piece = (draw.choice(hurt), "", text[start:end] * 2, draw.choice(hurt) * 3)[kind]
        text = text[:start] + piece + text[end:]
    return text[: draw.randrange(len(text) + 1)] if draw.randrange(4) == 0 else text


FORMS = {path.stem: path.read_text() for path in sorted(Path(__file__).with_name("forms").iterdir())}


@pytest.mark.parametrize("form", sorted(FORMS))
def test_each_form_is_read_whole(form: str) -> None:
    profile = parse(io.StringIO(FORMS[form]))
    assert profile.skipped_lines == 0
    assert profile.kernels or profile.memops or profile.errors
    assert recognise(FORMS[form]) is not None


def test_mutations_of_every_form() -> None:
    draw = random.Random(20)  # noqa: S311 - damage, the same in every run
    forms = list(FORMS.values())
    for _ in range(3000):
        text = mutated(draw.choice(forms) + draw.choice(forms), draw)
        sound(parse(io.StringIO(text)))
        recognise(text)


def test_bytes_of_any_kind() -> None:
    draw = random.Random(21)  # noqa: S311 - damage, the same in every run
    for size in (1, 30, 1000, 70_000):
        text = draw.randbytes(size).decode("utf-8", errors="replace")
        assert recognise(text) is None
        profile = parse(io.StringIO(text))
        assert (profile.kernels, profile.readings, profile.errors) == ((), (), ())


def test_blanks_and_brackets_without_end_take_no_time() -> None:
    """Each would take minutes in a grammar that looks back."""
    for filling in (" " * 900_000 + "x", "a  " * 300_000, "[ " * 400_000 + "]", '",' * 400_000, '"' * 900_000):
        for form in FORMS.values():
            sound(parse(io.StringIO(form + filling + "\n" + form)))


@pytest.mark.data
def test_real_files_cut_and_mutated(data_dir: Path) -> None:
    draw = random.Random(22)  # noqa: S311 - damage, the same in every run
    paths = sorted(path for path in (data_dir / "logs" / "nvprof").iterdir() if path.suffix != ".json")
    texts = [path.read_text(errors="replace")[:30_000] for path in paths]
    for _ in range(400):
        text = mutated(draw.choice(texts), draw)
        recognise(text[:HEAD_CHARS])
        sound(parse(io.StringIO(text)))
