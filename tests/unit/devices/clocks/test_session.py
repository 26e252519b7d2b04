"""Clocks set on a TX2's files: what is written, what is refused before anything is, and what is put back."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espdeploy import recipes
from espdeploy.devices.clocks import check_clocks, clock_session, plan_steps, resolve_frequencies
from espdeploy.devices.clocks.sysfiles import Range
from espdeploy.errors import EspdeployError, MissingCapability, ToolFailed, UsageError

NOBODY = 65534


class Meddling:
    """A clock in whose pauses something happens to the board."""

    def __init__(self, happens: Callable[[], object]) -> None:
        self._happens = happens

    def now_ns(self) -> int:
        return 0

    def sleep_s(self, seconds: float) -> None:
        del seconds
        self._happens()


def refused(kind: type[EspdeployError], what: str, ask: Callable[[], object]) -> EspdeployError:
    with pytest.raises(kind, match=what) as caught:
        ask()
    return caught.value


def test_a_lock_holds_both_limits_and_all_is_put_back(boards: ModuleType, tx2: Any) -> None:
    before = tx2.state()
    with tx2.session() as session:
        assert session.steps_mhz == tuple(int(hz) / 1e6 for hz in boards.STEPS_HZ.split())
        assert tx2.journals() == []  # nothing is changed yet
        assert session.lock_gpu(824.0).text == "requested 824 -> 854.25 MHz"
        assert tx2.limits() == (854_250_000, 854_250_000)
        assert len(tx2.journals()) == 1
        session.lock_gpu(1122.0)
        session.lock_gpu(114.75)
        assert tx2.limits() == (114_750_000, 114_750_000)
        tx2.path("cur_freq").write_text("114750000\n")
        assert session.gpu_mhz() == 114.75
        assert tx2.text("governor") == "nvhost_podgov"
    assert tx2.state() == before
    assert tx2.journals() == []


@given(
    st.lists(st.integers(0, 50), min_size=2, max_size=2).map(sorted),
    st.lists(st.integers(0, 50), min_size=2, max_size=2).map(sorted),
)
def test_no_write_asks_for_a_lower_limit_above_the_upper_one(now: list[int], wanted: list[int]) -> None:
    limit = Range(folder=Path("/sys"))
    held = {limit.low: now[0], limit.high: now[1]}
    for path, value in limit.order_from(now[1], low=wanted[0], high=wanted[1]):
        held[path] = value
        assert held[limit.low] <= held[limit.high]
    assert held == {limit.low: wanted[0], limit.high: wanted[1]}


def test_a_clock_that_does_not_stay_is_found_out(tx2: Any) -> None:
    before = tx2.state()
    service = Meddling(lambda: tx2.path("max_freq").write_text("1120000000\n"))
    with tx2.session(clock=service) as session:
        what = "max_freq reads 1120000000 where 624750000 was written"
        refused(ToolFailed, what, lambda: session.lock_gpu(624.75))
    assert tx2.state() == before


def test_a_power_mode_is_set_first_and_lifts_the_limit(tx2: Any) -> None:
    before = tx2.state()
    with tx2.session() as session:
        limit = r"the limit of power mode MAXP_CORE_ARM \(3\)"
        error = refused(UsageError, limit, lambda: session.lock_gpu(1300.5))
        assert error.do == "--power-mode MAXN, or --freq 1122 or lower"
        assert tx2.state() == before
        assert tx2.journals() == []
        mode = session.set_power_mode("maxn")
        assert (mode.id, mode.name, mode.cores_online) == (0, "MAXN", 6)
        assert session.lock_gpu(1300).set_mhz == 1300.5
        low = session.set_power_mode("1")
        assert (low.name, low.cores_online) == ("MAXQ", 4)
        refused(UsageError, "MAXQ", lambda: session.lock_gpu(930.75))
    assert tx2.state() == before  # the cores' own limits too, which a user had set below the mode's


def test_the_mode_that_is_active_is_not_set_again(tx2: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVPMODEL_FAULT", "reboot")  # some boards ask for one even then
    with tx2.session() as session:
        assert session.set_power_mode("MAXP_CORE_ARM").id == 3


@pytest.mark.parametrize(
    ("fault", "what", "do"),
    [
        ("reboot", r"power mode MAXN \(0\) needs a reboot", "sudo nvpmodel -m 0, answer YES"),
        ("denied", r"may not set power mode MAXN \(0\)", "run the same command as root: sudo"),
        ("silent", "does not tell which power mode is active", "sudo "),
        ("nothing", r"mode MAXP_CORE_ARM \(3\) is active", "sudo nvpmodel -m 0 by hand"),
    ],
)
def test_power_modes_that_cannot_be_set(
    tx2: Any, monkeypatch: pytest.MonkeyPatch, fault: str, what: str, do: str
) -> None:
    monkeypatch.setenv("NVPMODEL_FAULT", fault)
    before = tx2.state()
    kind = ToolFailed if fault == "nothing" else MissingCapability
    with tx2.session() as session:
        error = refused(kind, what, lambda: session.set_power_mode("MAXN"))
    assert error.do.startswith(do)
    assert tx2.state() == before
    assert not (tx2.root / "rebooted").exists()


def test_an_unknown_mode_names_the_nearest(tx2: Any) -> None:
    with tx2.session() as session:
        what = 'no power mode is called "MAXP_CORE_ARN"'
        error = refused(UsageError, what, lambda: session.set_power_mode("MAXP_CORE_ARN"))
    assert 'did you mean "MAXP_CORE_ARM"' in error.why


def test_a_limit_that_somebody_else_set_is_not_lifted(tx2: Any) -> None:
    tx2.path("max_freq").write_text("624750000\n")
    with tx2.session() as session:
        error = refused(UsageError, r"above 624\.75 MHz, the limit of .*/max_freq", lambda: session.lock_gpu(854.25))
        assert error.do.startswith(f"echo 1300500000 | sudo tee {tx2.path('max_freq')}, or --freq 624.75")
        session.lock_gpu(318.75)
        assert session.lock_gpu(624.75).set_mhz == 624.75  # our own lock is no limit


def ended_by(tx2: Any, end: Callable[[], object]) -> None:
    with tx2.session() as session:
        session.lock_gpu(318.75)
        end()


def raising(error: BaseException) -> Callable[[], object]:
    def end() -> object:
        raise error

    return end


@pytest.mark.parametrize("error", [RuntimeError("broke"), KeyboardInterrupt()])
def test_an_exception_puts_all_back(tx2: Any, error: BaseException) -> None:
    before = tx2.state()
    with pytest.raises(type(error)):
        ended_by(tx2, raising(error))
    assert tx2.state() == before


#: ends its session by a signal, which comes twice; a process of its own, since what goes wrong would end the tests
SIGNALLED = """
import signal, sys
from pathlib import Path
from espdeploy import recipes
from espdeploy.devices.clocks import clock_session
number, root, journal = signal.Signals[sys.argv[1]], Path(sys.argv[2]), Path(sys.argv[3])
before = signal.getsignal(number)
try:
    with clock_session(recipes.device_profile("tx2"), root=root, journal=journal) as session:
        session.lock_gpu(318.75)
        signal.raise_signal(number)
        signal.raise_signal(number)
        print("goes on")
