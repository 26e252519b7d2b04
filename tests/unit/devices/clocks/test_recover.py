"""What a dead espdeploy left: put back once, by the next one, and only what a journal of ours may name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from espdeploy.devices.clocks import recover
from espdeploy.devices.clocks.journal import Journal
from espdeploy.devices.clocks.locks import MachineLock
from espdeploy.errors import EspdeployError, InputFileError, MissingCapability

BOOT = "proc/sys/kernel/random/boot_id"

#: changes mode and clock, says so, and holds them until a line comes
HOLD = """
import sys
from pathlib import Path
from espdeploy import recipes
from espdeploy.devices.clocks import clock_session
root, journal = Path(sys.argv[1]), Path(sys.argv[2])
with clock_session(recipes.device_profile("tx2"), root=root, journal=journal) as session:
    session.set_power_mode("MAXN")
    session.lock_gpu(1300.5)
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def fresh(boards: ModuleType, tmp_path: Path) -> dict[str, str]:
    """What the board is before anybody touches it."""
    boards.make_tx2(tmp_path / "fresh")
    found: dict[str, str] = boards.state(tmp_path / "fresh")
    return found


@pytest.fixture
def holding(tx2: Any) -> Iterator[subprocess.Popen[str]]:
    """An espdeploy that holds the board's clocks, in what its stand-in calls its first boot."""
    (tx2.root / BOOT).parent.mkdir(parents=True)
    (tx2.root / BOOT).write_text("first\n")
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tx2.root), str(tx2.journal)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


#: dies with a child that has its lock for a moment more, as one that is just being started has
LEAVE_A_CHILD = HOLD.replace("sys.stdin.readline()", "")
LEAVE_A_CHILD = LEAVE_A_CHILD.replace(
    'print("held", flush=True)',
    """
    import os, time
    if os.fork() == 0:
        time.sleep(0.5)
        os._exit(0)
    os.kill(os.getpid(), 9)
""".strip(),
)


def begin(tx2: Any, **options: Any) -> None:
    with tx2.session(**options):
        pass


def entry_of(tx2: Any) -> dict[str, Any]:
    """What the journal holds while the GPU is locked; the clocks are back, and it is gone, when this returns."""
    with tx2.session() as session:
        session.lock_gpu(318.75)
        (path,) = tx2.journals()
        return {"path": path, "content": json.loads(path.read_text())}


def test_one_at_a_time_and_the_other_is_named(tx2: Any, tmp_path: Path, holding: Any) -> None:
    held = tx2.state()
    for folder in (tx2.journal, tmp_path / "another user's"):  # the board itself is locked too
        with pytest.raises(MissingCapability, match=f"process {holding.pid} holds the clocks") as caught:
            begin(tx2, journal=folder)
        assert f"kill {holding.pid}" in caught.value.do
    assert recover(tx2.journal, root=tx2.root) == []
    assert tx2.state() == held
    holding.kill()
    holding.wait()
    assert recover(tx2.journal, root=tmp_path / "another machine") == []
    assert tx2.state() == held


def test_after_a_sigkill_the_next_one_puts_back_mode_and_clocks(tx2: Any, fresh: dict[str, str], holding: Any) -> None:
    holding.kill()
    holding.wait()
    said = recover(tx2.journal, root=tx2.root)
    assert tx2.state() == fresh
    assert f"process {holding.pid}" in said[0]
    assert "power mode MAXN (0) -> MAXP_CORE_ARM (3)" in said
    assert recover(tx2.journal, root=tx2.root) == []
    assert tx2.journals() == []


def test_a_child_that_the_dead_one_left_is_waited_for(tx2: Any, fresh: dict[str, str]) -> None:
    done = subprocess.run([sys.executable, "-c", LEAVE_A_CHILD, str(tx2.root), str(tx2.journal)], check=False)
    assert done.returncode == -9
    assert tx2.state() != fresh
    assert recover(tx2.journal, root=tx2.root)[1:]
    assert tx2.state() == fresh


def test_a_new_session_puts_back_first_what_is_left(tx2: Any, fresh: dict[str, str], holding: Any) -> None:
    holding.kill()
    holding.wait()
    with tx2.session() as session:
        assert tx2.state() == fresh
        session.lock_gpu(318.75)
    assert tx2.state() == fresh


def test_after_a_reboot_the_power_mode_alone_is_put_back(tx2: Any, holding: Any) -> None:
    holding.kill()
    holding.wait()
    (tx2.root / BOOT).write_text("second\n")
    said = recover(tx2.journal, root=tx2.root)
    assert said[1:] == ["power mode MAXN (0) -> MAXP_CORE_ARM (3)"]
    # the limit that a user had set below the mode's in the first boot; nvpmodel alone sets it in this one
    assert tx2.state()["sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq"] == "2035200"


