"""A tool's lines arrive while it runs, from both streams, and whoever follows them may stop it."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from espdeploy import shell
from espdeploy.errors import MissingCapability, ToolFailed

PYTHON = sys.executable


def test_lines_of_both_streams_arrive_while_the_tool_runs(tmp_path: Path) -> None:
    """The tool waits for a file that only its follower writes: were lines held back, it would wait for ever."""
    seen = tmp_path / "seen"
    script = (
        "import pathlib, sys, time\n"
        "print('first'); sys.stdout.flush()\n"
        f"while not pathlib.Path({str(seen)!r}).exists(): time.sleep(0.01)\n"
        "print('warning', file=sys.stderr); sys.stderr.flush(); print('last', end='')\n"
    )
    lines: list[str] = []

    def follow(line: str) -> None:
        lines.append(line)
        seen.touch()

    done = shell.run([PYTHON, "-c", script], timeout_s=30, on_line=follow)
    assert lines[0] == "first"
    assert sorted(lines[1:]) == ["last", "warning"]
    assert (done.stdout, done.stderr) == ("first\nlast", "warning\n")


def test_a_follower_that_raises_ends_the_tool_and_its_error_is_the_callers(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = (
        "import os, time\n"
        f"open({str(pid_file)!r}, 'w').write(str(os.getpid()))\n"
        "print('bad news', flush=True); time.sleep(600)\n"
    )

    def follow(line: str) -> None:
        raise KeyError(line)

    began = time.monotonic()
    with pytest.raises(KeyError, match="bad news"):
        shell.run([PYTHON, "-c", script], timeout_s=300, on_line=follow)
    assert time.monotonic() - began < 60
    assert not Path(f"/proc/{pid_file.read_text()}").exists()


def test_bytes_split_anywhere_make_the_same_text() -> None:
    """Characters of several bytes, Windows line ends and damaged bytes, written one byte at a time."""
    raw = "größe\r\nmenü\r\n".encode() + b"\xff end"
    script = f"import os, sys, time\nfor byte in {raw!r}:\n    os.write(1, bytes([byte])); time.sleep(0.001)\n"
    lines: list[str] = []
    done = shell.run([PYTHON, "-c", script], timeout_s=60, on_line=lines.append)
    assert lines == ["größe", "menü", "� end"]
    assert done.stdout == "größe\nmenü\n� end"


def test_much_output_on_both_streams_blocks_nothing() -> None:
    script = "import sys\nfor i in range(20000): print('o' * 100); print('e' * 100, file=sys.stderr)"
    lines: list[str] = []
    done = shell.run([PYTHON, "-c", script], timeout_s=60, on_line=lines.append)
    assert len(lines) == 40_000
    assert len(done.stdout) == len(done.stderr) == 20_000 * 101


def test_a_child_that_outlives_the_tool_neither_holds_it_up_nor_stays() -> None:
    script = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid)\n"
    )
    began = time.monotonic()
    done = shell.run([PYTHON, "-c", script], timeout_s=300)
    assert time.monotonic() - began < 60
    child = Path(f"/proc/{done.stdout.strip()}/stat")
    while child.exists() and ") Z " not in child.read_text():
        assert time.monotonic() - began < 60
        time.sleep(0.01)


def test_a_tool_that_closes_its_streams_and_hangs_is_ended() -> None:
    script = "import os, time\nos.close(1); os.close(2); time.sleep(600)"
    with pytest.raises(ToolFailed, match="did not end within 1 s"):
        shell.run([PYTHON, "-c", script], timeout_s=1)


def test_a_program_for_another_machine_cannot_be_started(tmp_path: Path) -> None:
    foreign = tmp_path / "tool"
    foreign.write_bytes(b"\x7fELF" + b"\0" * 60)
    foreign.chmod(0o755)
    with pytest.raises(MissingCapability, match=r"cannot start .*tool: Exec format error"):
        shell.run([str(foreign)], timeout_s=5)
