"""`espdeploy profile` on a stand-in TX2 with nvprof, on an Orin with ncu, and where neither is there or allowed."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from espdeploy.errors import MissingCapability
from espdeploy.pipeline.profiling import tools
from espdeploy.recipes import device_profile
from tests.cli.boards import board, tiny_onnx
from tests.cli.conftest import Run, assert_contract_error

_INSTALL = Path(__file__).parents[1] / "fakes/tx2/install.py"


def _stand_in() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tx2_install", _INSTALL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tx2_install"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tx2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with _stand_in().install(tmp_path_factory.mktemp("tx2") / "board", leakage_w=0.0) as running:
        yield running


@pytest.fixture
def engine(tx2: Any, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, value in tx2.environment.items():
        monkeypatch.setenv(name, value)
    tiny_onnx(tmp_path / "net.onnx")
    built = run("build", "net.onnx", "--device", "tx2", "--precision", "fp16", "-o", "net.engine")
    assert built.code == 0, built.err
    yield tmp_path / "net.engine"
    tx2.clear_faults()


def test_times_first_then_counters_of_the_longest(tx2: Any, engine: Path, tmp_path: Path, run: Run) -> None:
    tx2.lock(854.25)
    ran = run("profile", engine, "--device", "tx2", "--inferences", "5", "--kernels", "top:2", "-o", "kept", "--json")
    assert ran.code == 0, ran.err
    told = ran.document
    assert told["kind"] == "nvprof"
    assert told["simulated"]
    kernels = {kernel["name"]: kernel for kernel in told["kernels"]}
    assert kernels["trt_maxwell_scudnn_128x64_relu_medium_nn_v1"]["calls"] == 10  # two layers, five inferences
    truth = tx2.truth().latency_ms(854.25, precision="fp16")
    assert sum(kernel["total_ms"] for kernel in kernels.values()) / 5 == pytest.approx(truth, rel=0.01)
    assert {"warp_execution_efficiency", "gld_efficiency", "achieved_occupancy"} <= set(told["metrics"])
    times, counts = told["commands"]
    assert times.startswith("nvprof --csv --log-file kept/summary.csv ")
    assert "--metrics" not in times
    assert "--exportTimes" in times
    two = "'::(trt_maxwell_scudnn_128x64_relu_medium_nn_v1|trt_maxwell_scudnn_128x32_relu_interior_nn_v1):'"
    assert f"--kernels {two} --metrics warp_execution_efficiency," in counts
    assert counts.count("--metrics") == 1  # all counters in one run
    assert sorted(path.name for path in (tmp_path / "kept").iterdir() if path.suffix == ".csv") == [
        "counters.csv",
        "summary.csv",
    ]


def test_a_dry_run_shows_the_commands_and_runs_nothing(engine: Path, tmp_path: Path, run: Run) -> None:
    told = run("profile", engine, "--device", "tx2", "--dry-run", "--json").document["steps"]
    text = "\n".join(step["command"] for step in told)
    assert text.count("nvprof --csv") == 2
    assert f"--loadEngine={engine}" in text
    layers = run("profile", engine, "--device", "tx2", "--tool", "trtexec", "--dry-run", "--json").document["steps"]
    assert "--exportProfile=profile/layers.json" in layers[1]["command"]
    assert not (tmp_path / "profile").exists()
    assert_contract_error(
        run("profile", "none.engine", "--device", "tx2", "--dry-run"), 2, "none.engine does not exist"
    )


def test_layers_and_counters_and_a_record_explain_a_run(engine: Path, tmp_path: Path, run: Run) -> None:
    """The memory's counters take the place of the graph: operations per byte follow from rates alone."""
    quick = ("--trials", "20", "--duration-s", "0.5", "--warmup-s", "0.2", "--idle-s", "0")
    benched = run("bench", engine, "--device", "tx2", *quick, "--results", "results")
    assert benched.code == 0, benched.err
    layers = run("profile", engine, "--device", "tx2", "--tool", "trtexec", "-o", "layers", "--json")
    assert layers.code == 0, layers.err
    assert len(layers.document["layers"]) == 5
    assert run("profile", engine, "--device", "tx2", "--inferences", "2", "-o", "kernels").code == 0
    files = ["kernels/summary.csv", "kernels/counters.csv", "layers/layers.json", "layers/layer_info.json"]
    ran = run("explain", "results", *files, "--json")
    assert ran.code == 0, ran.err
    told = ran.document
    assert {"one_kernel", "one_layer", "layout_changes"} <= {limit["code"] for limit in told["limits"]}
    (kept,) = [path for path in (tmp_path / "results").glob("*.json") if ".profile." not in path.name]
    record = json.loads(kept.read_text())
    roof, metrics = told["roofline"], run("parse", *files[:2], "--json").document["metrics"]
    rate = sum(metrics[f"dram_{way}_throughput"]["mean_gb_per_s"] for way in ("read", "write"))
    seconds = record["gpu_latency_ms"]["p50"] / 1e3
    assert roof["intensity"] == pytest.approx(2 * record["model"]["macs"] / (rate * 1e9 * seconds))
    assert roof["bound"] == "memory"
    assert [layer["kind"] for layer in told["layers"]] == ["reformat", "compute", "compute", "compute", "compute"]
    assert len(list((tmp_path / "results").glob("*.profile.json"))) == 2
    assert run("report", "results", "-o", "page.html").code == 0
    page = (tmp_path / "page.html").read_text()
    assert "trt_maxwell_scudnn_128x64_relu_medium_nn_v1" in page
    assert "SIMULATED" in page
    assert told["simulated"] is True
    shown = run("explain", "results", *files).out
    assert shown.startswith("SIMULATED")