def interrupted_while_nvpmodel_refuses(tx2: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with tx2.session() as session:
        session.set_power_mode("MAXN")
        session.lock_gpu(318.75)
        monkeypatch.setenv("NVPMODEL_FAULT", "denied")
        raise KeyboardInterrupt


def test_what_cannot_be_put_back_is_told_with_the_command_and_kept(
    tx2: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = tx2.state()
    with pytest.raises(EspdeployError, match="the clocks are NOT as they were") as caught:
        interrupted_while_nvpmodel_refuses(tx2, monkeypatch)
    assert isinstance(caught.value.__cause__, KeyboardInterrupt)
    assert caught.value.do == "sudo sh -c 'nvpmodel -m 3'"
    assert "sudo sh -c 'nvpmodel -m 3'" in caplog.text  # said even where the interruption is all that is shown
    assert tx2.text("max_freq") == "1120000000"  # the rest is back all the same
    (told,) = recover(tx2.journal, root=tx2.root)
    assert told.startswith("NOT put back")
    assert told.endswith("by hand: sudo sh -c 'nvpmodel -m 3'")
    with pytest.raises(MissingCapability, match="NOT as they were"):
        begin(tx2)
    monkeypatch.delenv("NVPMODEL_FAULT")
    assert recover(tx2.journal, root=tx2.root)
    assert tx2.state() == before


def lose_a_file(tx2: Any, kept: Path) -> None:
    with tx2.session() as session:
        session.lock_gpu(318.75)
        tx2.path("min_freq").rename(kept)
        tx2.path("min_freq").mkdir()  # nothing can be written there


def test_the_command_by_hand_repairs(tx2: Any, tmp_path: Path) -> None:
    before = tx2.state()
    with pytest.raises(EspdeployError, match="NOT as they were") as caught:
        lose_a_file(tx2, tmp_path / "min_freq")
    tx2.path("min_freq").rmdir()
    (tmp_path / "min_freq").rename(tx2.path("min_freq"))
    assert tx2.state() != before
    subprocess.run(["sh", "-c", caught.value.do.removeprefix("sudo ")], check=True)
    assert tx2.state() == before


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/etc/passwd", "root"),
        ("/sys/../etc/max_freq", "1"),
        ("/sys/power/state", "mem"),
        ("/sys/devices/x/max_freq", "1; reboot"),
        ("/sys/devices/x/max_freq\n/etc/x", "1"),
    ],
)
def test_a_journal_writes_clocks_and_nothing_else(tx2: Any, path: str, value: str) -> None:
    """Root reads it, and a user may have written it."""
    entry = entry_of(tx2)
    entry["content"]["before"]["files"][path] = value
    entry["path"].write_text(json.dumps(entry["content"]))
    before = tx2.state()
    (told,) = recover(tx2.journal, root=tx2.root)
    assert told.startswith("NOT put back: the clock journal")
    assert f"rm {entry['path']}" in told
    assert tx2.state() == before
    assert not (tx2.root / "etc/passwd").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": 1}', "\x00" * 100])
def test_a_damaged_journal_is_no_crash(tx2: Any, content: str) -> None:
    entry_of(tx2)["path"].write_text(content)
    assert recover(tx2.journal, root=tx2.root)[0].startswith("NOT put back: the clock journal")
    with pytest.raises(InputFileError, match="cannot be used"):
        begin(tx2)


@pytest.mark.parametrize("same", [True, False])
def test_a_living_process_is_told_from_a_later_one_of_its_number(tx2: Any, same: bool) -> None:
    """Where the file system knows no locks. The process is the parent of this one."""
    entry = entry_of(tx2)
    stat = Path(f"/proc/{os.getppid()}/stat").read_text()
    started = int(stat.rpartition(")")[2].split()[19])
    entry["content"]["owner"].update(pid=os.getppid(), started_ticks=started if same else started - 1)
    entry["path"].write_text(json.dumps(entry["content"]))
    tx2.path("max_freq").write_text("318750000\n")
    assert bool(recover(tx2.journal, root=tx2.root)) is not same
    assert tx2.text("max_freq") == ("318750000" if same else "1120000000")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user: run as root")
def test_a_journal_of_root_that_a_user_may_not_read() -> None:
    """While root's espdeploy is at work it is nobody's business; once that is dead, only root can help."""
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        folder = Path(name)
        folder.chmod(0o755)
        journal = Journal(folder, Path("/"))
        journal.path.write_text("{}")
        journal.path.chmod(0o600)
        lock = MachineLock()
        assert lock.take(journal.lock_path, None)
        os.seteuid(65534)
        try:
            at_work = recover(folder)
            lock.free()
            dead = recover(folder)
        finally:
            os.seteuid(0)
    assert at_work == []
    assert dead == [f"NOT put back: may not read the clock journal {journal.path}; sudo espdeploy doctor does"]


def test_without_a_journals_folder_nothing_is_changed(tx2: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    before = tx2.state()
    with pytest.raises(MissingCapability, match="cannot write the clock journal's folder"):
        begin(tx2, journal=tmp_path / "file/journal")
    assert tx2.state() == before
    assert recover(tmp_path / "nothing here", root=tx2.root) == []
