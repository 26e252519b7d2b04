"""Logs as they come in the wild: wrapped, cut, mixed with other output, of boards and locales of all kinds."""

from __future__ import annotations

import io
import re
import tracemalloc
from typing import Any

import pytest

from espdeploy.profilers.tegrastats.document import parse, recognise


def line(k: int = 0, *, mean: int | None = None) -> str:
    """A TX2's line; power grows by 10 mW per line, and its mean since line 0 with it."""
    now = 5000 + 10 * k
    return (
        f"RAM {2000 + k}/7859MB (lfb 26x4MB) SWAP 0/3929MB (cached 0MB) CPU [{k % 100}%@2035,off,off,20%@2035] "
        f"EMC_FREQ 7%@1600 GR3D_FREQ {k % 100}%@1134 APE 150 MTS fg 0% bg 0% PLL@34.5C PMIC@100C GPU@{30 + k % 10}C "
        f"Tboard@-256C VDD_SYS_GPU 1500/1500 VDD_IN {now}/{(5000 + now) // 2 if mean is None else mean}"
    )


def read(text: str) -> dict[str, Any]:
    document = parse(io.StringIO(text))
    assert document is not None
    return document


def codes(document: dict[str, Any]) -> list[str]:
    return [finding["code"] for finding in document["findings"]]


def without(document: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in keys}


def test_what_a_log_adds_up_to() -> None:
    document = read("".join(f"{line(k)}\n" for k in range(11)))
    assert document["kind"] == "tegrastats"
    assert (document["samples"], document["skipped_lines"], document["device_hint"]) == (11, 0, "tx2")
    assert document["gpu"] == {"util_pct": {"mean": 5, "max": 10}, "freq_mhz": {"mean": 1134, "max": 1134}}
    assert document["cpu"] == {"util_pct": {"mean": 12.5}, "cores_online": {"mean": 2}}
    mib = 1.048576
    assert document["ram_mb"] == pytest.approx({"used_mean": 2005 * mib, "used_max": 2010 * mib, "total": 7859 * mib})
    assert document["rails_mw"] == {
        "VDD_SYS_GPU": {"mean": 1500, "max": 1500},
        "VDD_IN": {"mean": 5050, "max": 5100},
    }
    assert document["temps_c"].keys() == {"PLL", "GPU"}
    assert document["temps_c"]["PLL"] == {"mean": 34.5, "max": 34.5}
    notes = " ".join(document["notes"])
    assert "PMIC (100 C) is left out" in notes
    assert "Tboard (-256 C) is left out" in notes
    assert codes(document) == []


def test_samples_broken_by_a_terminal_or_a_document_are_put_together_again() -> None:
    whole = read("".join(f"{line(k)}\n" for k in range(6)))
    for width in (40, 61, 80, 81, 100, 133):  # at blanks, inside numbers, brackets and names
        pieces = "".join(
            "".join(f"{line(k)[at : at + width]}\n" for at in range(0, len(line(k)), width)) for k in range(6)
        )
        broken = read(pieces)
        assert without(broken, "notes") == without(whole, "notes"), width
        assert "6 samples were put together" in " ".join(broken["notes"])
    at_blanks = read("".join(re.sub(r"(.{60,90}) ", r"\1\n", line(k)) + "\n" for k in range(6)))
    assert without(at_blanks, "notes") == without(whole, "notes")


def test_samples_broken_at_the_edge_of_what_is_read_at_once_are_put_together_too() -> None:
    count = 3000  # several pieces of 256 KiB
    text = "".join(re.sub(r"(.{100}) ", r"\1\n", line(k % 90)) + "\n" for k in range(count))
    document = read(text)
    assert (document["samples"], document["skipped_lines"]) == (count, 0)
    assert f"{count} samples were put together" in " ".join(document["notes"])


def test_other_output_between_the_samples_is_counted_and_passed_over() -> None:
    text = (
        "Tue Jan 26 18:22:31 UTC 2021\n"
        f"nvidia@tegra:~$ sudo tegrastats\n[sudo] password for nvidia:\n{line(0)}\r\n\r\n"
        f"\x1b[32m{line(1)}\x1b[0m\n[  12.3] iwlwifi 0000:01:00.0: Unhandled alg: 0x707\n"
        f"nvidia@tegra:~$ {line(2)}\n^C\n"
    )
    document = read(text)
    assert (document["samples"], document["skipped_lines"]) == (3, 5)
    assert document["rails_mw"]["VDD_IN"] == {"mean": 5010, "max": 5020}
    assert document["gpu"]["util_pct"] == {"mean": 1, "max": 2}


def test_two_writers_in_one_file_lose_only_what_they_broke() -> None:
    cut = line(1)[:70]
    text = f"{line(0)}\n{cut}{line(2)}\n{line(3)}{line(4)}\n{line(5)[200:]}\n{line(6)}\n"
    document = read(text)
    assert document["samples"] == 6  # the cut one tells its memory
    assert document["skipped_lines"] == 1  # and line 5 nothing
    assert document["rails_mw"]["VDD_IN"]["mean"] == pytest.approx(5000 + 10 * (0 + 2 + 3 + 4 + 6) / 5)