def test_a_profile_knows_the_network_that_its_engine_was_built_of(engine: Path, tmp_path: Path, run: Run) -> None:
    """The roofline of what was built at fp16 takes two bytes a value; another file by the same name is not taken."""

    def roofline() -> Any:
        assert run("profile", engine, "--device", "tx2", "--inferences", "2", "--kernels", "none").code == 0
        (kept,) = (tmp_path / "results").glob("*.profile.json")
        document = json.loads(kept.read_text())
        kept.unlink()
        return document["explanation"]["roofline"]

    (onnx,) = engine.parent.glob("*.onnx")
    passport = json.loads(Path(f"{engine}.json").read_text())
    assert passport["precision"] == "fp16"
    own = roofline()
    whole = run("explain", onnx, "--device", "tx2", "--precision", "fp16", "--json").document["roofline"]
    assert (own["macs"], own["bytes"]) == (whole["macs"], whole["bytes"])
    onnx.write_bytes(onnx.read_bytes() + b"\x00")
    assert roofline() is None


def test_a_board_without_the_onnx_package_is_profiled_all_the_same(
    engine: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    ran = run("profile", engine, "--device", "tx2", "--inferences", "2", "--kernels", "none")
    assert ran.code == 0, ran.err
    (kept,) = (tmp_path / "results").glob("*.profile.json")
    document = json.loads(kept.read_text())
    assert document["explanation"]["limits"]
    assert document["explanation"]["roofline"] is None
    assert any("the network was left aside: the Python package onnx" in note for note in document["notes"])


@pytest.mark.parametrize(
    ("fault", "code", "said"),
    [("no_root", 3, "NVreg_RestrictProfilingToAdminUsers=0"), ("trtexec_crash", 4, "without nvprof")],
)
def test_what_the_tool_refuses_is_said_with_what_mends_it(  # noqa: PLR0917 - the columns of the table above
    tx2: Any, engine: Path, run: Run, fault: str, code: int, said: str
) -> None:
    tx2.set_fault(fault, True)
    assert_contract_error(run("profile", engine, "--device", "tx2", "--inferences", "2"), code, "nvprof", said)


def test_without_counters_no_permission_is_needed(tx2: Any, engine: Path, run: Run) -> None:
    tx2.set_fault("no_root", True)
    told = run("profile", engine, "--device", "tx2", "--inferences", "2", "--kernels", "none", "--json").document
    assert told["kernels"]
    assert not told["metrics"]


def test_wrong_requests_end_before_anything_runs(engine: Path, tmp_path: Path, run: Run) -> None:
    assert_contract_error(run("profile", engine, "--device", "tx2", "--tool", "ncu"), 3, "6.2", "--tool nvprof")
    assert_contract_error(run("profile", engine, "--device", "tx2", "--tool", "vtune"), 2, "vtune")
    assert_contract_error(run("profile", engine, "--device", "tx2", "--kernels", "top:0"), 2, "top:10")
    assert_contract_error(run("profile", engine, "--device", "cpu"), 3, "no GPU")
    assert_contract_error(run("profile", "absent.engine", "--device", "tx2"), 2, "absent.engine")
    (tmp_path / "file").touch()
    assert_contract_error(run("profile", engine, "--device", "tx2", "-o", "file"), 3, "file")


_NCU = """#!{python}
import sys
log = sys.argv[sys.argv.index("--log-file") + 1]
open(log, "w").write({text!r})
"""
_RAW = (
    '"ID","Process ID","Process Name","Host Name","Kernel Name","Context","Stream","Block Size","Grid Size","Device",'
    '"CC","gpu__time_duration.sum","smsp__thread_inst_executed_per_inst_executed.ratio"\n'
    '"","","","","","","","","","","","nsecond",""\n'
    '"0","7","trtexec","127.0.0.1","conv_kernel","1","7","(128, 1, 1)","(64, 1, 1)","0","8.7","2000","16"\n'
)
_KILLED = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
_DENIED = (
    "==PROF== Connected to process 7 (/usr/bin/trtexec)\n==ERROR== ERR_NVGPUCTRPERM - The user does not have "
    "permission to access NVIDIA GPU Performance Counters on the target device 0.\n"
)


@pytest.mark.parametrize(
    ("text", "after", "code", "said"),
    [
        (_RAW, "", 0, ""),
        (_DENIED, "", 3, "ERR_NVGPUCTRPERM"),
        ("==WARNING== No kernels were profiled.\n", "", 3, "No kernels"),
        ("==ERROR== Failed to save the report: No space left on device\n", "", 3, "free space"),
        ("==PROF== Connected to process 7\n", _KILLED, 4, "killed by SIGKILL"),
        (_RAW, "sys.exit(9)\n", 4, "in spite of the figures"),
    ],
)
def test_an_orin_is_counted_by_ncu(  # noqa: PLR0917 - the columns of the table above
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, text: str, after: str, code: int, said: str
) -> None:
    trtexec = board(tmp_path, "orin-agx", "10.3.0", monkeypatch)
    ncu = tmp_path / "bin/ncu"
    ncu.parent.mkdir()
    ncu.write_text(_NCU.format(python=sys.executable, text=text) + after)
    ncu.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ncu.parent}:{trtexec.parent}")
    tiny_onnx(tmp_path / "net.onnx")
    common = ("--device", "orin-agx", "--runtime", "trtexec")
    built = run("build", "net.onnx", *common, "--precision", "fp16", "-o", "net.engine")
    assert built.code == 0, built.err
    ran = run("profile", "net.engine", *common, "--json")
    assert ran.code == code, ran.err
    if code:
        assert ran.document["error"]["do"]
        assert said in json.dumps(ran.document)
        return
    planned = run("profile", "net.engine", *common, "--dry-run", "--json").document["steps"]
    assert [step["command"].partition(" ")[0] for step in planned if step["command"]] == ["nsys", "ncu"]
    assert ran.document["metrics"]["warp_execution_efficiency"]["mean_pct"] == 50.0  # 16 of 32 threads
    assert any("nsys" in note for note in ran.document["notes"])
    assert "dram__" not in ran.document["commands"][0]  # an Orin has no such counters


@pytest.mark.parametrize(
    ("device", "tool", "refused"),
    [
        ("nano", "nvprof", "ncu"),
        ("tx2", "nvprof", "ncu"),
        ("xavier-agx", "nvprof", None),
        ("orin-nano", "ncu", "nvprof"),
    ],
)
def test_the_tool_follows_the_compute_capability(
    device: str, tool: str, refused: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    profile = device_profile(device)
    assert tools.choose(profile, None) == tool
    assert tools.reads_counters(tool, profile)
    with pytest.raises(MissingCapability, match=f"{tool} is not on this machine"):
        tools.check_installed(tool)
    if refused is not None:
        with pytest.raises(MissingCapability, match=f"{refused} does not read this GPU"):
            tools.choose(profile, refused)


def test_the_program_below_a_profiler_runs_without_one(tmp_path: Path, run: Run) -> None:
    """What nsys, ncu and nvprof start for runtimes of ours: the same command, which only infers."""
    ran = run("profile", tiny_onnx(tmp_path / "net.onnx"), "--device", "cpu", "--as-application", "3")
    assert ran.code == 0, ran.err
    assert not ran.out
