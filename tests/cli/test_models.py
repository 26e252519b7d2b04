"""`espdeploy models`: the table, a network with its parts and the papers' figures, and ONNX files."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from espdeploy.networks.registry import REGISTRY
from tests.cli.conftest import Run, assert_contract_error


def on_a_terminal(arguments: list[str], columns: int) -> str:
    """What a command draws on a real terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 60, columns, 0, 0))
    environment = {**os.environ, "NO_COLOR": "1", "TERM": "xterm"}
    environment.pop("COLUMNS", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "espdeploy", *arguments], stdout=theirs, stderr=subprocess.DEVNULL, env=environment
    )
    os.close(theirs)
    drawn = bytearray()
    with contextlib.suppress(OSError):  # Linux's way to say that the other end is closed
        while piece := os.read(ours, 65536):
            drawn += piece
    os.close(ours)
    assert process.wait(timeout=60) == 0
    return re.sub(r"\x1b\[[0-9;]*m", "", drawn.decode())


@pytest.mark.parametrize("command", [["models"], ["weights", "list"]])
def test_the_tables_fit_120_columns_with_one_line_a_row(command: list[str]) -> None:
    lines = [line.rstrip() for line in on_a_terminal(command, 120).splitlines()]
    assert all(len(line) <= 120 for line in lines)
    rows = [line for line in lines if line.strip()]
    names = [line.split()[0] for line in rows[2:]]  # after the head and its rule
    if command == ["models"]:
        assert names == list(REGISTRY)
    else:
        known = [item.name for network in REGISTRY.values() for item in network.checkpoints]
        assert [f"{name}.pth" for name in names] == known


def test_the_table_shows_the_papers_accuracy_and_what_is_read(run: Run) -> None:
    shown = {line.split()[0]: line for line in run("models").out.splitlines() if line.strip()}
    assert "60.3 mIOU Cityscapes test" in shown["espnet"]  # ESPNet paper, Table 4a
    assert "3 of 4" in shown["espnet"]
    assert "62.1 mIOU Cityscapes test" in shown["espnetv2-seg"]  # ESPNetv2 paper, Figure 7c
    assert "66.1 top-1 ImageNet val" in shown["espnetv2"]  # Table 2
    assert shown["erfnet"].split()[2:8] == ["2.07", "M", "8.27", "26.6", "G", "1024x512"]


def test_the_list_carries_both_figures_and_the_reason(run: Run) -> None:
    zoo = {item["name"]: item for item in run("models", "--json").document}
    row = next(row for row in zoo["espnet-a"]["published"] if row["settings"] == {"alpha3": 3})
    assert row["printed"] == {"params": 183_000, "macs": None}
    assert row["counted"]["params"] == 168_352
    assert row["difference_pct"]["params"] == pytest.approx(-8.004, abs=1e-3)
    assert row["difference_pct"]["macs"] is None
    assert "Figure 4a" in row["reason"]
    for item in zoo.values():
        for row in item["published"]:
            over = [value for value in row["difference_pct"].values() if value is not None and abs(value) > 1]
            assert bool(over) == (row["reason"] is not None), (item["name"], row)
            counted = [row["counted"][key] is not None for key, value in row["printed"].items() if value is not None]
            assert all(counted), (item["name"], row)


def test_a_network_has_its_parts(run: Run) -> None:
    pytest.importorskip("torch")
    one = run("models", "espnet", "--json").document
    assert one["layers"] is None
    assert "multiply-adds" in one["counts"]
    assert sum(kind["params"] for kind in one["kinds"]) == one["params"] == 364_569
    assert sum(kind["macs"] for kind in one["kinds"]) == one["macs"]
    detailed = run("models", "espnet", "--layers", "--json").document
    assert sum(layer["params"] for layer in detailed["layers"]) == one["params"]
    assert sum(layer["macs"] for layer in detailed["layers"]) == one["macs"]
    first = detailed["layers"][0]
    assert first["kind"] == "Conv2d"
    assert first["params"] == 3 * 16 * 9
    assert first["macs"] == 3 * 16 * 9 * 512 * 256


def test_another_size_is_counted_anew(run: Run) -> None:
    pytest.importorskip("torch")
    small = run("models", "espnetv2", "--set", "scale=0.5", "--size", "160x160", "--json").document
    assert small["input_size"] == [160, 160]
    assert small["params"] == 1_241_332
    assert small["macs"] < 29_399_508
    assert_contract_error(run("models", "espnet", "--size", "100x64"), 2, "96x64")


def test_without_torch_a_note_says_what_is_missing(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from espdeploy.cli.main import main\n"
        "sys.exit(main(['models', 'espnet', '--json']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert '"kinds": null' in done.stdout
    assert "torch is not installed" in done.stdout


def test_an_onnx_file_is_counted(run: Run, small_onnx: Path) -> None:
    one = run("models", small_onnx, "--json", "--layers").document
    assert one["name"] == "espnet-c"
    assert one["input_size"] == [64, 48]
    fresh = run("models", "espnet-c", "--set", "alpha3=1", "--size", "64x48", "--json").document
    assert one["macs"] == fresh["macs"]
    assert sum(layer["macs"] for layer in one["layers"]) == one["macs"]
    assert sum(kind["params"] for kind in one["kinds"]) == one["params"]
    assert "normalisation" in one["counts"]
    assert "64x48" in run("models", small_onnx).out
    assert_contract_error(run("models", small_onnx, "--size", "32x32"), 2, "64x48")
    assert_contract_error(run("models", small_onnx, "--set", "alpha3=2"), 2, "--set")


def test_files_that_are_none_and_options_without_a_name(run: Run, tmp_path: Path) -> None:
    assert_contract_error(run("models", "missing.onnx"), 2, "missing.onnx")
    (tmp_path / "page.onnx").write_text("<html></html>")
    assert_contract_error(run("models", "page.onnx"), 2, "page.onnx")
    assert_contract_error(run("models", "--layers"), 2, "--layers")
    assert_contract_error(run("models", "--size", "64x48"), 2, "--size")
