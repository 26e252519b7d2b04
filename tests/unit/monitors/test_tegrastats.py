"""tegrastats beside the run: its values and times, and what happens when it dies, hangs, floods or is cut."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from espdeploy.errors import ToolFailed
from espdeploy.monitors.sampler import Sampler
from espdeploy.monitors.sources import Unavailable
from espdeploy.monitors.tegrastats import TegrastatsMonitor, find
from espdeploy.protocols import SystemClock
from espdeploy.specs import RailFacts

TX2 = RailFacts(total=("VDD_IN",), gpu=("VDD_SYS_GPU", "VDD_GPU"), split=("VDD_SYS_GPU", "VDD_SYS_CPU"))
SUM = RailFacts(gpu=("VDD_GPU_SOC",), split=("VDD_GPU_SOC", "VDD_CPU_CV", "VDDQ"), total_is_sum=True)
LINE = (
    "RAM 1000/7859MB (lfb 26x4MB) SWAP 5/3929MB (cached 0MB) CPU [10%@2035,off,30%@2035] EMC_FREQ 7%@1600 "
    "GR3D_FREQ 42%@1134 PMIC@100C GPU@41.5C VDD_SYS_GPU {k}/9 VDD_IN {k}000/9 VDD_SYS_CPU 300/9"
)
ORIN = "RAM 1000/7859MB (lfb 1x4MB) CPU [10%@2035] gpu@50.5C VDD_GPU_SOC 2000mW/2mW VDD_CPU_CV 400mW/4mW"
#: prints LINE with k = 1, 2, … at its interval; {fault} runs before line k
FAKE = """#!{python}
import os, sys, time
assert os.environ["LC_ALL"] == "C"
period_s = int(sys.argv[sys.argv.index("--interval") + 1]) / 1000
open({pid!r}, "w").write(str(os.getpid()))
line = {line!r}
def say(text):
    os.write(1, text.encode() + b"\\n")
for k in range(1, 100_000):
{fault}
    say(line.format(k=k))
    time.sleep(period_s)
"""


class ShiftedClock(SystemClock):
    """The machine's clock, which a test can put forward."""

    def __init__(self) -> None:
        self.ahead_ns = 0

    def now_ns(self) -> int:  # type: ignore[override]
        return time.perf_counter_ns() + self.ahead_ns


Installed = Callable[..., TegrastatsMonitor | Unavailable]


@pytest.fixture
def clock() -> ShiftedClock:
    return ShiftedClock()


