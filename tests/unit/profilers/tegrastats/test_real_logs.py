"""Logs of real boards against what others read off them, line by line and without a unit turned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from espdeploy.profilers.tegrastats.document import parse
from espdeploy.readings.tegrastats import read_line

pytestmark = pytest.mark.data
MIB = 1024 * 1024 / 1e6
BOARDS = {
    "agxorin": "orin-agx",
    "agxorin64": "orin-agx",
    "driveorin": "orin-agx",  # the same chip; its log holds no rail that would tell more
    "nano": "nano",
    "orinnano": "orin-nano",
    "thor": "thor",
    "tx1": "tx1",
    "tx2": "tx2",
    "xavieragx": "xavier-agx",
    "xaviernx": "xavier-nx",
}


@pytest.fixture
def folder(data_dir: Path) -> Path:
    path = data_dir / "logs/tegrastats"
    if not path.is_dir():
        pytest.skip(f"{data_dir} has no logs/tegrastats")
    return path


def read(path: Path) -> dict[str, Any]:
    with path.open() as stream:
        document = parse(stream)
    assert document is not None, path.name
    return document


def expected_of(folder: Path) -> dict[str, dict[str, Any]]:
    return {
        path.name.removesuffix(".expected.json"): json.loads(path.read_text())
        for path in sorted(folder.glob("*.expected.json"))
    }


def test_every_log_says_the_same(folder: Path) -> None:
    checked = expected_of(folder)
    assert len(checked) >= 20
    for name, expected in checked.items():
        document = read(folder / name)
        assert document["samples"] == expected["samples"], name
        assert document["samples"] + document["skipped_lines"] == expected["lines_in_file"], name
        if not expected["samples"]:
            continue
        gpu, ram = document["gpu"], document["ram_mb"]
        assert gpu["util_pct"]["mean"] == near(expected["gpu_util_mean_pct"]), name
        assert gpu["util_pct"]["max"] == expected["gpu_util_max_pct"], name
        assert gpu["freq_mhz"]["mean"] == near(expected["gpu_freq_mhz_mean"]), name
        # the expectation holds the tool's own "MB", which are MiB; ours are 10^6 bytes
        assert ram["used_max"] == near(expected["ram_used_max_mb"] * MIB), name
        assert ram["total"] == near(expected["ram_total_mb"] * MIB), name
        assert document["rails_mw"].keys() == expected["rails"].keys(), name
        for rail, facts in expected["rails"].items():
            assert document["rails_mw"][rail]["mean"] == near(facts["mean_current_mw"]), (name, rail)
            assert document["rails_mw"][rail]["max"] == facts["max_current_mw"], (name, rail)
        # the expectation keeps the PMIC's zone, which reads 50 or 100 on every board at any load: it is no temperature
        assert document["temps_c"].keys() == expected["temps_first_c"].keys() - {"PMIC"}, name
        # cut at the end of its first line, the fixture of a test in Python names no rail and no zone
        board = None if name.endswith(".py.txt") else BOARDS[name.partition("_")[0]]
        assert document["device_hint"] in (board, f"{board} or orin-nx"), name


def near(value: float | None) -> object:
    """Equal up to the four decimals of the expectations."""
    return None if value is None else pytest.approx(value, abs=6e-5)


def test_the_first_sample_of_every_log_says_the_same(folder: Path) -> None:
    for name, expected in expected_of(folder).items():
        if not expected["samples"]:
            continue
        lines = (folder / name).read_text().splitlines()
        first, *_ = [sample for sample in map(read_line, lines) if sample is not None]
        temps = {**first.temps_c, **first.temps_left_out}
        assert temps == expected["temps_first_c"], name
        assert first.rails_mw == {rail: facts["first_mw"] for rail, facts in expected["rails"].items()}, name
        assert first.ram_used_mb == pytest.approx(expected["ram_used_first_mb"] * MIB), name
        if "cpu_cores_listed" in expected:
            assert first.cores is not None, name
            assert len(first.cores) == expected["cpu_cores_listed"], name
            assert sum(core is None for core in first.cores) == expected["cpu_cores_off_first"], name


def codes(document: dict[str, Any]) -> list[str]:
    return [finding["code"] for finding in document["findings"]]


def test_what_is_strange_in_them_is_said(folder: Path) -> None:
    swapped = read(folder / "nano_jp4_10w_swapped_labels_aiblox.txt")
    assert codes(swapped) == ["rail_labels_swapped"]
    assert "POM_5V_GPU reads 8791 mW" in swapped["findings"][0]["text"]
    three_runs = read(folder / "tx2_jp3_vdd_cpu_gpu_guesswho798.log")  # all means start over in lines 28 and 421
    assert codes(three_runs) == ["several_runs"]
    assert "3 times" in three_runs["findings"][0]["text"]
    paused = read(folder / "orinnano_jp6_vlmV5_jfdg01.log")  # its clock jumps by five minutes there
    assert codes(paused) == ["several_runs"]
    for name in ("agxorin64_jp6_Abdel-E.txt", "orinnano_super_jp6_hokwangchoi.raw", "tx2_jp4_vdd_sys_ssaraff98.txt"):
        assert codes(read(folder / name)) == [], name
    assert "no power rails" in " ".join(read(folder / "tx1_l4t28_hordiales.txt")["notes"])


def test_a_fragment_is_no_sample(folder: Path) -> None:
    document = read(folder / "xavieragx_jp5_mW_rust_test.txt")
    assert (document["samples"], document["skipped_lines"]) == (0, 1)
    assert document["gpu"]["util_pct"]["mean"] is None
    assert document["rails_mw"] == {}
