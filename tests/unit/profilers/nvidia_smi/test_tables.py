"""Tables of nvidia-smi, real ones and those that its options and its wrappers make."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from espdeploy.profilers.nvidia_smi.document import parse, recognise

MIB = 1.048576


def read(text: str) -> dict[str, Any]:
    document = parse(io.StringIO(text))
    assert document is not None
    return document


@pytest.mark.data
def test_real_tables_say_the_same(data_dir: Path) -> None:
    folder = data_dir / "logs/nvsmi"
    if not folder.is_dir():
        pytest.skip(f"{data_dir} has no logs/nvsmi")
    names = [path.name.removesuffix(".expected.json") for path in folder.glob("*.expected.json")]
    assert len(names) >= 5
    for name in names:
        expected = json.loads((folder / f"{name}.expected.json").read_text())
        document = read((folder / name).read_text())
        assert document["samples"] == expected["data_rows"], name
        assert document["skipped_lines"] == 0, name
        gpus = document["gpus"]
        weights = [gpu["samples"] for gpu in gpus]
        for key, ours in (
            ("power.draw", "power_w"),
            ("power.draw [W]", "power_w"),
            ("utilization.gpu [%]", "util_pct"),
        ):
            if key in expected:
                means = [gpu[ours]["mean"] for gpu in gpus]
                mean = sum(m * w for m, w in zip(means, weights, strict=True)) / sum(weights)
                assert mean == pytest.approx(expected[key]["mean"], abs=6e-5), (name, key)
        if "power.draw" in expected:
            assert max(gpu["power_w"]["max"] for gpu in gpus) == expected["power.draw"]["max"]
    by_process = read((folder / "custom_iso_header_8gpu_xypp3.csv").read_text())
    assert [gpu["index"] for gpu in by_process["gpus"]] == list(range(8))
    broken = read((folder / "broken_embedded_newline_SII.csv").read_text())["gpus"]
    assert broken[0]["power_w"]["max"] == 79.05
    silent = read((folder / "na_cells.csv").read_text())["gpus"]
    assert silent[0]["power_w"] == {"mean": None, "max": None}


ROWS = (
    ("2026/01/03 15:36:53.507", "0", "NVIDIA A100, 80GB", "100.50", "50", "1410", "1000"),
    ("2026/01/03 15:36:53.509", "1", "NVIDIA A100, 80GB", "60.00", "0", "210", "4"),
    ("2026/01/03 15:36:54.507", "0", "NVIDIA A100, 80GB", "200.50", "100", "1400", "3000"),
    ("2026/01/03 15:36:54.509", "1", "NVIDIA A100, 80GB", "[Unknown Error]", "[N/A]", "[Not Supported]", "4"),
)
NAMES = (
    "timestamp",
    "index",
    "name",
    "power.draw [W]",
    "utilization.gpu [%]",
    "clocks.current.sm [MHz]",
    "memory.used [MiB]",
)
UNITS = ("", "", "", " W", " %", " MHz", " MiB")


def table(*, header: bool = True, units: bool = True, separator: str = ", ", end: str = "\n") -> str:
    lines = [separator.join(NAMES)] if header else []
    for row in ROWS:
        cells = [
            cell + unit if units and not cell.startswith("[") else cell for cell, unit in zip(row, UNITS, strict=True)
        ]
        lines.append(separator.join(cells))
    return "".join(line + end for line in lines)


@pytest.mark.parametrize(
    "text",
    [
        table(),
        table(units=False),
        table(separator=","),
        table(end="\r\n"),
        "\ufeff" + table(),
        table() + table().partition("\n")[0] + "\n",  # started again and stopped at once
    ],
    ids=["csv", "nounits", "no blanks", "CRLF", "BOM", "twice"],
)
def test_every_way_to_print_it(text: str) -> None:
    document = read(text)
    assert (document["samples"], document["skipped_lines"]) == (4, 0)
    first, second = document["gpus"]
    assert (first["index"], first["name"], first["samples"]) == (0, "NVIDIA A100, 80GB", 2)
    assert first["power_w"] == {"mean": 150.5, "max": 200.5}
    assert first["util_pct"] == {"mean": 75.0}
    assert first["sm_clock_mhz"] == {"mean": 1405.0}
    assert first["memory_used_mb"] == pytest.approx({"mean": 2000 * MIB, "max": 3000 * MIB})
    assert second["power_w"] == {"mean": 60.0, "max": 60.0}
    assert second["util_pct"] == {"mean": 0.0}
    assert second["sm_clock_mhz"] == {"mean": 210.0}


def test_without_a_header_the_units_tell() -> None:
    document = read("2026/01/03 15:36:53.507, GPU, 12 %, 33.09 W\n2026/01/03 15:36:54.507, GPU, 14 %, 35.09 W\n")
    (gpu,) = document["gpus"]
    assert (gpu["name"], gpu["power_w"]["mean"], gpu["util_pct"]["mean"]) == ("GPU", pytest.approx(34.09), 13.0)
    assert "no header" in document["notes"][0]


def test_two_gpus_that_nothing_tells_apart_are_said() -> None:
    text = "timestamp, power.draw [W]\n" + "2026/01/03 15:36:53.507, 30 W\n2026/01/03 15:36:53.507, 40 W\n" * 3
    assert "may be of several GPUs" in " ".join(read(text)["notes"])


def test_damaged_rows_are_counted() -> None:
    document = read(table() + '2026/01/03 15:36:55, 0\ngarbage\n"never closed, 5\n' + "x" * 200_000 + "\n" + table())
    assert document["samples"] == 8
    assert document["skipped_lines"] >= 3


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (
            "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that\n",
            "no_driver",
        ),
        ("Failed to initialize NVML: Driver/library version mismatch\n", "driver_mismatch"),
        ("Failed to initialize NVML: Unknown Error\n", "no_nvml"),
        ("No devices were found\n", "no_gpu"),
        ('Field "power.drawn" is not a valid field to query.\n', "unknown_field"),
    ],
)
def test_failures_of_the_tool_are_read_too(text: str, code: str) -> None:
    document = read(text)
    assert (document["samples"], document["gpus"]) == (0, [])
    assert [error["code"] for error in document["errors"]] == [code]
    assert document["errors"][0]["do"]


@pytest.mark.parametrize("text", ["", "a,b,c\n1,2,3\n", "name,age\nBob,3\n", "hello\n", "5 W\n" * 0, "RAM 1/2MB\n"])
def test_other_texts_are_not_taken_for_a_table(text: str) -> None:
    assert recognise(text) is None
    assert parse(io.StringIO(text)) is None


def test_what_no_row_tells_is_null_and_said() -> None:
    document = read("name, power.draw [W], utilization.gpu [%]\nNVIDIA X, [N/A], 34 %\n")
    assert document["gpus"][0]["power_w"]["mean"] is None
    assert "no row tells power, the SM clock: not asked for, or not available on this GPU" in document["notes"]
