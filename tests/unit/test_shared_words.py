"""The small modules that everyone shares: processes, lazy imports, units, atomic files, sizes."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from espdeploy import artifacts, lazy, shell, units
from espdeploy.errors import MissingCapability, ToolFailed, UsageError, nearest
from espdeploy.specs import ImageSize

PYTHON = sys.executable


def test_run_returns_both_streams() -> None:
    done = shell.run([PYTHON, "-c", "import sys; print('out'); print('err', file=sys.stderr)"], timeout_s=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, "out\n", "err\n")


def test_a_failing_tool_shows_its_last_lines() -> None:
    script = "import sys; [print(f'line {i}', file=sys.stderr) for i in range(9)]; sys.exit(3)"
    with pytest.raises(ToolFailed, match="exit code 3") as caught:
        shell.run([PYTHON, "-c", script], timeout_s=30)
    assert caught.value.why == "line 6 | line 7 | line 8"


def test_a_tool_that_is_not_there_is_missing() -> None:
    with pytest.raises(MissingCapability, match="no-such-tool"):
        shell.run(["no-such-tool-at-all"], timeout_s=5)


def test_an_argument_is_never_read_by_a_shell(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    nasty = f"$(touch {trap}); `touch {trap}`; touch '{trap}'"
    done = shell.run([PYTHON, "-c", "import sys; print(sys.argv[1])", nasty], timeout_s=30)
    assert done.stdout.strip() == nasty
    assert not trap.exists()


def test_a_tool_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(pid_file)!r}, 'w').write(str(child.pid))\n"
        "time.sleep(600)\n"
    )
    with pytest.raises(ToolFailed, match="did not end"):
        shell.run([PYTHON, "-c", script], timeout_s=2)
    child = int(pid_file.read_text())
    for _ in range(100):
        if not _alive(child):
            break
        time.sleep(0.05)
    assert not _alive(child)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_missing_package_names_the_extra() -> None:
    with pytest.raises(MissingCapability) as caught:
        lazy.require("espdeploy_no_such_package", extra="rtx")
    assert 'pip install "espdeploy[rtx]"' in caught.value.do


def test_a_broken_package_is_not_called_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "espdeploy_broken.py").write_text("import espdeploy_its_own_dependency")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MissingCapability, match="does not load"):
        lazy.require("espdeploy_broken", extra="cpu")


def test_sizes_are_width_by_height() -> None:
    size = ImageSize.parse("1024x512")
    assert (size.width, size.height, str(size)) == (1024, 512, "1024x512")
    for text in ("", "1024", "1024x", "x512", "0x512", "1024x00", "-3x5", "1e3x5", "3x4x5", "9999999x1"):
        with pytest.raises(UsageError, match="not a size"):
            ImageSize.parse(text)


def test_numbers_for_people() -> None:
    assert [units.significant(value) for value in (None, 0, 0.012345, 12.345, 999.9, 1234.5)] == [
        "–", "0", "0.0123", "12.3", "1,000", "1,234",
    ]  # fmt: skip
    assert [units.count(value) for value in (None, 364_569, 4_709_000_000, 1_335_320_100)] == [
        "–", "364,569", "4.71 G", "1.34 G",
    ]  # fmt: skip
    assert units.fp32_size_mb(364_569) == pytest.approx(1.458276)  # the paper's Table 2g prints 1.46 MB


def test_nearest_says_the_close_name_or_all_of_them() -> None:
    assert nearest("espnt", ["espnet", "enet"]) == 'did you mean "espnet"?'
    assert nearest("zzz", ["b", "a"]) == "known: a, b"


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    final = tmp_path / "deep" / "record.json"
    artifacts.write_atomic(final, b"old")
    with pytest.raises(KeyError), artifacts.atomic_path(final) as temporary:
        {}[temporary.write_bytes(b"half")]
    assert final.read_bytes() == b"old"
    assert list(final.parent.iterdir()) == [final]


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(MissingCapability, match="cannot write") as caught:
        artifacts.write_atomic(blocked / "below.json", b"x")
    assert caught.value.do


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    def fill(path: Path) -> None:
        path.write_bytes(b"half")
        with Path("/dev/full").open("wb", buffering=0) as full:
            full.write(b"x")

    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(MissingCapability, match="No space left"), artifacts.atomic_path(tmp_path / "a") as temporary:
        fill(temporary)
    assert list(tmp_path.iterdir()) == []


def test_sigkill_of_a_tool_is_a_failure_with_its_code() -> None:
    script = f"import os; os.kill(os.getpid(), {signal.SIGKILL})"
    with pytest.raises(ToolFailed, match="-9"):
        shell.run([PYTHON, "-c", script], timeout_s=30)


def test_names_are_near_whatever_their_case_and_few_are_listed() -> None:
    assert nearest("ESPNet", ["espnet", "enet"]) == 'did you mean "espnet"?'
    assert nearest("onnxRUNTIME", ["ONNXRuntime"]) == 'did you mean "ONNXRuntime"?'
    listed = nearest("?", [f"name{index:03d}" for index in range(100)])
    assert listed.endswith("name029 and 70 more")


def test_only_a_plain_file_is_replaced(tmp_path: Path) -> None:
    pipe, folder, file = tmp_path / "pipe", tmp_path / "folder", tmp_path / "file"
    os.mkfifo(pipe)
    folder.mkdir()
    file.write_text("old")
    for place in (pipe, folder, Path(), Path("/")):
        with pytest.raises(UsageError):
            artifacts.write_atomic(place, b"new")
    for place in (file / "inside", tmp_path / ("x" * 300)):
        with pytest.raises(MissingCapability, match="cannot write"):
            artifacts.check_replaceable(place)
    artifacts.check_replaceable(tmp_path / "not" / "there" / "yet")
    artifacts.write_atomic(file, b"new")
    assert file.read_bytes() == b"new"
    assert pipe.is_fifo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "pipe"]
