"""nvidia-smi beside the run, by a stand-in that prints what the tool prints."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from espdeploy.errors import ToolFailed
from espdeploy.monitors.nvidia_smi import NvidiaSmiMonitor, find
from espdeploy.monitors.sources import Unavailable
from espdeploy.protocols import SystemClock

HEADER = "index, name, power.draw [W], utilization.gpu [%], clocks.current.sm [MHz], memory.used [MiB], temperature.gpu"
FAKE = """#!{python}
import os, sys, time
fields = "index,name,power.draw,utilization.gpu,clocks.sm,memory.used,temperature.gpu"
assert sys.argv[1] == f"--query-gpu={{fields}}", sys.argv
assert sys.argv[2:4] == ["--format=csv,nounits", "--id=1"], sys.argv
period_s = int(sys.argv[4].removeprefix("--loop-ms=")) / 1000
for text in {said!r}:
    os.write(1, text.encode() + b"\\n")
    time.sleep(period_s)
if {ends!r}:
    sys.exit(9)
time.sleep(600)
"""
Installed = Callable[..., NvidiaSmiMonitor | Unavailable]


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installed]:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with ExitStack() as stack:

        def start(*said: str, ends: bool = False, within_s: float = 10.0) -> NvidiaSmiMonitor | Unavailable:
            path = tmp_path / "nvidia-smi"
            path.write_text(FAKE.format(python=sys.executable, said=said, ends=ends))
            path.chmod(0o755)
            found = find(clock=SystemClock(), period_s=0.02, index=1, within_s=within_s)
            if isinstance(found, NvidiaSmiMonitor):
                stack.callback(found.close)
            return found

        yield start


def rows(monitor: NvidiaSmiMonitor, count: int) -> list[dict[str, float | None]]:
    got: list[dict[str, float | None]] = []
    deadline_s = time.monotonic() + 30
    while len(got) < count:
        assert time.monotonic() < deadline_s
        got += [dict(values) for _, values in monitor.timed_read()]
        time.sleep(0.005)
    return got


def test_each_row_once_with_what_the_gpu_tells(started: Installed) -> None:
    monitor = started(
        HEADER,
        "1, NVIDIA H100, PCIe, 71.25, 0, 1980, 1000, 34",
        "1, NVIDIA H100, PCIe, 300.00, 99, [N/A], 1000, 35",
        "1, NVIDIA H100, PCIe, [Unknown Error], 98, 1755, 1000, 36",
    )
    assert isinstance(monitor, NvidiaSmiMonitor)
    got = rows(monitor, 3)
    assert [row["nvidia_smi_power_w"] for row in got] == [71.25, 300.0, None]
    assert [row["nvidia_smi_sm_clock_mhz"] for row in got] == [1980, None, 1755]
    assert got[0]["nvidia_smi_memory_used_mb"] == pytest.approx(1048.576)
    assert monitor.read() == {}
    assert (monitor.rails, monitor.power_channel) == (("NVIDIA H100, PCIe",), "nvidia_smi_power_w")
    assert (monitor.gpu_util_channel, monitor.gpu_freq_channel) == (
        "nvidia_smi_gpu_util_pct",
        "nvidia_smi_sm_clock_mhz",
    )
    assert monitor.probe_text().startswith("NVIDIA H100, PCIe: ")


def test_a_gpu_without_a_power_sensor_tells_the_rest(started: Installed) -> None:
    monitor = started(HEADER, "1, GPU, [Not Supported], 12, 300, 5, 40")
    assert isinstance(monitor, NvidiaSmiMonitor)
    assert monitor.power_channel is None
    assert rows(monitor, 1)[0].keys() == {
        "nvidia_smi_gpu_util_pct",
        "nvidia_smi_sm_clock_mhz",
        "nvidia_smi_memory_used_mb",
        "nvidia_smi_temp_c",
    }


def test_one_that_answers_nothing_is_found_out(started: Installed) -> None:
    """As on a Jetson with JetPack 5."""
    found = started(HEADER, "1, Orin (nvgpu), [N/A], [N/A], [N/A], [N/A], [N/A]")
    assert isinstance(found, Unavailable)
    assert "without any value" in found.reason


def test_its_refusal_is_told(started: Installed) -> None:
    found = started("No devices were found", ends=True)
    assert isinstance(found, Unavailable)
    assert "ended with exit code 9: No devices were found" in found.reason


def test_absent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = find(clock=SystemClock())
    assert isinstance(found, Unavailable)
    assert "no nvidia-smi on PATH" in found.reason


def test_a_gpu_that_is_lost_ends_the_run(started: Installed) -> None:
    monitor = started(HEADER, "1, GPU, 50, 12, 300, 5, 40", "Unable to determine the device handle for GPU", ends=True)
    assert isinstance(monitor, NvidiaSmiMonitor)
    with pytest.raises(ToolFailed, match="ended during the run") as caught:
        rows(monitor, 100)
    assert "Unable to determine the device handle" in caught.value.why
