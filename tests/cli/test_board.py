"""`espdeploy bench --device tx2` on a stand-in TX2, here and over a real SSH server, against its exact figures."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.cli import sshd
from tests.cli.boards import tiny_onnx
from tests.cli.conftest import Run, assert_contract_error

_INSTALL = Path(__file__).parents[1] / "fakes/tx2/install.py"
_DURATION_S = 5
_QUICK = ("--trials", "20", "--duration-s", "1", "--warmup-s", "0.2", "--idle-s", "0.5")


def _stand_in() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tx2_install", _INSTALL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tx2_install"] = module
    spec.loader.exec_module(module)
    return module


@dataclasses.dataclass
class Bench:
    """A board with an engine built for it, and the command line that sees the board."""

    board: Any
    engine: Path
    folder: Path
    environment: dict[str, str]

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(arguments), env=self.environment, cwd=self.folder, capture_output=True, text=True, check=False
        )

    def argv(self, arguments: tuple[object, ...]) -> list[str]:
        return [sys.executable, "-m", "espdeploy", *(str(item) for item in arguments)]

    def bench(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return self.run("bench", self.engine, "--device", "tx2", *arguments)

    def clocks(self) -> tuple[int, int]:
        return self.board.hz("min_freq"), self.board.hz("max_freq")


@pytest.fixture(scope="module")
def on_board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("tx2")
    # without leakage the power depends on clock and load alone, so that energy has a closed form
    with _stand_in().install(folder / "board", leakage_w=0.0) as board:
        environment = {**os.environ, **board.environment, "ESPDEPLOY_CACHE": str(folder / "cache"), "NO_COLOR": "1"}
        bench = Bench(board=board, engine=folder / "net.engine", folder=folder, environment=environment)
        tiny_onnx(folder / "net.onnx")
        built = bench.run("build", folder / "net.onnx", "--device", "tx2", "--precision", "fp16", "-o", bench.engine)
        assert built.returncode == 0, built.stderr
        yield bench


@pytest.fixture(autouse=True)
def _sound(on_board: Bench) -> Iterator[None]:
    yield
    on_board.board.clear_faults()


def _power_w(mhz: float, load: float) -> float:
    module = _stand_in()
    state = module.State(mhz=mhz, load=load, temperature_c=40.0)
    return float(sys.modules["tx2_physics"].rails_w(state, module.Options(leakage_w=0.0))["VDD_IN"])


def test_times_energy_and_sensitivity_are_the_boards_own(on_board: Bench) -> None:
    """The whole command over two frequencies: nearest steps, closed forms, clocks as they were, marked as simulated."""
    before = on_board.clocks()
    done = on_board.bench(
        "--freq", "624,1134", "--trials", "50", "--duration-s", _DURATION_S, "--warmup-s", "0.5", "--idle-s", "1",
        "--results", on_board.folder / "results", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert on_board.clocks() == before
    records = json.loads(done.stdout)
    truth = on_board.board.truth()
    assert [record["device"]["gpu_freq_mhz"] for record in records] == [
        {"requested": 624.0, "set": 624.75, "mean": 624.75},
        {"requested": 1134.0, "set": 1122.0, "mean": 1122.0},
    ]
    for record in records:
        mhz = record["device"]["gpu_freq_mhz"]["set"]
        latency_ms = truth.latency_ms(mhz, precision="fp16")
        assert record["gpu_latency_ms"]["mean"] == pytest.approx(latency_ms, rel=0.005)
        power, idle_w = record["power"], _power_w(mhz, 0.0)
        assert power["idle_before_w"] == pytest.approx(idle_w, rel=0.01)
        # nothing but the run: the tool keeps the GPU busy from the first inference to the last
        assert power["energy_per_inference_j"] == pytest.approx(_power_busy(record, truth) / record["fps"], rel=0.01)
        net_j = (_power_busy(record, truth) - idle_w) / record["fps"]
        assert power["net_energy_per_inference_j"] == pytest.approx(net_j, rel=0.02)
        assert power["rails"] == ["VDD_IN"]
        assert record["device"]["simulated"]
        assert record["device"]["power_mode"] == "MAXN"
    exact = abs(truth.sensitivity(624.75, 1122.0, precision="fp16"))
    assert records[0]["frequency_sensitivity"]["span"]["value"] == pytest.approx(exact, abs=0.02)
    report = on_board.run("report", on_board.folder / "results", "-o", on_board.folder / "report.html")
    assert report.returncode == 0, report.stderr
    assert "SIMULATED" in (on_board.folder / "report.html").read_text()


def _power_busy(record: Any, truth: Any) -> float:
    """The model's power at the clock of a record, with the load and the busy core that it had."""
    module = _stand_in()
    mhz = record["device"]["gpu_freq_mhz"]["set"]
    state = module.State(mhz=mhz, load=1.0, temperature_c=40.0, host_busy=True)
    return float(truth.power_w("VDD_IN", state))


