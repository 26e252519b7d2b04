from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from espdeploy.monitors.process import ProcessMonitor, busy_and_total_s, swap_used_mb

CHILD = """
import sys, time
while time.process_time() < 0.5:
    pass
print("burnt", flush=True)
sys.stdin.read()
"""


def burn(seconds: float) -> None:
    ends = time.process_time() + seconds
    while time.process_time() < ends:
        pass


def test_loads_need_two_readings(clock) -> None:
    monitor = ProcessMonitor(clock=clock)
    first = monitor.read()
    assert (first["cpu_pct"], first["process_cpu_pct"]) == (None, None)
    burn(0.05)
    clock.sleep_s(1)
    second = monitor.read()
    assert 0 <= second["cpu_pct"] <= 100
    assert second["process_cpu_pct"] is not None


def test_the_process_load_is_processor_time_over_time(clock) -> None:
    monitor = ProcessMonitor(clock=clock)
    monitor.read()
    burn(0.4)
    clock.sleep_s(2)  # 0.4 s of work in 2 s of the clock: 20 % of a core
    assert monitor.read()["process_cpu_pct"] == pytest.approx(20, abs=3)


def test_children_count_as_ours(clock) -> None:
    monitor = ProcessMonitor(clock=clock)
    monitor.read()
    with subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"burnt\n"
        clock.sleep_s(1)  # children are looked for once a second
        with_child = monitor.read()
        own = psutil.Process()
        rss_mb = {process.pid: process.memory_info().rss / 1e6 for process in (own, *own.children(recursive=True))}
    assert rss_mb[child.pid] > 5  # enough to tell whether it is in the sum
    assert with_child["process_cpu_pct"] >= 45  # its 0.5 s in 1 s, counted in ticks
    assert with_child["process_rss_mb"] == pytest.approx(sum(rss_mb.values()), abs=3)


def test_children_that_ended_count_as_ours(clock) -> None:
    monitor = ProcessMonitor(clock=clock)
    monitor.read()
    subprocess.run([sys.executable, "-c", CHILD], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    clock.sleep_s(1)
    assert monitor.read()["process_cpu_pct"] >= 45  # its 0.5 s in 1 s, counted in ticks


def test_too_soon_after_a_reading_there_is_no_load(clock) -> None:
    monitor = ProcessMonitor(clock=clock)
    monitor.read()
    clock.sleep_s(0.01)
    assert monitor.read()["process_cpu_pct"] is None


def test_memory_is_what_the_kernel_says(clock) -> None:
    read = ProcessMonitor(clock=clock).read()
    fields = {
        line.split(":")[0]: int(line.split()[1]) * 1024 / 1e6 for line in Path("/proc/meminfo").read_text().splitlines()
    }
    used_mb = fields["MemTotal"] - fields["MemAvailable"]
    assert read["memory_used_mb"] == pytest.approx(used_mb, rel=0.05, abs=300)  # others work at the same time
    assert read["memory_pct"] == pytest.approx(100 * read["memory_used_mb"] / fields["MemTotal"], rel=1e-3)


def test_guests_are_in_user_already_and_waiting_is_idle() -> None:
    times = {"user": 30.0, "nice": 5.0, "system": 10.0, "idle": 50.0, "iowait": 4.0, "irq": 1.0, "guest": 20.0}
    assert busy_and_total_s({**times, "guest_nice": 5.0}) == (46.0, 100.0)


@pytest.mark.parametrize(
    ("text", "used_mb"),
    [
        ("MemTotal: 5 kB\nSwapTotal:  2000000 kB\nSwapFree:  1500000 kB\n", 512.0),
        ("SwapTotal: 0 kB\nSwapFree: 0 kB\n", 0.0),
        ("SwapTotal: 5 kB\n", None),
        ("SwapTotal: x kB\nSwapFree: 0 kB\n", None),
        ("", None),
    ],
)
def test_swap(tmp_path: Path, text: str, used_mb: float | None) -> None:
    (tmp_path / "meminfo").write_text(text)
    assert swap_used_mb(tmp_path / "meminfo") == used_mb
    assert swap_used_mb(tmp_path / "absent") is None