@pytest.mark.parametrize("end", range(1, 330, 7))
def test_a_last_line_that_was_cut_gives_what_is_whole_and_nothing_else(end: int) -> None:
    """Whatever it still tells is what the whole line tells: half a number is none."""
    whole, document = read(f"{line(0)}\n"), read(f"{line(0)}\n{line(0)[:end]}")
    for key in ("gpu", "rails_mw", "temps_c", "ram_mb"):
        assert document[key] == whole[key], end
    assert document["samples"] + document["skipped_lines"] <= 2


def test_other_locales_write_commas() -> None:
    document = read(line(3).replace("34.5C", "34,5C") + "\n")
    assert document["temps_c"]["PLL"]["mean"] == 34.5


def test_rails_that_are_not_connected_negative_and_named_twice() -> None:
    text = "RAM 1/2MB (lfb 1x4MB) CPU [1%@729] VDD_GPU {}mW/{}mW NC 0mW/0mW NC 0mW/0mW VIN 9000mW/9000mW\n"
    document = read("".join(text.format(power, power) for power in (-392, 40)))
    assert document["rails_mw"] == {"VDD_GPU": {"mean": -176, "max": 40}, "VIN": {"mean": 9000, "max": 9000}}
    assert codes(document) == ["negative_power"]
    assert "NC (0 mW) is left out" in " ".join(document["notes"])


def test_a_mean_that_starts_over_is_another_run() -> None:
    runs = [[line(k, mean=mean) for k, mean in ((0, 5000), (9, 5045), (18, 5090))] for _ in range(3)]
    document = read("".join(f"{each}\n" for run in runs for each in run))
    assert codes(document) == ["several_runs"]
    assert "3 times" in document["findings"][0]["text"]


def test_lines_that_come_twice_are_noticed() -> None:
    document = read("".join(f"{line(k)}\n" * 2 for k in range(20)))
    assert codes(document) == ["repeated_lines"]
    assert document["samples"] == 40


def test_names_that_change_while_the_digits_alone_differ() -> None:
    """soc0 and soc2 are one shape: the columns must not be mixed up."""
    text = "RAM 1/2MB (lfb 1x4MB) CPU [1%@729] soc{}@{}C soc{}@{}C tj@5C V{} 7/7 V{} 9/9\n"
    document = read(text.format(0, 10, 2, 20, 1, 2) * 3 + text.format(2, 20, 0, 10, 2, 1) * 3)
    assert document["temps_c"]["soc0"] == {"mean": 10, "max": 10}
    assert document["temps_c"]["soc2"] == {"mean": 20, "max": 20}
    assert document["rails_mw"] == {"V1": {"mean": 8, "max": 9}, "V2": {"mean": 8, "max": 9}}


def test_a_damaged_first_line_does_not_hide_a_reading_in_the_others() -> None:
    damaged = line(0).replace("GR3D_FREQ 0%", "GR3D_FREQ 999%")
    document = read(f"{damaged}\n" + "".join(f"{line(k)}\n" for k in range(10, 20)))
    assert document["gpu"]["util_pct"] == {"mean": 14.5, "max": 19}
    assert document["samples"] == 11


@pytest.mark.parametrize(
    "text",
    ["", "hello\n", "DRAM 1/2MB (lfb 3x4MB)", '{"RAM": 5}', "RAM: 5/10 MB used", "VDD_IN 5/5", "\x00\xff" * 50],
)
def test_other_texts_are_not_taken_for_a_log(text: str) -> None:
    assert recognise(text) is None
    assert parse(io.StringIO(text)) is None


@pytest.mark.parametrize(
    "filler",
    [
        "x" * 3_000_000,
        "RAM " * 700_000,
        "VDD_IN 1/1 " * 300_000,
        "CPU [" + "1%@5," * 500_000,
        "\x1b[" * 500_000,
        "\n".join(f"RAM {k}/9MB (lfb 1x4MB) R{k} 1/1 Z{k}@1C" for k in range(5000)),
        "\n".join(
            f"RAM 5/9MB (lfb 1x4MB) {chr(65 + k % 26)}{chr(97 + k // 26 % 26)}x{'q' * (k % 300)} 1/1"
            for k in range(9000)
        ),
    ],
)
def test_memory_stays_bounded_whatever_stands_between_the_samples(filler: str) -> None:
    text = f"{line(0)}\n{filler}\n{line(1)}\n"
    stream = io.StringIO(text)
    tracemalloc.start()
    document = parse(stream)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert document is not None
    assert document["rails_mw"]["VDD_IN"]["max"] >= 5010
    assert len(document["rails_mw"]) <= 256
    assert peak_bytes < 30e6


def test_a_load_that_a_part_of_the_samples_tells_is_said_to_be_theirs() -> None:
    """A log whose second run alone had root: a mean over a part must not pass for one over all."""
    text = "".join(f"{line(k).replace(f'GR3D_FREQ {k}%@1134 ', '') if k < 4 else line(k)}\n" for k in range(10))
    document = read(text)
    assert document["gpu"]["util_pct"]["mean"] == pytest.approx((4 + 5 + 6 + 7 + 8 + 9) / 6)
    assert any(note.startswith("6 of 10 samples tell the GPU's load") for note in document["notes"])
    assert not any("samples tell" in note for note in read("".join(f"{line(k)}\n" for k in range(4)))["notes"])