def test_tegrastats_tells_the_same_power(on_board: Bench) -> None:
    done = on_board.bench(
        "--freq", "854.25", "--freq-strict", "--trials", "20", "--duration-s", "3", "--warmup-s", "0.5",
        "--power-source", "tegrastats", "--results", "tegra", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["power"]["source"] == "tegrastats"
    assert record["power"]["mean_w"] == pytest.approx(_power_busy(record, on_board.board.truth()), rel=0.01)


@pytest.mark.parametrize(
    ("fault", "value", "more", "code", "said"),
    [
        ("no_root", True, (), 3, "cannot write"),
        ("clock_ignored", True, (), 0, "did not hold"),
        ("throttling", 40, (), 0, "held itself back"),
        ("competitor", True, (), 0, "busy before the run"),
        ("trtexec_crash", True, (), 4, "crashed"),
        ("full_disk", True, (), 4, "make room"),
        ("telemetry_stops", True, ("--power-source", "tegrastats"), 3, "prints nothing"),
        ("telemetry_floods", True, ("--power-source", "tegrastats"), 4, "floods"),
    ],
)
def test_what_goes_wrong_is_said_and_clocks_are_as_they_were(  # noqa: PLR0917 - the columns of the table above
    on_board: Bench, fault: str, value: Any, more: tuple[str, ...], code: int, said: str
) -> None:
    before = on_board.clocks()
    on_board.board.set_fault(fault, value)
    done = on_board.bench("--freq", "854.25", *_QUICK, *more, "--results", f"faults-{fault}")
    on_board.board.clear_faults()
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert on_board.clocks() == before
    kept = list((on_board.folder / f"faults-{fault}").glob("*.json"))
    assert len(kept) == (1 if code == 0 else 0)


def test_a_frequency_above_the_power_mode_is_refused_before_anything_is_set(on_board: Bench) -> None:
    done = on_board.bench("--freq", "1300.5", "--power-mode", "MAXQ", *_QUICK, "--results", "capped")
    assert done.returncode == 2
    assert "MAXQ" in done.stderr
    assert "MAXN" in done.stderr  # the mode that allows it
    assert "--freq-strict" in on_board.bench("--freq-strict", *_QUICK).stderr


def test_a_dry_run_names_the_commands_and_touches_nothing(on_board: Bench) -> None:
    before = on_board.clocks()
    done = on_board.bench("--freq", "824", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    steps = json.loads(done.stdout)["steps"]
    text = "\n".join(f"{step['what']} {step['command']}" for step in steps)
    assert "824 -> 854.25" in text
    assert "854250000" in text
    assert "--loadEngine=" in text
    assert on_board.clocks() == before


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (("--batch", "2"), 2, "--batch 2 cannot change"),
        (("--size", "64x48"), 2, "--size 64x48 cannot change"),
        (("--threads", "2"), 2, "--threads 2 means nothing"),
        (("--data", "."), 2, "gives no answers"),
        (("--cross-check",), 3, "--cross-check needs the Python package tensorrt"),
        (("--duration-s", "nan"), 2, "is no time"),
        (("--power-source", "nvml"), 2, "--power-source"),
    ],
)
def test_what_the_tool_would_not_heed_is_refused_before_it_is_timed(  # noqa: PLR0917 - the columns of the table above
    on_board: Bench, run: Run, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...], code: int, said: str
) -> None:
    if said.endswith("tensorrt") and importlib.util.find_spec("tensorrt"):
        pytest.skip("TensorRT is installed here, so it can be checked")
    _enter(on_board, monkeypatch)
    refused = run("bench", on_board.engine, "--device", "tx2", *_QUICK, *more)
    assert_contract_error(refused, code, said)
    assert "timing with the tool" not in refused.err


