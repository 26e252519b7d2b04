"""A process that runs beside us: its lines, its death, and that it never outlives us."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from espdeploy.child import Child
from espdeploy.errors import MissingCapability

PYTHON = sys.executable
FOREVER = "import time; time.sleep(600)"


def until(condition: Callable[[], object], within_s: float = 30.0) -> None:
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s, "it never came"
        time.sleep(0.01)


def ignore(line: str) -> None:
    """For children whose lines do not matter."""


def is_gone(pid: int) -> bool:
    """Whether no such process runs; a zombie that nobody has reaped yet does not run."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_lines_of_both_streams_arrive_while_it_runs() -> None:
    lines: list[str] = []
    script = (
        "import os, time\nos.write(1, b'one\\r\\ntw'); os.write(2, 'ö\\n'.encode())\n"
        "os.write(1, b'cut'); time.sleep(600)"
    )
    with Child.start([PYTHON, "-c", script], on_line=lines.append) as child:
        until(lambda: len(lines) == 2)
        assert child.alive
    assert lines == ["one", "twö"]  # what has no line end is no line
    assert child.returncode == -signal.SIGTERM


def test_the_environment_is_added_to_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", "1")
    lines: list[str] = []
    script = "import os; print(os.environ['OURS'], os.environ['LC_ALL'])"
    with Child.start([PYTHON, "-c", script], on_line=lines.append, env={"LC_ALL": "C"}):
        until(lambda: lines)
    assert lines == ["1 C"]


def test_the_exit_code_and_the_last_lines_are_kept() -> None:
    child = Child.start([PYTHON, "-c", "print('a'); print('b'); raise SystemExit(7)"], on_line=ignore)
    until(lambda: not child.alive)
    assert child.returncode == 7
    child.stop()
    assert (child.returncode, child.tail) == (7, ("a", "b"))
    child.stop()


def test_one_that_does_not_listen_is_killed_with_its_children() -> None:
    lines: list[str] = []
    script = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print(subprocess.Popen([sys.executable, '-c', 'import signal, time; signal.signal(15, signal.SIG_IGN);"
        " print(0, flush=True); time.sleep(600)']).pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    child = Child.start([PYTHON, "-c", script], on_line=lines.append)
    until(lambda: len(lines) == 2)
    child.stop(timeout_s=0.1)
    assert child.returncode == -signal.SIGKILL
    until(lambda: is_gone(max(map(int, lines))))


def test_what_it_started_ends_even_when_it_ended_first() -> None:
    lines: list[str] = []
    script = (
        "import subprocess, sys\nprint(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).pid)"
    )
    child = Child.start([PYTHON, "-c", script], on_line=lines.append)
    until(lambda: lines and not child.alive)
    assert not is_gone(int(lines[0]))
    child.stop()
    until(lambda: is_gone(int(lines[0])))


def test_a_flood_does_not_grow_memory() -> None:
    """200 MB in lines, and 200 MB in one line, pass through; only the last lines stay."""
    script = (
        "import os\nline = b'x' * 999 + b'\\n'\n"
        "for _ in range(2000): os.write(1, line * 100)\n"
        "for _ in range(200): os.write(1, b'y' * 1_000_000)\n"
        "os.write(1, b'\\nend\\n')\n"
    )
    lengths: dict[int, int] = {}
    last: list[str] = [""]

    def count(line: str) -> None:
        lengths[len(line)] = lengths.get(len(line), 0) + 1
        last[0] = line

    with Child.start([PYTHON, "-c", script], on_line=count) as child:
        until(lambda: last[0] == "end", within_s=120)
        assert lengths == {999: 200_000, 1 << 16: 1, 3: 1}
        assert sum(map(len, child.tail)) < 10_000


def test_a_follower_that_raises_ends_it() -> None:
    def follow(line: str) -> None:
        raise KeyError(line)

    child = Child.start([PYTHON, "-c", f"print('bad news', flush=True); {FOREVER}"], on_line=follow)
    until(lambda: not child.alive)
    assert isinstance(child.failure, KeyError)
    child.stop()


def test_one_that_closes_its_output_is_still_watched() -> None:
    child = Child.start([PYTHON, "-c", f"import os; os.close(1); os.close(2); {FOREVER}"], on_line=ignore)
    time.sleep(0.2)
    assert child.alive
    child.stop()
    assert not child.alive


@pytest.mark.parametrize("content", [None, "no program\n", "#!/no/such/interpreter\n"])
def test_what_cannot_be_started(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "tool"
    if content is not None:
        path.write_text(content)
        path.chmod(0o755)
    with pytest.raises(MissingCapability, match=r"cannot start .*tool: ") as caught:
        Child.start([str(path)], on_line=ignore)
    assert "install" in caught.value.do


OWNER = """
import os, sys, threading, time
from espdeploy.child import Child
lines = []
def start():
    script = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    started.append(Child.start([sys.executable, "-c", script], on_line=lines.append))
started = []
thread = threading.Thread(target=start); thread.start(); thread.join()
while not lines: time.sleep(0.01)
time.sleep(0.5)
assert started[0].alive  # the thread that asked for it is gone, and it lives
print(lines[0], flush=True)
if sys.argv[1] == "exit": sys.exit()
if sys.argv[1] == "fork":
    if os.fork() == 0: sys.exit()
    os.wait(); assert started[0].alive
    sys.exit()
time.sleep(600)
"""


@pytest.mark.parametrize("end", ["exit", "fork", "SIGTERM", "SIGKILL"])
def test_it_never_outlives_us(end: str) -> None:
    with subprocess.Popen([PYTHON, "-c", OWNER, end], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        if end.startswith("SIG"):
            owner.send_signal(signal.Signals[end])
        assert owner.wait(30) == {"SIGTERM": -15, "SIGKILL": -9}.get(end, 0)
    until(lambda: is_gone(pid))


def test_reading_costs_are_told() -> None:
    script = "for k in range(100_000): print(k)"
    lines = [0]

    def count(line: str) -> None:
        lines[0] += 1

    with Child.start([PYTHON, "-c", script], on_line=count) as child:
        until(lambda: lines[0] == 100_000)
        until(lambda: not child.alive)
    assert 0 < child.cpu_ns < 60e9
