"""The lock of a build, between real processes: one works, the others wait, and a dead one holds nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from espdeploy.errors import MissingCapability
from espdeploy.pipeline.building.build_lock import Owner, building, holder, lock_path
from espdeploy.protocols import no_progress

#: takes the lock, says so, and goes on when its standard input tells it to
HOLD = """
import sys
from pathlib import Path
from espdeploy.pipeline.building.build_lock import building
with building(Path(sys.argv[1]), lambda *_: None):
    print("held", flush=True)
    sys.stdin.readline()
"""
#: as `build` does it: look in the cache, take the lock, look again, and only then work
BUILD = """
import sys, time
from pathlib import Path
from espdeploy.pipeline.building.build_lock import building
engine, log = Path(sys.argv[1]), Path(sys.argv[2])
if not engine.exists():
    with building(engine, lambda *_: None) as waited:
        if not (waited and engine.exists()):
            with log.open("a") as stream:
                stream.write("built\\n")
            time.sleep(0.3)
            engine.write_text("engine")
"""


class Told:
    """A progress that remembers what it was told."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, done: int, total: int | None, text: str) -> None:
        del done, total
        self.texts.append(text)


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "net.engine"


@pytest.fixture
def other(engine: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until a line is written to it."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(engine)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout, process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_who_builds_is_told_while_it_lasts_and_nothing_stays(engine: Path) -> None:
    assert holder(engine) is None
    with building(engine, no_progress) as waited:
        assert waited is False
        assert holder(engine) == Owner(pid=os.getpid(), host=socket.gethostname())
    assert holder(engine) is None
    assert list(engine.parent.iterdir()) == []


def test_engines_of_other_names_are_built_beside_it(engine: Path, other: subprocess.Popen[str]) -> None:
    assert other.poll() is None
    with building(engine.with_name("second.engine"), no_progress) as waited:
        assert waited is False


def test_a_second_process_waits_and_says_for_whom(engine: Path, other: subprocess.Popen[str]) -> None:
    assert holder(engine) == Owner(pid=other.pid, host=socket.gethostname())
    told = Told()

    def progress(done: int, total: int | None, text: str) -> None:
        told(done, total, text)
        if len(told.texts) == 3 and other.stdin is not None:
            other.stdin.write("\n")
            other.stdin.flush()

    with building(engine, progress) as waited:
        assert waited is True
        assert other.wait(timeout=30) == 0
    assert len(told.texts) >= 3
    assert all(f"waiting for process {other.pid}" in text for text in told.texts)
    # what changes stands behind a comma, so that a log has one line of it
    assert len({text.partition(", ")[0] for text in told.texts}) == 1


def test_a_killed_holder_is_taken_over_at_once(engine: Path, other: subprocess.Popen[str]) -> None:
    other.send_signal(signal.SIGKILL)
    other.wait(timeout=30)
    assert lock_path(engine).exists()  # it could not tidy up
    assert holder(engine) is None
    with building(engine, no_progress, timeout_s=0) as waited:
        assert waited is False
        assert holder(engine) == Owner(pid=os.getpid(), host=socket.gethostname())
    assert not lock_path(engine).exists()


def test_a_holder_killed_while_another_waits(engine: Path, other: subprocess.Popen[str]) -> None:
    told = Told()

    def progress(done: int, total: int | None, text: str) -> None:
        told(done, total, text)
        os.kill(other.pid, signal.SIGKILL)

    with building(engine, progress, timeout_s=60) as waited:
        assert waited is True
    assert told.texts


def test_waiting_ends_with_an_error_that_names_the_process(engine: Path, other: subprocess.Popen[str]) -> None:
    with (
        pytest.raises(MissingCapability, match=f"process {other.pid}") as raised,
        building(engine, no_progress, timeout_s=0.2),
    ):
        pass
    assert f"kill {other.pid}" in raised.value.do
    assert holder(engine) == Owner(pid=other.pid, host=socket.gethostname())  # the other one is not disturbed


def test_an_error_inside_frees_the_lock(engine: Path) -> None:
    with pytest.raises(ValueError, match="a build that failed"), building(engine, no_progress):
        raise ValueError("a build that failed")
    assert not lock_path(engine).exists()


def test_what_lies_in_a_lock_file_is_not_trusted(engine: Path) -> None:
    engine.parent.mkdir()
    for content in (b"", b"\x00\xff", b'{"pid": "x"}', b'{"pid": 1, "host": "elsewhere"}'):
        lock_path(engine).write_bytes(content)
        assert holder(engine) is None
        with building(engine, no_progress, timeout_s=0) as waited:
            assert waited is False


def test_of_many_processes_one_works(tmp_path: Path) -> None:
    engine, log = tmp_path / "net.engine", tmp_path / "log"
    argv = [sys.executable, "-c", BUILD, str(engine), str(log)]
    processes = [subprocess.Popen(argv) for _ in range(5)]
    assert [process.wait(timeout=60) for process in processes] == [0] * 5
    assert log.read_text() == "built\n"
    assert sorted(item.name for item in tmp_path.iterdir()) == ["log", "net.engine"]


def test_a_place_that_cannot_be_written_is_told_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MissingCapability, match="cannot write"), building(tmp_path / "file" / "x.engine", no_progress):
        pytest.fail("the block must not run")


def test_the_cache_has_its_own_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ESPDEPLOY_CACHE", str(tmp_path / "file"))
    with pytest.raises(MissingCapability) as raised, building(tmp_path / "file" / "x.engine", no_progress):
        pass
    assert "ESPDEPLOY_CACHE" in raised.value.do
