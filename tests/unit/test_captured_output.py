"""What libraries print stays off the user's terminal, whichever way they print it."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

from espdeploy import shell

PROGRAM = """
import ctypes, os, subprocess, sys
from espdeploy import shell
libc = ctypes.CDLL(None)
print("before")
with shell.captured_output() as printed:
    print("python"); print("error", file=sys.stderr)
    libc.puts(b"from C")
    os.write(1, b"raw\\n"); os.write(2, b"raw error\\n")
    subprocess.run(["echo", "child"], check=True)
    text = printed()
    print("late"); libc.puts(b"late from C")
print("after", all(word in text for word in ("python", "error", "from C", "raw", "raw error", "child")))
"""


def test_python_c_and_children_are_captured_in_a_real_process() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["before", "after True"]
    assert done.stderr == ""


def test_streams_that_a_test_or_notebook_replaced_are_captured(capsys: pytest.CaptureFixture[str]) -> None:
    with shell.captured_output() as printed:
        sys.stdout.write("python\n")
        os.write(1, b"raw\n")
        ctypes.CDLL(None).puts(b"from C")
        assert set(printed().splitlines()) == {"python", "raw", "from C"}
    sys.stdout.write("visible\n")
    assert capsys.readouterr().out == "visible\n"


def _fails_noisily() -> None:
    with shell.captured_output():
        os.write(1, b"lost\n")
        raise KeyError


def test_an_error_inside_passes_and_the_streams_come_back(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError):
        _fails_noisily()
    os.write(1, b"raw\n")
    assert capfd.readouterr().out == "raw\n"
