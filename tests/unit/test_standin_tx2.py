"""The stand-in TX2 is what it says it is: its powers, times, clocks and faults, against closed forms."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import math
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from espdeploy.backends.trtexec.build import build
from espdeploy.backends.trtexec.find import find
from espdeploy.backends.trtexec.plan import BuildPlan, ProfilePlan, TimePlan
from espdeploy.backends.trtexec.timing import profile_engine, time_engine
from espdeploy.backends.trtexec.tool import Tool
from espdeploy.devices.detect import detect, profile_for
from espdeploy.devices.thermal import zones_c
from espdeploy.profilers.trtexec.layer_profile import read_profile
from espdeploy.profilers.trtexec.log import read_log
from espdeploy.profilers.trtexec.times import Times, read_times

_INSTALL = Path(__file__).parents[1] / "fakes/tx2/install.py"
_RAIL = re.compile(r"(V\w+_\w+) (\d+)/(\d+)")
_NETWORK, _FIXED_MS, _KILOCYCLES = "enet", 9.0, 8000.0
_DEVFREQ = "sys/devices/gpu.0/devfreq/17000000.gp10b"


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fake_tx2", _INSTALL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


FAKE = _load()


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A board without leakage, so that powers depend on clock and load alone."""
    with FAKE.install(tmp_path_factory.mktemp("tx2") / "board", leakage_w=0.0) as running:
        yield running


@pytest.fixture
def tx2(board: Any) -> Iterator[Any]:
    """The board, which is left as it was found."""
    yield board
    board.clear_faults()
    _wait_for(lambda: not (board.root / _DEVFREQ / "max_freq").is_symlink())
    for name, hertz in (("max_freq", 1_300_500_000), ("min_freq", 114_750_000)):
        (board.root / _DEVFREQ / name).write_text(f"{hertz}\n")
    _wait_for(lambda: board.hz("cur_freq") == 114_750_000)