@pytest.fixture
def started(tmp_path: Path, clock: ShiftedClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installed]:
    """Puts a tegrastats with a fault on PATH and starts the monitor over it."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    with ExitStack() as stack:

        def start(
            fault: str = "pass",
            *,
            line: str = LINE,
            facts: RailFacts = TX2,
            place: str = "bin/tegrastats",
            period_s: float = 0.02,
            within_s: float = 10.0,
        ) -> TegrastatsMonitor | Unavailable:
            path = tmp_path / place
            path.parent.mkdir(parents=True)
            text = FAKE.format(python=sys.executable, pid=str(tmp_path / "pid"), line=line, fault=f"    {fault}")
            path.write_text(text)
            path.chmod(0o755)
            found = find(facts, clock=clock, period_s=period_s, root=tmp_path, within_s=within_s)
            if isinstance(found, TegrastatsMonitor):
                stack.callback(found.close)
            return found

        yield start


def running(found: TegrastatsMonitor | Unavailable) -> TegrastatsMonitor:
    assert isinstance(found, TegrastatsMonitor), found
    return found


def refused(found: TegrastatsMonitor | Unavailable) -> Unavailable:
    assert isinstance(found, Unavailable)
    return found


def collected(monitor: TegrastatsMonitor, count: int) -> list[tuple[int, dict[str, float | None]]]:
    """The next readings."""
    got: list[tuple[int, dict[str, float | None]]] = []
    deadline_s = time.monotonic() + 30
    while len(got) < count:
        assert time.monotonic() < deadline_s
        got += [(t_ns, dict(values)) for t_ns, values in monitor.timed_read()]
        time.sleep(0.005)
    return got


def has_ended(folder: Path) -> bool:
    """Whether the program is gone, soon."""
    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s:
        try:
            os.kill(int((folder / "pid").read_text()), 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


def failing(monitor: TegrastatsMonitor) -> ToolFailed:
    """What reading it comes to."""
    with pytest.raises(ToolFailed) as caught:
        collected(monitor, 1 << 30)
    return caught.value


def test_values_and_roles(started: Installed) -> None:
    monitor = running(started())
    (_, first), *_ = collected(monitor, 1)
    assert first == pytest.approx(
        {
            "tegrastats_rail_VDD_SYS_GPU_w": 0.001,
            "tegrastats_rail_VDD_IN_w": 1.0,
            "tegrastats_rail_VDD_SYS_CPU_w": 0.3,
            "tegrastats_total_w": 1.0,
            "tegrastats_gpu_util_pct": 42,
            "tegrastats_gpu_freq_mhz": 1134,
            "tegrastats_emc_util_pct": 7,
            "tegrastats_emc_freq_mhz": 1600,
            "tegrastats_cpu_pct": 20,
            "tegrastats_cores_online": 2,
            "tegrastats_memory_used_mb": 1048.576,
            "tegrastats_swap_used_mb": 5.24288,
            "tegrastats_temp_GPU_c": 41.5,
        }
    )
    assert (monitor.rails, monitor.power_channel) == (("VDD_IN",), "tegrastats_total_w")
    assert monitor.gpu_power_channel == "tegrastats_rail_VDD_SYS_GPU_w"
    assert (monitor.gpu_util_channel, monitor.gpu_freq_channel) == (
        "tegrastats_gpu_util_pct",
        "tegrastats_gpu_freq_mhz",
    )
    assert monitor.temperature_channels == ("tegrastats_temp_GPU_c",)
    assert "VDD_IN" in monitor.probe_text()


def test_each_line_is_given_once_and_dated_to_its_arrival(started: Installed) -> None:
    """The k-th line is printed k periods after the first, and whoever fetches late still gets the times of arrival."""
    monitor = running(started(period_s=0.05))
    got = collected(monitor, 1)
    time.sleep(0.5)
    late = monitor.timed_read()
    assert len(late) >= 5
    got += [(t_ns, dict(values)) for t_ns, values in late]
    ks = [values["tegrastats_total_w"] for _, values in got]
    assert ks == [float(k) for k in range(1, len(ks) + 1)]
    times_s = [(t_ns - got[0][0]) / 1e9 for t_ns, _ in got]
    assert times_s == sorted(times_s)
    assert times_s[-1] >= 0.045 * (len(ks) - 1)  # none was dated to the fetch
    assert {} in (monitor.read(), monitor.read())  # two reads within one period: nothing is told again


def test_under_the_sampler_it_is_a_series_of_its_own_times(started: Installed, clock: ShiftedClock) -> None:
    monitor = running(started(period_s=0.02))
    with Sampler([monitor], clock=clock, period_s=0.1) as sampler:
        time.sleep(0.6)
    times_ns, watts = sampler.readings("tegrastats_total_w")
    assert watts == [float(k) for k in range(1, len(watts) + 1)]
    assert len(watts) >= 15
    assert len(set(times_ns)) == len(times_ns)
    assert sampler.cpu_pct is not None


def test_a_sum_lacks_nothing_or_is_not_given(started: Installed) -> None:
    cut = 'say("RAM 1000/7859MB (lfb 1x4MB) CPU [10%@2035] VDD_GPU_SOC 2000mW/2mW VDD_CPU") if k == 5 else None'
    monitor = running(started(cut, line=ORIN, facts=SUM))
    assert monitor.rails == ("VDD_GPU_SOC", "VDD_CPU_CV")
    totals = [values["tegrastats_total_w"] for _, values in collected(monitor, 8)]
    assert totals[:4] == [pytest.approx(2.4)] * 4
    assert totals[4] is None  # with one rail missing it would read 2.0
    assert totals[5:7] == [pytest.approx(2.4)] * 2


def test_a_first_line_that_is_cut_does_not_hide_a_rail(started: Installed) -> None:
    cut = 'say("RAM 1000/7859MB (lfb 1x4MB) CPU [10%@2035] VDD_GPU_SOC 2000mW/2mW VDD_CPU") if k == 1 else None'
    assert running(started(cut, line=ORIN, facts=SUM)).rails == ("VDD_GPU_SOC", "VDD_CPU_CV")


@pytest.mark.parametrize(
    ("line", "facts"),
    [(LINE.partition(" VDD")[0], TX2), (LINE.replace("VDD_IN", "VDD_NEW"), TX2), (LINE, RailFacts())],
)
def test_without_a_known_total_there_is_no_power(started: Installed, line: str, facts: RailFacts) -> None:
    monitor = running(started(line=line, facts=facts))
    assert (monitor.power_channel, monitor.rails) == (None, ())
    (_, first), *_ = collected(monitor, 1)
    assert "tegrastats_total_w" not in first


def test_without_root_the_roles_are_not_promised(started: Installed) -> None:
    monitor = running(started(line="RAM 1/2MB (lfb 1x4MB) CPU [1%@729] GPU@41C VDD_IN 5/5"))
    assert (monitor.gpu_util_channel, monitor.gpu_freq_channel) == (None, None)
    (_, first), *_ = collected(monitor, 1)
    assert first["tegrastats_gpu_util_pct"] is None


def test_other_output_in_between_is_passed_over(started: Installed) -> None:
    monitor = running(started("say('NVRM: something happened\\x1b[0m'); os.write(1, b'\\xff\\xfe\\n')"))
    assert [values["tegrastats_total_w"] for _, values in collected(monitor, 3)][:3] == [1.0, 2.0, 3.0]


def test_its_end_is_told_with_its_last_words(started: Installed) -> None:
    monitor = running(started("if k == 4: say('Failed to open /dev/nvmap'); sys.exit(3)"))
    failure = failing(monitor)
    assert "ended during the run" in failure.what
    assert "exit code 3: " in failure.why
    assert "Failed to open /dev/nvmap" in failure.why


@pytest.mark.parametrize("fault", ["time.sleep(600)", "while True: say('alive'); time.sleep(0.1)"])
def test_silence_is_told_after_3_s(started: Installed, clock: ShiftedClock, fault: str) -> None:
    monitor = running(started(f"if k == 4:\n     {fault}" if fault[0] == "w" else f"if k == 4: {fault}"))
    collected(monitor, 3)
    clock.ahead_ns += round(2.5e9)
    assert monitor.timed_read() == []
    clock.ahead_ns += round(0.6e9)
    assert "has told nothing for 3." in failing(monitor).what


def test_a_flood_is_told_and_ended(started: Installed, tmp_path: Path) -> None:
    monitor = running(started("if k > 4: period_s = 0"))
    failure = failing(monitor)
    assert "floods" in failure.what
    assert "lines within a second" in failure.why
    assert has_ended(tmp_path)  # it would take a core from what is measured


def test_closing_ends_it(started: Installed, tmp_path: Path) -> None:
    monitor = running(started())
    monitor.close()
    assert has_ended(tmp_path)


def test_it_is_found_off_path_too(started: Installed) -> None:
    assert isinstance(started(place="home/nvidia/tegrastats"), TegrastatsMonitor)


def test_absent_ones_and_those_that_tell_nothing(started: Installed, tmp_path: Path, clock: ShiftedClock) -> None:
    assert "no tegrastats on PATH" in refused(find(TX2, clock=clock, root=tmp_path)).reason
    silent = refused(started("say('tegrastats is already running'); sys.exit(1)"))
    assert "ended with exit code 1: tegrastats is already running" in silent.reason
    assert "tegrastats --stop" in silent.do


def test_one_that_starts_and_prints_no_sample(started: Installed, tmp_path: Path) -> None:
    found = refused(started("say('hello'); time.sleep(600)", within_s=0.3))
    assert "prints nothing that can be read: hello" in found.reason
    assert has_ended(tmp_path)