except KeyboardInterrupt:
    print("unwound", signal.getsignal(number) is before)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_unwinds_the_session_and_handlers_are_given_back(tx2: Any, number: signal.Signals) -> None:
    before = tx2.state()
    command = [sys.executable, "-c", SIGNALLED, number.name, str(tx2.root), str(tx2.journal)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (0, "unwound True\n"), ended.stderr
    assert tx2.state() == before


def test_a_signal_while_clocks_are_put_back_waits(tx2: Any) -> None:
    """nvpmodel itself sends it here, in the middle of putting the mode back."""
    heard: list[dict[str, str]] = []

    def handler(_number: int, _frame: FrameType | None) -> None:
        heard.append(tx2.state())

    tool = tx2.tools / "nvpmodel"
    tool.write_text(
        tool.read_text().replace("#!/bin/sh\n", f'#!/bin/sh\n[ "$*" = "-m 3" ] && kill -HUP {os.getpid()}\n')
    )
    before, old = tx2.state(), signal.signal(signal.SIGHUP, handler)
    try:
        with tx2.session() as session:
            session.set_power_mode("MAXN")
    finally:
        signal.signal(signal.SIGHUP, old)
    assert heard == [before]  # it came, once, when all was back


def test_what_nohup_ignores_stays_ignored(tx2: Any) -> None:
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with tx2.session() as session:
            session.lock_gpu(318.75)
            signal.raise_signal(signal.SIGHUP)
            assert tx2.limits() == (318_750_000, 318_750_000)
    finally:
        signal.signal(signal.SIGHUP, old)


def test_without_permission_nothing_is_changed_and_the_fix_is_named(boards: ModuleType) -> None:
    folder = Path(tempfile.mkdtemp())  # pytest's own folders are closed to others
    user = os.geteuid()
    profile = recipes.device_profile("tx2")
    root, journal = folder / "tx2", folder / "journal"
    try:
        boards.make_tx2(root)
        journal.mkdir()
        journal.chmod(0o777)
        folder.chmod(0o755)
        gpu = root / boards.GPU
        for name in ("min_freq", "max_freq"):
            (gpu / name).chmod(0o444)
        before = boards.state(root)
        if user == 0:
            os.seteuid(NOBODY)
        with clock_session(profile, root=root, journal=journal) as session:
            error = refused(MissingCapability, "Permission denied", lambda: session.lock_gpu(624.75))
        checks = {check.name: check for check in check_clocks(profile, root)}
        assert list(journal.glob("clocks-*.json")) == []
        assert boards.state(root) == before
    finally:
        os.seteuid(user)
        shutil.rmtree(folder)
    assert error.do == f"sudo chmod a+w {gpu}/min_freq {gpu}/max_freq"
    assert (checks["setting the GPU clock"].state, checks["setting the GPU clock"].hint) == ("not permitted", error.do)
    assert (checks["GPU clock"].state, checks["power mode"].state) == ("ok", "missing")


def test_a_dry_run_answers_as_the_board_would_and_touches_nothing(tx2: Any) -> None:
    before = tx2.state()
    with tx2.session(dry_run=True) as session:
        assert session.set_power_mode("MAXQ").name == "MAXQ"
        assert session.lock_gpu(824.0).set_mhz == 854.25
        refused(UsageError, "MAXQ", lambda: session.lock_gpu(1122.0))
    assert tx2.state() == before
    assert not tx2.journal.exists()


def test_the_plan_names_every_write_in_its_order(tx2: Any) -> None:
    before = tx2.state()
    steps = plan_steps(tx2.profile, (1300.5, 824.0), "MAXN", root=tx2.root)
    low, high = f"/{tx2.gpu}/min_freq", f"/{tx2.gpu}/max_freq"
    assert [step.command for step in steps[:3]] == [
        f"{tx2.tools / 'nvpmodel'} -m 0",
        f"echo 1300500000 > {high}; echo 1300500000 > {low}",
        f"echo 854250000 > {low}; echo 854250000 > {high}",
    ]
    assert steps[2].what == "GPU clock: requested 824 -> 854.25 MHz"
    assert tx2.state() == before
    refused(UsageError, "MAXP_CORE_ARM", lambda: plan_steps(tx2.profile, (1300.5,), root=tx2.root))


def test_a_plan_far_from_the_board_uses_the_profile(tmp_path: Path) -> None:
    profile = recipes.device_profile("tx2")
    assert profile.gpu is not None
    locks = resolve_frequencies(profile, ("all",), "MAXQ", root=tmp_path)
    assert [lock.set_mhz for lock in locks] == [step for step in profile.gpu.frequencies_mhz if step <= 854.25]
    assert "gpu.0/devfreq/17000000.gp10b/max_freq" in plan_steps(profile, (624.0,), root=tmp_path)[0].command
    assert plan_steps(profile, (), root=tmp_path) == []


def test_a_device_without_clocks_and_modes(tmp_path: Path) -> None:
    cpu = recipes.device_profile("cpu")
    with clock_session(cpu, root=tmp_path, journal=tmp_path / "journal") as session:
        assert session.steps_mhz == ()
        refused(UsageError, "cpu has no GPU clock to set", lambda: session.lock_gpu(624.0))
        refused(UsageError, "cpu has no power modes", lambda: session.set_power_mode("MAXN"))
    assert check_clocks(cpu, tmp_path) == []
    assert not (tmp_path / "journal").exists()


def test_a_jetsons_profile_on_another_machine(tmp_path: Path) -> None:
    profile = recipes.device_profile("tx2")
    with clock_session(profile, root=tmp_path, journal=tmp_path / "journal") as session:
        refused(MissingCapability, "not under /sys here", lambda: session.lock_gpu(624.0))
        refused(MissingCapability, "nvpmodel is not on this machine", lambda: session.set_power_mode("MAXN"))
    found = [(check.name, check.state) for check in check_clocks(profile, tmp_path)]
    assert found == [("GPU clock", "missing"), ("power mode", "missing")]


def test_doctor_reads_a_healthy_board(tx2: Any) -> None:
    checks = check_clocks(tx2.profile, tx2.root)
    names = ["GPU clock", "setting the GPU clock", "power mode"]
    assert [(check.name, check.state) for check in checks] == [(name, "ok") for name in names]
    assert checks[0].found.startswith("114.75 MHz now; 13 steps, 114.75 to 1300.5 MHz; ")
    assert checks[2].found == "MAXP_CORE_ARM (3), GPU up to 1120 MHz, 4 cores on"