def _enter(on_board: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process sees the board from now on."""
    for name, text in on_board.board.environment.items():
        monkeypatch.setenv(name, text)


def test_a_plan_is_in_the_order_of_measuring_and_of_what_is_there(
    on_board: Bench, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    _enter(on_board, monkeypatch)
    plan = run("bench", on_board.engine, "--device", "tx2", "--freq", "824,624,1134", "--dry-run", "--json").document
    clocks = [step["what"].rsplit(" ", 2)[-2] for step in plan["steps"] if step["what"].startswith("GPU clock")]
    assert clocks == ["1122", "624.75", "854.25", "1122"]  # outwards, and the first once more
    graph = run("bench", on_board.folder / "net.onnx", "--device", "tx2", "--precision", "fp16", "--dry-run", "--json")
    assert "net.onnx" not in "".join(step["command"] for step in graph.document["steps"])  # no engine, but made one
    assert run("bench", "gone.engine", "--device", "tx2", "--dry-run").code == 2
    assert run("bench", "--device", "tx2", "--dry-run").code == 2
    assert run("bench", "--model", "espnot", "--device", "tx2", "--dry-run").code == 2


def test_a_power_mode_counts_its_cores_and_the_table_fits_a_terminal(
    on_board: Bench, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    _enter(on_board, monkeypatch)
    ran = run("bench", on_board.folder / "net.onnx", "--device", "tx2", "--precision", "fp16", *_QUICK,
              "--duration-s", "1.2", "--power-mode", "MAXP_CORE_ARM", "--results", "mode")  # fmt: skip
    assert ran.code == 0, ran.err
    assert max(len(line.rstrip()) for line in ran.out.splitlines()[1:]) <= 100  # the title above it wraps
    (kept,) = Path("mode").glob("*.json")
    record = json.loads(kept.read_text())
    assert (record["model"]["name"], record["device"]["cpu_cores"]) == ("tiny", 4)
    # readings after the run, of an idle board, are no part of it, however short it is
    measured = record["traces"]["ina3221_total_w"]["values"]
    assert record["power"]["mean_w"] == pytest.approx(sum(measured) / len(measured), rel=0.002)
    trials = record["traces"]["latency_ms"]["t_s"]
    assert trials[-1] - trials[0] > 1.1  # whole seconds of the tool are never fewer than were asked for


def test_ctrl_c_after_the_last_trial_keeps_it_and_begins_nothing_more(on_board: Bench) -> None:
    before = on_board.clocks()
    arguments = ("bench", on_board.engine, "--device", "tx2", "--freq", "1122,624", *_QUICK[:6], "--idle-s", "3")
    running = subprocess.Popen(
        on_board.argv((*arguments, "--results", "stopped")), env=on_board.environment, cwd=on_board.folder,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert running.stderr is not None
    _until(lambda: "reading its figures" in running.stderr.readline())
    time.sleep(0.5)
    running.send_signal(signal.SIGINT)
    _, told = running.communicate(timeout=20)
    assert running.returncode == 130, told
    (kept,) = (on_board.folder / "stopped").glob("*.json")
    record = json.loads(kept.read_text())
    assert record["power"]["idle_after_w"] is None
    assert any("stopped when every trial was done" in note for note in record["notes"])
    assert on_board.clocks() == before


@pytest.fixture(scope="module")
def server(on_board: Bench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[sshd.Server]:
    if not sshd.USABLE:
        pytest.skip(sshd.MISSING)
    folder = tmp_path_factory.mktemp("sshd")
    there = {**on_board.board.environment, "ESPDEPLOY_CACHE": str(folder / "there"), "NO_COLOR": "1"}
    there |= {"PATH": str(on_board.board.bin), "XDG_CACHE_HOME": str(folder / "sent")}
    with sshd.serving(folder, there) as server:
        yield server


@pytest.fixture
def away(on_board: Bench, server: sshd.Server, tmp_path: Path) -> Bench:
    """The command line of a machine that knows the board by SSH alone."""
    environment = {
        **{name: text for name, text in os.environ.items() if name != "ESPDEPLOY_SYSTEM_ROOT"},
        **server.environment,
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "NO_COLOR": "1",
    }
    return dataclasses.replace(on_board, folder=tmp_path, environment=environment)


def test_the_record_comes_back_whole_from_a_file_with_any_name(away: Bench) -> None:
    graph = away.folder / "a net's $(reboot) `x`.onnx"
    tiny_onnx(graph)
    before = away.clocks()
    done = away.run(
        "bench", graph, "--device", "tx2", "--precision", "fp16", "--freq", "824", *_QUICK, "--results",
        "here too", "--host", "board", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    (kept,) = (away.folder / "here too").glob("*.json")
    assert json.loads(kept.read_text())["id"] == told["id"]
    assert told["device"]["gpu_freq_mhz"]["set"] == 854.25
    assert told["device"]["simulated"]
    assert "board: requested" in done.stderr or "requested 824 -> 854.25 MHz" in told["notes"]
    assert away.clocks() == before


def test_what_is_made_there_lies_where_it_was_named_here(away: Bench, server: sshd.Server) -> None:
    tiny_onnx(away.folder / "net.onnx")
    fp16 = ("--device", "tx2", "--precision", "fp16")
    engine = away.folder / "new/a net's `x`.engine"
    built = away.run("build", "net.onnx", *fp16, f"--output=new/{engine.name}", "--host", "board", "--json")
    assert built.returncode == 0, built.stderr
    assert json.loads(built.stdout)["engine"] == f"new/{engine.name}"
    passport = json.loads(engine.with_name(f"{engine.name}.json").read_text())
    assert passport["sha256"] == hashlib.sha256(engine.read_bytes()).hexdigest()

    asked = ("--inferences", "2", "-o", "layers", "--results", "home", "--host", "board")
    profiled = away.run("profile", engine, "--device", "tx2", "--tool", "trtexec", *asked)
    assert profiled.returncode == 0, profiled.stderr
    assert json.loads((away.folder / "layers/layers.json").read_text())
    (kept,) = (away.folder / "home").glob("*.profile.json")
    assert f"for the report: home/{kept.name}" in profiled.stderr
    assert not list((server.config.parent / "sent/espdeploy/outgoing").iterdir())


def test_what_has_no_room_here_stays_there_and_is_said(away: Bench) -> None:
    tiny_onnx(away.folder / "net.onnx")
    asked = ("build", "net.onnx", "--device", "tx2", "--precision", "fp16", "-o", "net.engine", "--host", "board")
    limited = ["sh", "-c", 'ulimit -f 1 && exec "$@"', "sh", *away.argv(asked)]
    done = subprocess.run(limited, env=away.environment, cwd=away.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "File too large" in done.stderr
    (place,) = re.findall(r"stays on board, in (\S+)", done.stderr)
    assert f"scp -r board:{place} ." in done.stderr
    assert {path.name for path in (Path(place) / "o").iterdir()} == {"net.engine", "net.engine.json"}
    assert [path.name for path in away.folder.iterdir() if "engine" in path.name] == []


def test_a_lost_connection_ends_the_command_there_and_clocks_are_put_back(away: Bench, server: sshd.Server) -> None:
    before = away.clocks()
    away.board.set_fault("dropped_connection", server.process)
    done = away.bench("--freq", "1122", "--trials", "20", "--duration-s", "4", "--host", "board")
    assert done.returncode == 3
    assert "board does not answer" in done.stderr or "connection to board failed" in done.stderr
    _until(lambda: away.clocks() == before)
    assert not list(away.folder.glob("results/*.json"))


def test_ctrl_c_here_ends_it_there_and_brings_home_what_was_complete(away: Bench) -> None:
    before = away.clocks()
    (away.folder / "tx2").write_text("a file that is named as the device is")
    arguments = ("bench", away.engine, "--device", "tx2", "--freq", "624,1122", *_QUICK, "--host", "board")
    running = subprocess.Popen(
        away.argv(arguments), env=away.environment, cwd=away.folder, stderr=subprocess.PIPE, text=True
    )
    _until(lambda: away.board.hz("min_freq") == 1_122_000_000)
    running.send_signal(signal.SIGINT)
    _, told = running.communicate(timeout=60)
    assert running.returncode == 130, told
    (kept,) = (away.folder / "results").glob("*.json")
    assert json.loads(kept.read_text())["device"]["gpu_freq_mhz"]["set"] == 624.75
    assert kept.name in told
    _until(lambda: away.clocks() == before)


def test_a_sweep_over_ssh_keeps_its_records_and_what_is_done_here(away: Bench) -> None:
    tiny_onnx(away.folder / "a.onnx")
    (away.folder / "mine.toml").write_text(
        'name = "mine"\ndescription = "d"\n[run]\ntrials = 3\nduration_s = 0.5\nwarmup_s = 0.1\nidle_s = 0.0\n'
        '[[matrix]]\ndevices = ["tx2"]\nmodels = ["a.onnx"]\nprecisions = ["fp16"]\nfreq = ["824"]\n'
        'power_modes = ["MAXN", "NONE"]\n'
    )
    asked = ("sweep", "./mine.toml", "--host", "board", "--json")
    first = away.run(*asked)
    assert first.returncode == 2, first.stderr
    measured, failed = json.loads(first.stdout)["cells"]
    assert (measured["state"], failed["state"]) == ("measured", "failed")
    assert 'no power mode is called "NONE"' in failed["error"]["what"]  # as the board told it
    (kept,) = (away.folder / "results").glob("*.json")
    record = json.loads(kept.read_text())
    assert [record["id"]] == measured["records"]
    assert (record["cell"], record["device"]["gpu_freq_mhz"]["set"]) == (measured["id"], 854.25)
    again = away.run(*asked, "--only", "MAXN")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["cells"][0]["state"] == "found"


def test_a_command_that_is_killed_there_is_told_as_that(away: Bench) -> None:
    killer = away.folder / "killer"
    killer.write_text('#!/bin/sh\n[ "$1" = --version ] && exec espdeploy --version\nkill -9 $$\n')
    killer.chmod(0o755)
    done = away.bench("--host", "board", "--remote-espdeploy", killer, "--json")
    assert done.returncode == 4
    assert "was killed on board (signal 9)" in json.loads(done.stdout)["error"]["what"]


@pytest.mark.parametrize(
    ("host", "more", "code", "said"),
    [
        ("-oProxyCommand=id", (), 2, "is no host"),
        ("a host", (), 2, "is no host"),
        ("nowhere.invalid", (), 3, "nothing resolves"),
        ("board", ("--remote-espdeploy", "/not/there"), 3, "has no /not/there"),
        ("board", ("--container", "image"), 3, "has no docker"),
    ],
)
def test_a_host_that_is_not_as_needed(away: Bench, host: str, more: tuple[str, ...], code: int, said: str) -> None:
    done = away.run("doctor", "--host", host, *more)
    assert done.returncode == code
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 6


def test_a_key_that_is_refused_and_a_server_that_is_gone(away: Bench, server: sshd.Server) -> None:
    text = server.config.read_text()
    stranger = away.folder / "config"
    stranger.write_text(text.replace("/key", "/host"))
    away.environment["ESPDEPLOY_SSH"] = f"ssh -F {stranger}"
    refused = away.run("doctor", "--host", "board")
    assert refused.returncode == 3
    assert "refuses the key" in refused.stderr
    stranger.write_text(text.replace("HostName 127.0.0.1\n Port ", "HostName 127.0.0.1\n Port 1 #"))
    gone = away.run("doctor", "--host", "board")
    assert gone.returncode == 3
    assert "accepts no SSH connections" in gone.stderr


def _until(there: Any, within_s: float = 30.0) -> None:
    until_s = time.monotonic() + within_s
    while not there():
        assert time.monotonic() < until_s, "it did not come to that in time"
        time.sleep(0.05)