@pytest.fixture(scope="module")
def engine(board: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engine that trtexec built, in FP32."""
    onnx = tmp_path_factory.mktemp("networks") / f"{_NETWORK}.onnx"
    onnx.write_bytes(b"onnx")
    engine = onnx.with_suffix(".engine")
    build(_tool(board), BuildPlan(onnx=onnx, engine=engine, precision="fp32", workspace_mb=1024))
    return engine


def _tool(tx2: Any) -> Tool:
    """trtexec, without asking it who it is."""
    return Tool(path=tx2.bin / "trtexec", kind="trtexec", version=(8, 2, 1))


def _timed(tx2: Any, engine: Path, *, iterations: int = 20) -> Times:
    times, rest = engine.with_suffix(".json"), {"cuda_graph": True, "spin_wait": True, "transfers": False}
    plan = TimePlan(engine=engine, times_json=times, warmup_ms=60, duration_s=0, iterations=iterations, **rest)
    time_engine(_tool(tx2), plan)
    with times.open() as stream:
        return read_times(stream, warmup_ms=60)


def _lines(process: subprocess.Popen[bytes]) -> Iterator[str]:
    assert process.stdout is not None
    for line in process.stdout:
        yield line.decode(errors="replace")


def _table(report: Path) -> list[str]:
    """What nvprof wrote, without its own lines."""
    return [line for line in report.read_text().splitlines() if not line.startswith("==")]


def _wait_for(true: Callable[[], bool], within_s: float = 5.0) -> None:
    until_s = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < until_s, "it did not come about"
        time.sleep(0.01)


def test_espdeploy_sees_a_tx2(tx2: Any) -> None:
    machine = detect(tx2.root)
    assert (profile_for(machine), machine.l4t, machine.cores_online) == ("tx2", "32.7.1", 6)
    assert machine.cpu_model == "Cortex-A57 + Denver 2"
    assert machine.memory_total_mb == pytest.approx(7859 * 1.048576)
    assert set(zones_c(tx2.root)) == {"PLL-therm", "MCPU-therm", "Tboard_tegra", "GPU-therm", "BCPU-therm",
                                      "thermal-fan-est", "Tdiode_tegra"}  # fmt: skip
    assert find("trtexec", environ={"PATH": ""}, root=tx2.root).version == (8, 2, 1)


def test_the_model_integrates_to_its_closed_form() -> None:
    """By hand, at 1300.5 MHz under full load without leakage, in W, and with all cores on."""
    physics = sys.modules["tx2_physics"]
    parts = {"VDD_SYS_GPU": 3.22, "VDD_SYS_SOC": 0.65, "VDD_4V0_WIFI": 0.019, "VDD_SYS_CPU": 0.74, "VDD_SYS_DDR": 1.0}
    total = 0.45 + 5.629 / 0.86
    limits = physics.Limits(min_mhz=1300.5, max_mhz=1300.5, mode_mhz=1300.5, throttle_c=95.0)
    plant = physics.Plant(FAKE.Options(leakage_w=0.0), limits, now_s=100.0)
    begun_c = plant.temperature_c
    plant.clients["somebody"] = physics.Client()
    plant.govern()
    for moment_s in (100.3, 101.0, 101.01, 104.0, 112.5):
        plant.advance(moment_s)
    assert plant.energy_j == pytest.approx({rail: 12.5 * watts for rail, watts in (parts | {"VDD_IN": total}).items()})
    final_c = 30 + 4 * total
    assert plant.temperature_c == pytest.approx(final_c + (begun_c - final_c) * math.exp(-1.25))


def test_the_log_of_a_board_at_rest_is_its_idle_power(tmp_path: Path) -> None:
    with FAKE.install(tmp_path / "board", mode=3) as tx2:
        begun_s = time.perf_counter()
        time.sleep(0.3)
        ended_s = time.perf_counter()
        truth = tx2.truth()
    assert truth.mean_w("VDD_IN", begun_s, ended_s) == pytest.approx(truth.idle_w(114.75, cores=4), rel=1e-6)
    parts = sum(truth.energy_j(rail, begun_s, ended_s) for rail in FAKE.PARTS)
    assert truth.energy_j("VDD_IN", begun_s, ended_s) > 1.1 * parts


def test_rows_power_and_duration_of_a_run_are_the_model_s(tx2: Any, engine: Path) -> None:
    truth = tx2.truth()
    medians_ms = {}
    for mhz in (624.75, 1300.5):
        tx2.lock(mhz)
        begun_s = time.perf_counter()
        times = _timed(tx2, engine)
        ended_s = time.perf_counter()
        assert times.warmup_dropped >= 2
        medians_ms[mhz] = float(statistics.median(times.gpu_compute_ms))
        assert medians_ms[mhz] == pytest.approx(truth.latency_ms(mhz, _NETWORK), rel=0.003)
        assert truth.latency_ms(mhz, _NETWORK) == pytest.approx(_FIXED_MS + _KILOCYCLES / mhz)
        moments = truth.moments(begun_s, ended_s)
        busy_s = moments.time_s[moments.load == 1.0]
        assert set(moments.mhz) == {mhz}
        loaded_s = float((np.diff(moments.time_s) * moments.load[1:]).sum())
        rows_s = times.gpu_compute_ms.sum() / 1000
        assert rows_s + 0.06 <= loaded_s < rows_s + 0.5  # of which 0.06 s are the warm-up
    within = truth.mean_w("VDD_SYS_GPU", float(busy_s[0]), float(busy_s[-1]))
    assert within == pytest.approx(3.22)  # as above, at 1300.5 MHz
    change = (medians_ms[1300.5] / medians_ms[624.75] - 1) / (1300.5 / 624.75 - 1)
    assert change == pytest.approx(truth.sensitivity(624.75, 1300.5, _NETWORK), abs=0.004)
    by_clock = _KILOCYCLES / (_FIXED_MS * 624.75 + _KILOCYCLES)  # share of the time, at the first
    assert truth.sensitivity(624.75, 1300.5, _NETWORK) == pytest.approx(-by_clock * 624.75 / 1300.5)


def test_layers_and_kernels_share_the_inference_s_time(tx2: Any, engine: Path) -> None:
    tx2.lock(854.25)
    profile = engine.with_suffix(".profile")
    plan = ProfilePlan(engine=engine, profile_json=profile, warmup_ms=10, duration_s=0, iterations=5)
    log = read_log(profile_engine(_tool(tx2), plan).output.splitlines())
    layers = read_profile(io.StringIO(profile.read_text()))
    expected_ms = tx2.truth().latency_ms(854.25, _NETWORK)
    assert layers.total_mean_ms == pytest.approx(expected_ms, rel=1e-4)
    assert log.told.profile is not None
    assert log.told.profile.total_mean_ms == pytest.approx(expected_ms, rel=1e-4)

    command = ("trtexec", f"--loadEngine={engine}", "--duration=0", "--warmUp=20", "--iterations=5")
    report = engine.with_suffix(".csv")
    tx2.run("nvprof", "--csv", "--log-file", str(report), *command)
    names, units, *rows = list(csv.reader(_table(report)))
    assert (names[2], units[2]) == ("Time", "ms")
    kernels = [row for row in rows if not row[-1].startswith("[")]
    launched = min(int(row[3]) for row in kernels)
    assert sum(float(row[2]) for row in kernels) / launched == pytest.approx(expected_ms, rel=1e-4)
    tx2.run("nvprof", "--csv", "--metrics", "gld_efficiency", "--log-file", str(report), *command)
    metrics = list(csv.DictReader(_table(report)))
    assert {row["Kernel"] for row in metrics} == {row[-1] for row in kernels}
    assert all(float(row["Min"][:-1]) <= float(row["Avg"][:-1]) <= float(row["Max"][:-1]) for row in metrics)


def test_tegrastats_tells_the_exact_power_in_whole_milliwatts(tx2: Any, engine: Path) -> None:
    tx2.lock(1122.0)
    arrived_s, lines = [], []
    run = ("trtexec", f"--loadEngine={engine}", "--duration=1", "--warmUp=0", "--useSpinWait", "--noDataTransfers")
    with tx2.beside("tegrastats", "--interval", "20") as process, tx2.beside(*run) as load:
        for line in _lines(process):
            arrived_s.append(time.perf_counter())
            lines.append(line)
            if load.poll() is not None:
                break
    told_mw = [{name: (int(now), int(mean)) for name, now, mean in _RAIL.findall(line)} for line in lines]
    assert list(told_mw[0]) == list(FAKE.RAILS)
    total_mw = [rails["VDD_IN"][0] for rails in told_mw]
    for number, (_, mean_mw) in enumerate((rails["VDD_IN"] for rails in told_mw), start=1):
        assert mean_mw == sum(total_mw[:number]) // number
    # where the load lies on the GPU all the time
    under_load = [index for index, line in enumerate(lines) if "GR3D_FREQ 100%@1122 " in line][2:-2]
    assert len(under_load) > 10
    begun_s, ended_s = arrived_s[under_load[0]], arrived_s[under_load[-1]]
    for rail in FAKE.RAILS:
        mean_mw = statistics.fmean(told_mw[index][rail][0] for index in under_load)
        assert mean_mw == pytest.approx(1000 * tx2.truth().mean_w(rail, begun_s, ended_s), abs=0.51)


def test_clocks_follow_files_modes_and_tools(tx2: Any, tmp_path: Path) -> None:
    low, high = tx2.root / _DEVFREQ / "min_freq", tx2.root / _DEVFREQ / "max_freq"
    stored = tmp_path / "stored"
    assert tx2.run("jetson_clocks", "--store", str(stored)).returncode == 0
    assert tx2.run("jetson_clocks").returncode == 0
    assert tx2.hz("cur_freq") == 1_300_500_000
    assert tx2.run("jetson_clocks", "--restore", str(stored)).returncode == 0
    _wait_for(lambda: tx2.hz("cur_freq") == 114_750_000)
    assert tx2.run("jetson_clocks", "--store", str(stored)).returncode == 1  # it asks, and nobody answers

    high.write_text("624750000\n")
    time.sleep(0.05)
    low.write_text("854250000\n")  # above the maximum: refused
    _wait_for(lambda: tx2.hz("min_freq") == 114_750_000)
    tx2.lock(1300.5)
    assert tx2.run("nvpmodel", "-m", "1").returncode == 0
    assert (tx2.root / "sys/devices/system/cpu/online").read_text().strip() == "0,3-5"
    high.write_text("1300500000\n")
    low.write_text("1300500000\n")
    _wait_for(lambda: tx2.hz("cur_freq") == 854_250_000)  # MAXQ's cap of 850 MHz
    assert tx2.run("nvpmodel", "-q").stdout == "NV Fan Mode:quiet\nNV Power Mode: MAXQ\n1\n"
    assert tx2.run("nvpmodel", "-m", "0").returncode == 0
    assert tx2.run("nvpmodel", "-m", "9").stderr == "NVPM ERROR: request for bad power mode 9\n"


def test_without_root_nothing_can_be_set(tx2: Any) -> None:
    tx2.set_fault("no_root")
    path = tx2.root / _DEVFREQ / "max_freq"
    _wait_for(path.is_symlink)
    assert path.read_text() == "1300500000\n"
    with pytest.raises(PermissionError):
        path.write_text("624750000\n")
    asked = (sys.executable, "-c", "import os, sys; print(os.access(sys.argv[1], os.W_OK))", str(path))
    assert tx2.run("unprivileged", *asked).stdout == "False\n"
    assert "NVPM ERROR: Error opening" in tx2.run("nvpmodel", "-m", "1").stderr
    assert tx2.run("jetson_clocks").returncode == 1
    line = _line(tx2)
    assert "EMC_FREQ 0% GR3D_FREQ 0% " in line
    assert len(_RAIL.findall(line)) == 6
    tx2.set_fault("no_root", False)
    _wait_for(lambda: not path.is_symlink())
    tx2.lock(624.75)
    assert "GR3D_FREQ 0%@624 " in _line(tx2)


def _line(tx2: Any) -> str:
    with tx2.beside("tegrastats", "--interval", "10") as process:
        return next(_lines(process))


def test_clocks_that_do_not_hold(tx2: Any) -> None:
    tx2.set_fault("clock_does_not_stick", 0.5)
    (tx2.root / _DEVFREQ / "min_freq").write_text("624750000\n")
    _wait_for(lambda: tx2.hz("cur_freq") == 624_750_000)
    _wait_for(lambda: tx2.hz("min_freq") == tx2.hz("cur_freq") == 114_750_000)
    tx2.clear_faults()

    tx2.lock(624.75)
    tx2.set_fault("clock_ignored")
    _wait_for(lambda: tx2.hz("cur_freq") == 114_750_000)
    assert tx2.hz("min_freq") == 624_750_000
    tx2.clear_faults()

    _wait_for(lambda: tx2.hz("cur_freq") == 624_750_000)
    tx2.set_fault("throttling", 20)  # colder than the room
    _wait_for(lambda: tx2.hz("cur_freq") == 114_750_000)
    tx2.clear_faults()
    _wait_for(lambda: tx2.hz("cur_freq") == 624_750_000)


def test_somebody_else_on_the_gpu_slows_an_inference_down(tx2: Any, engine: Path) -> None:
    tx2.lock(1300.5)
    tx2.set_fault("competitor", 0.25)
    _wait_for(lambda: "GR3D_FREQ 25%@1300" in _line(tx2))
    times = _timed(tx2, engine, iterations=10)
    alone_ms = tx2.truth().latency_ms(1300.5, _NETWORK)
    assert statistics.median(times.gpu_compute_ms) == pytest.approx(alone_ms / 0.75, rel=0.005)


def test_telemetry_that_fails(tx2: Any) -> None:
    with tx2.beside("tegrastats", "--interval", "10") as process:
        lines = _lines(process)
        assert len(_RAIL.findall(next(lines))) == 6
        tx2.set_fault("telemetry_unknown_rails")
        _wait_for(lambda: "VNEW_IN" in next(lines))
        tx2.set_fault("telemetry_garbage")
        _wait_for(lambda: "\N{REPLACEMENT CHARACTER}" in next(lines))
        tx2.set_fault("telemetry_floods")
        _wait_for(lambda: len({next(lines) for _ in range(1000)}) < 20)  # the same moment again and again
        tx2.clear_faults()
        tx2.set_fault("telemetry_stops")
        _wait_for(lambda: not _more(process))
        assert not _more(process)
        assert process.poll() is None
        tx2.set_fault("telemetry_dies")
        assert process.wait(5) == 1


def _more(process: subprocess.Popen[bytes]) -> bool:
    """Whether anything came in the last tenth of a second."""
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    time.sleep(0.1)
    return bool(process.stdout.read(1 << 24))


def test_trtexec_that_fails(tx2: Any, engine: Path) -> None:
    command = ("trtexec", f"--loadEngine={engine}", "--duration=0", "--warmUp=50", "--iterations=5")
    tx2.set_fault("trtexec_crash")
    assert tx2.run(*command).returncode == -signal.SIGSEGV
    tx2.clear_faults()

    tx2.set_fault("trtexec_hang")
    load = tx2.root / "sys/devices/gpu.0/load"
    with tx2.beside(*command):
        _wait_for(lambda: int(load.read_text()) > 900)
    _wait_for(lambda: int(load.read_text()) == 0)  # it was killed
    tx2.clear_faults()

    tx2.set_fault("full_disk")
    times = engine.with_suffix(".times")
    assert "&&&& PASSED" in tx2.run(*command, f"--exportTimes={times}").stdout
    with pytest.raises(json.JSONDecodeError):
        json.loads(times.read_text())
    failed = tx2.run("trtexec", f"--onnx={engine.with_suffix('.onnx')}", f"--saveEngine={times}", "--buildOnly")
    assert failed.returncode == 1
    assert "Saving engine to file failed." in failed.stderr
    with pytest.raises(ValueError, match="no such fault"):
        tx2.set_fault("rust")


_SESSION = """
import ctypes, os, subprocess, sys
print(os.getpid(), flush=True)
sys.stdin.readline()
child = os.fork()
if child == 0:
    ctypes.CDLL(None).prctl(15, b"sshd-session")
    sys.exit(subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL) and 3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.parametrize(("ours", "ends"), [(True, -signal.SIGKILL), (False, 0)])
def test_a_dropped_connection_ends_the_session_of_that_sshd_alone(
    tx2: Any, engine: Path, ours: bool, ends: int
) -> None:
    command = (sys.executable, "-c", _SESSION, tx2.bin / "trtexec", f"--loadEngine={engine}", "--duration=0",
               "--warmUp=50", "--iterations=2")  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as listener:
        assert listener.stdout is not None
        process = int(listener.stdout.readline())
        tx2.set_fault("dropped_connection", process if ours else process + 1_000_000)
        told, _ = listener.communicate("\n", timeout=10)
    assert int(told) == ends


def test_the_board_dies_with_its_test(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        f"sys.path.insert(0, {str(_INSTALL.parent)!r})\n"
        "import install\nfrom pathlib import Path\n"
        f"board = install.install(Path({str(tmp_path / 'board')!r})).start()\n"
        "print(board.process, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == -signal.SIGKILL
    _wait_for(lambda: not Path(f"/proc/{int(done.stdout)}/cmdline").exists())
