"""`espdeploy doctor engine` on boards made of files, on PCs, and for TensorRT-RTX's own engines."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from espdeploy.devices.gpus import Gpu
from espdeploy.errors import InputFileError
from espdeploy.pipeline.engine_files import engine_runtime
from espdeploy.pipeline.engine_files.engine_doctor import Diagnosis, diagnose
from espdeploy.pipeline.engine_files.engine_here import Here, Installed, installed, look
from espdeploy.pipeline.engine_files.passport import CalibrationOrigin
from tests.cli.engines import TX2, written


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def tx2(root: Path, *, l4t: str = "7.1", cap_hz: int = 1_300_500_000) -> Here:
    """A TX2 as its file system shows it."""
    denver, cortex = "CPU implementer : 0x4e\nCPU part : 0x003\n", "CPU implementer : 0x41\nCPU part : 0xd07\n"
    return look(
        tree(
            root,
            {
                "proc/device-tree/model": "NVIDIA Jetson TX2 Developer Kit",
                "proc/cpuinfo": f"processor : 0\n{denver}\nprocessor : 1\n{cortex}",
                "etc/nv_tegra_release": f"# R32 (release), REVISION: {l4t}, GCID: 1, BOARD: t186ref\n",
                "sys/devices/gpu.0/devfreq/17000000.gp10b/max_freq": f"{cap_hz}\n",
            },
        )
    )


def pc(root: Path, capability: str, name: str) -> Here:
    """A PC with one GPU, which files alone cannot show: NVML tells of it."""
    here = look(tree(root, {"proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Kernel Module  570.1\n"}))
    gpu = Gpu(index=0, name=name, compute_capability=capability, memory_total_mb=24_000.0, sm_clock_max_mhz=2520.0)
    return dataclasses.replace(
        here,
        machine=dataclasses.replace(here.machine, gpus=(gpu,)),
        gpu=name,
        compute_capability=capability,
        gpu_clock_mhz=2520.0,
    )


@pytest.fixture
def trtexec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trtexec of TensorRT 8.2.1 on PATH."""
    path = Path(__file__).parents[1] / "fakes/trtexec/install.py"
    spec = importlib.util.spec_from_file_location("fake_tools", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.install(tmp_path / "bin", "8.2.1")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")


def states(diagnosis: Diagnosis) -> dict[str, str]:
    return {check.name: check.status for check in diagnosis.checks}


def document(diagnosis: Diagnosis) -> dict[str, Any]:
    return {check["name"]: check for check in json.loads(msgspec.json.encode(diagnosis.document()))["checks"]}


@pytest.mark.usefixtures("trtexec")
def test_on_the_board_that_built_it_everything_is_as_it_was(tmp_path: Path) -> None:
    engine = written(tmp_path / "net.engine", TX2)
    diagnosis = diagnose(engine, tx2(tmp_path / "root"))
    assert set(states(diagnosis).values()) == {"ok"}, states(diagnosis)
    assert diagnosis.runs


@pytest.mark.usefixtures("trtexec")
def test_an_engine_of_another_tensorrt_must_be_built_again(tmp_path: Path) -> None:
    engine = written(tmp_path / "net.engine", dataclasses.replace(TX2, tensorrt_version="8.0.1"))
    diagnosis = diagnose(engine, tx2(tmp_path / "root"))
    assert not diagnosis.runs
    check = document(diagnosis)["trtexec release"]
    assert (check["found"], check["expected"], check["effect"]) == ("8.2.1", "8.0.1", "rebuild")
    assert "espdeploy build net.onnx --device tx2 --precision fp16" in check["hint"]


@pytest.mark.usefixtures("trtexec")
def test_another_clock_cap_and_l4t_only_make_timings_incomparable(tmp_path: Path) -> None:
    engine = written(tmp_path / "net.engine", TX2)
    diagnosis = diagnose(engine, tx2(tmp_path / "root", l4t="7.4", cap_hz=854_250_000))
    assert diagnosis.runs
    checks = document(diagnosis)
    differing = {name: check["effect"] for name, check in checks.items() if not check["ok"]}
    assert differing == {"L4T": "timings", "GPU clock cap": "timings"}
    assert (checks["L4T"]["found"], checks["L4T"]["expected"]) == ("32.7.4", "32.7.1 (JetPack 4.6.1)")
    assert (checks["GPU clock cap"]["found"], checks["GPU clock cap"]["expected"]) == ("854.25 MHz", "1300.5 MHz")


@pytest.mark.usefixtures("trtexec")
def test_an_engine_of_another_board_names_both_gpus(tmp_path: Path) -> None:
    nano = dataclasses.replace(TX2, device="nano", compute_capability="5.3", gpu="GM20B (Maxwell)")
    diagnosis = diagnose(written(tmp_path / "net.engine", nano), tx2(tmp_path / "root"))
    assert not diagnosis.runs
    check = document(diagnosis)["compute capability"]
    assert (check["found"], check["expected"], check["effect"]) == ("6.2", "5.3", "rebuild")
    assert document(diagnosis)["device"]["effect"] == "timings"  # both are boards; the capability decides


@pytest.mark.usefixtures("trtexec")
def test_an_older_passport_of_a_board_has_the_boards_own_capability(tmp_path: Path) -> None:
    bare = dataclasses.replace(TX2, compute_capability=None, gpu=None, gpu_clock_mhz=None, l4t=None, jetpack=None)
    diagnosis = diagnose(written(tmp_path / "net.engine", bare), tx2(tmp_path / "root"))
    assert diagnosis.runs
    assert states(diagnosis)["GPU clock cap"] == "unknown"


def test_without_trtexec_the_runtime_is_what_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    engine = written(tmp_path / "net.engine", TX2)
    diagnosis = diagnose(engine, tx2(tmp_path / "root"))
    assert "runtime" in diagnosis.verdict
    assert "trtexec is not on this machine" in document(diagnosis)["runtime"]["found"]
    assert "JetPack" in document(diagnosis)["runtime"]["hint"]


def test_made_up_calibration_is_told(tmp_path: Path) -> None:
    origin = CalibrationOrigin(sha256="1" * 64, method="entropy", images=8, random=True)
    engine = written(tmp_path / "net.engine", dataclasses.replace(TX2, precision="int8", calibration=origin))
    check = document(diagnose(engine, tx2(tmp_path / "root")))["calibration"]
    assert check["status"] == "differs"
    assert "made-up data" in check["hint"]


def test_a_passport_of_an_unknown_runtime(tmp_path: Path) -> None:
    engine = written(tmp_path / "net.engine", dataclasses.replace(TX2, runtime="futurert"))
    diagnosis = diagnose(engine, tx2(tmp_path / "root"))
    assert not diagnosis.runs
    assert "futurert" in document(diagnosis)["runtime"]["found"]


PC = dataclasses.replace(
    TX2,
    device="desktop",
    runtime="tensorrt",
    runtime_version="10.3.0",
    tensorrt_version="10.3.0.26",
    gpu="NVIDIA GeForce RTX 4090",
    compute_capability="8.9",
    gpu_clock_mhz=2520.0,
    cpu=None,
    l4t=None,
    jetpack=None,
)


@pytest.fixture
def tensorrt_10_3(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT's libraries are on no registry: that it is there is told, everything else is looked at."""
    monkeypatch.setattr(
        engine_runtime, "installed", lambda name: Installed(version="10.3.0") if name == "tensorrt" else installed(name)
    )


@pytest.mark.usefixtures("tensorrt_10_3")
def test_another_card_of_the_same_kind_runs_it_at_other_speed(tmp_path: Path) -> None:
    engine = written(tmp_path / "net.engine", PC)
    same = diagnose(engine, pc(tmp_path / "a", "8.9", "NVIDIA GeForce RTX 4090"))
    assert same.runs
    assert {name: state for name, state in states(same).items() if state != "ok"} == {"CPU": "unknown"}
    other = diagnose(engine, pc(tmp_path / "b", "8.9", "NVIDIA L4"))
    assert other.runs
    assert document(other)["GPU"]["effect"] == "timings"
    assert "NVIDIA L4" in document(other)["GPU"]["found"]
    older = diagnose(engine, pc(tmp_path / "c", "8.6", "NVIDIA GeForce RTX 3090"))
    assert not older.runs
    assert "compute capability" in older.verdict


@pytest.mark.usefixtures("tensorrt_10_3")
def test_a_passport_with_the_gpus_name_alone(tmp_path: Path) -> None:
    engine = written(tmp_path / "net.engine", dataclasses.replace(PC, compute_capability=None))
    assert diagnose(engine, pc(tmp_path / "a", "8.9", "NVIDIA GeForce RTX 4090")).runs
    other = diagnose(engine, pc(tmp_path / "b", "8.9", "NVIDIA L4"))
    assert not other.runs  # nobody can say
    assert states(other)["compute capability"] == "unknown"
    assert "RTX 4090" in document(other)["compute capability"]["expected"]


@pytest.mark.usefixtures("tensorrt_10_3")
def test_an_engine_of_a_pc_does_not_run_on_a_board(tmp_path: Path) -> None:
    checks = document(diagnose(written(tmp_path / "net.engine", PC), tx2(tmp_path / "root")))
    assert checks["device"]["effect"] == checks["compute capability"]["effect"] == "rebuild"


def test_a_gpu_that_cannot_be_asked_leaves_it_open(tmp_path: Path) -> None:
    root = tree(tmp_path / "root", {"proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Kernel Module  570.1\n"})
    check = document(diagnose(written(tmp_path / "net.engine", PC), look(root)))["compute capability"]
    assert (check["status"], check["required"]) == ("unknown", True)
    assert "espdeploy[nvml]" in check["hint"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("8.2.1", "8.2.1", True),
        ("10.3.0.26", "10.3.0", True),
        ("10.3.0.26", "10.3.0.30", False),
        ("8.2.1", "8.2.0", False),
        ("8.2.1", "8.21.0", False),
        ("2.13.0+cpu", "2.13.0", True),
        ("1.31.1", "1.31.10", False),
    ],
)
def test_releases_are_compared_part_by_part(one: str, other: str, same: bool) -> None:
    assert engine_runtime.same_release(one, other) is same
    assert engine_runtime.same_release(other, one) is same


@pytest.fixture(scope="module")
def rtx_engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real engine of TensorRT-RTX for compute capabilities 8.6 and 8.9, built without a GPU."""
    rtx = pytest.importorskip("tensorrt_rtx")
    onnx = pytest.importorskip("onnx")
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[1,3,8,8] x) => (float[1,3,8,8] y) { y = Relu(x) }'
    logger = rtx.Logger(rtx.Logger.ERROR)
    builder = rtx.Builder(logger)
    network, config = builder.create_network(), builder.create_builder_config()
    assert rtx.OnnxParser(network, logger).parse(onnx.parser.parse_model(text).SerializeToString())
    config.num_compute_capabilities = 2
    for index, target in enumerate((rtx.ComputeCapability.SM86, rtx.ComputeCapability.SM89)):
        config.set_compute_capability(target, index)
    path = tmp_path_factory.mktemp("rtx") / "relu.engine"
    path.write_bytes(bytes(builder.build_serialized_network(network, config)))
    return path


def test_a_real_engine_tells_its_release_and_gpus_without_a_passport(tmp_path: Path, rtx_engine: Path) -> None:
    import tensorrt_rtx

    fits = diagnose(rtx_engine, pc(tmp_path / "a", "8.9", "NVIDIA L4"))
    assert fits.runs, fits
    check = document(fits)["tensorrt-rtx release"]
    assert check["expected"] == tensorrt_rtx.__version__ == check["found"]
    newer = diagnose(rtx_engine, pc(tmp_path / "b", "12.0", "NVIDIA GeForce RTX 5090"))
    assert not newer.runs
    assert document(newer)["compute capability"]["expected"] == "8.6, 8.9"


def test_a_real_engine_that_was_cut_short_is_found_out_without_a_passport(tmp_path: Path, rtx_engine: Path) -> None:
    content = rtx_engine.read_bytes()
    cut = tmp_path / "cut.engine"
    for size in (len(content) - 1, len(content) // 2, 64, 63, 5):
        cut.write_bytes(content[:size])
        with pytest.raises(InputFileError, match="cut short"):
            diagnose(cut)
    cut.write_bytes(content)
    assert diagnose(cut).checks
