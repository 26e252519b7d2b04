"""`espdeploy bundle`, `run-bundle`, `import`: the way to a board and home again."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.bundling import good_bundle, members
from tests.cli.conftest import Run, assert_contract_error, start

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

QUICK = ("--trials", 5, "--duration-s", 0, "--warmup-s", 0, "--warmup-max-s", 0)
ON_A_BOARD = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "onnx", "onnxruntime", "openvino", "tensorrt", "tensorrt_rtx"}:
            raise ImportError("blocked: " + name)
sys.meta_path.insert(0, Blocked())
from espdeploy.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, small_onnx: Path) -> bytes:
    """A bundle for this processor."""
    return good_bundle(small_onnx, tmp_path_factory.mktemp("bundle"))


def test_the_whole_way_to_a_device_and_home(
    run: Run, small_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = run("bundle", small_onnx, "--device", "cpu", "--runtime", "onnxruntime", *QUICK, "-o", "cpu.tar", "--json")
    assert ran.code == 0, ran
    packed = ran.document
    assert {item["role"] for item in packed["files"]} == {"graph", "device"}
    graph = next(item for item in packed["files"] if item["role"] == "graph")
    assert graph["sha256"] == hashlib.sha256(small_onnx.read_bytes()).hexdigest()
    assert [argv[1] for argv in packed["commands"]] == ["build", "bench"]

    board = tmp_path / "board"
    board.mkdir()
    (tmp_path / "cpu.tar").rename(board / "cpu.tar")
    monkeypatch.chdir(board)
    monkeypatch.setenv("ESPDEPLOY_CACHE", str(board / "cache"))
    ran = run("run-bundle", "cpu.tar", "--json")
    assert ran.code == 0, ran
    done = ran.document
    assert (done["device"], done["cache"], done["bundle_sha256"]) == ("cpu", "built", packed["sha256"])
    assert done["runtime"] == "onnxruntime"
    assert sorted(path.name for path in board.iterdir()) == ["cache", "cpu.results.tar", "cpu.tar"]

    home = tmp_path / "home"
    home.mkdir()
    (board / "cpu.results.tar").rename(home / "cpu.results.tar")
    monkeypatch.chdir(home)
    ran = run("import", "cpu.results.tar", "--results", "mine", "--json")
    assert ran.code == 0, ran
    assert [item["id"] for item in ran.document["records"]] == [done["record"]]
    assert [item["new"] for item in ran.document["records"]] == [True]
    record = json.loads(Path(ran.document["records"][0]["file"]).read_text())
    assert record["device"]["name"] == "cpu"
    assert record["trials"] == 5
    assert record["engine"]["provenance"]["onnx_sha256"] == graph["sha256"]
    assert record["command"].startswith("espdeploy bench ")
    passport = json.loads(Path(ran.document["passports"][0]).read_text())
    assert passport["sha256"] == record["engine"]["sha256"]
    report = run("report", "mine", "-o", "report.html", "--json").document
    assert (report["records"], report["left_out"]) == (1, {})
    assert record["id"] in Path("report.html").read_text()


def test_running_it_again_finds_the_engine_and_measures_anew(run: Run, good: bytes, tmp_path: Path) -> None:
    (tmp_path / "cpu.tar").write_bytes(good)
    first = run("run-bundle", "cpu.tar", "-o", "first.tar", "--json").document
    second = run("run-bundle", "cpu.tar", "-o", "second.tar", "--json").document
    assert (first["cache"], second["cache"]) == ("built", "hit")
    assert first["record"] != second["record"]
    assert run("import", "first.tar").code == run("import", "second.tar").code == 0
    again = run("import", "first.tar", "--json").document
    assert [item["new"] for item in again["records"]] == [False]
    assert len(list(Path("results").glob("*.json"))) == 2


def test_the_same_content_gives_the_same_bytes_but_for_the_time(good: bytes, small_onnx: Path, tmp_path: Path) -> None:
    infos = [info for info, _ in members(good)]
    assert {(info.uid, info.gid, info.uname, info.mtime) for info in infos} == {(0, 0, "", 0)}
    assert str(small_onnx.parent).encode() not in good  # where it lay at home is nobody's business
    assert str(tmp_path.parent.parent).encode() not in good


def test_an_interrupted_measurement_is_packed_as_far_as_it_came(run: Run, small_onnx: Path, tmp_path: Path) -> None:
    options = ("--device", "cpu", "--runtime", "onnxruntime", "--warmup-s", 0, "--duration-s", 600, "-o", "cpu.tar")
    assert run("bundle", small_onnx, *options).code == 0
    process = start(["run-bundle", "cpu.tar", "-o", "r.tar"], tmp_path)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("measuring"):
            time.sleep(1)  # so that some trials are done
            process.send_signal(signal.SIGINT)
            break
    process.communicate(timeout=60)
    assert process.returncode == 130
    imported = run("import", "r.tar", "--json").document
    record = json.loads(Path(imported["records"][0]["file"]).read_text())
    assert record["interrupted"] is True
    assert record["trials"] >= 1


def test_a_dry_run_checks_everything_and_writes_nothing(run: Run, good: bytes, tmp_path: Path) -> None:
    (tmp_path / "cpu.tar").write_bytes(good)
    ran = run("run-bundle", "cpu.tar", "--dry-run", "--json")
    assert ran.code == 0, ran
    commands = [step["command"] for step in ran.document["steps"] if step["command"]]
    assert commands[0].startswith("espdeploy build small.onnx --device cpu --precision fp32 --runtime onnxruntime")
    assert "--trials 5" in commands[1]
    assert [path.name for path in tmp_path.iterdir()] == ["cpu.tar"]
    damaged = bytearray(good)
    damaged[good.index(b"espnet")] ^= 1
    (tmp_path / "cpu.tar").write_bytes(damaged)
    assert_contract_error(run("run-bundle", "cpu.tar", "--dry-run"), 2, "damaged", "SHA-256")


def test_int8_takes_its_table_and_tensorrts_cache_along(run: Run, small_onnx: Path, tmp_path: Path) -> None:
    assert run("calibrate", small_onnx, "--allow-random-calibration", "-o", "T.json").code == 0
    options = ("--precision", "int8", "--calibration", "T.json")
    ran = run("export", "--model", "espnet-c", "--set", "alpha3=1", "--size", "64x48", "--opset", 13, "-o", "old.onnx")
    assert ran.code == 0, ran
    ran = run("bundle", "old.onnx", "--device", "xavier-nx", *options, "-o", "x.tar")
    assert_contract_error(ran, 2, "another network")  # the table is of the other graph
    assert run("calibrate", "old.onnx", "--allow-random-calibration", "-o", "T.json").code == 0
    ran = run("bundle", "old.onnx", "--device", "xavier-nx", *options, "-o", "x.tar", "--json")
    assert ran.code == 0, ran
    inside = {info.name: content for info, content in members((tmp_path / "x.tar").read_bytes())}
    assert inside["calibration.json"] == (tmp_path / "T.json").read_bytes()
    assert inside["calibration.cache"].startswith(b"TRT-8500-EntropyCalibration2\n")
    table = json.loads(inside["calibration.json"])
    scaled = {line.rpartition(": ")[0] for line in inside["calibration.cache"].decode().splitlines()[1:]}
    assert scaled == set(table["ranges"])


def test_a_table_of_the_same_graph_in_another_file_is_made_to_fit(run: Run, small_onnx: Path, tmp_path: Path) -> None:
    assert run("calibrate", small_onnx, "--allow-random-calibration", "-o", "T.json").code == 0
    model = onnx.load(str(small_onnx))
    model.doc_string = "the same graph in another file"
    onnx.save(model, "other.onnx")
    ran = run(
        "bundle", "other.onnx", "--device", "cpu", "--precision", "int8", "--calibration", "T.json", "-o", "b.tar"
    )
    assert ran.code == 0, ran
    assert "another file of the same graph" in ran.err
    inside = {info.name: content for info, content in members((tmp_path / "b.tar").read_bytes())}
    table = json.loads(inside["calibration.json"])
    assert table["onnx_sha256"] == hashlib.sha256(Path("other.onnx").read_bytes()).hexdigest()
    assert table["ranges"] == json.loads(Path("T.json").read_text())["ranges"]


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["--device", "tx2", "--precision", "int8"], 3, "DP4A"),
        (["--device", "tx2"], 3, "opset"),
        (["--device", "tx3"], 2, "tx2"),
        (["--device", "cpu", "--precision", "mixed"], 2, "no images"),
        (["--device", "cpu", "--precision", "int8"], 2, "espdeploy calibrate"),
        (["--device", "cpu", "--precision", "int4"], 2, "int4"),
        (["--device", "cpu", "--runtime", "trtexec"], 2, "trtexec"),
        (["--device", "cpu", "--freq", "824"], 2, "--freq 824"),
        (["--device", "cpu", "--size", "big"], 2, "--size"),
        (["--device", "cpu", "--batch", "many"], 2, "dynamic"),
        (["--device", "cpu", "--calibration", "T.json"], 2, "of no use"),
    ],
)
def test_what_the_device_cannot_do_is_refused_at_home(
    run: Run, small_onnx: Path, options: list[str], code: int, told: str
) -> None:
    assert_contract_error(run("bundle", small_onnx, *options, "-o", "b.tar"), code, told)
    assert not Path("b.tar").exists()


def test_a_bundle_of_another_device_is_refused_before_anything_is_built(run: Run, tmp_path: Path) -> None:
    small = ("--model", "espnet-c", "--set", "alpha3=1", "--size", "64x48", "--device", "tx2")
    assert run("export", *small, "-o", "net.onnx").code == 0
    assert run("bundle", "net.onnx", "--device", "tx2", "--precision", "fp16", "-o", "tx2.tar").code == 0
    assert_contract_error(run("run-bundle", "tx2.tar"), 3, "this machine is not a tx2")
    assert not (tmp_path / "tx2.results.tar").exists()
    assert not (tmp_path / "cache").exists()
    steps = run("run-bundle", "tx2.tar", "--dry-run", "--json").document["steps"]
    assert "--device tx2 --precision fp16" in steps[1]["command"]


@pytest.mark.parametrize(
    "arguments", [["run-bundle", "cpu.tar", "--dry-run"], ["run-bundle", "cpu.tar", "-o", "r.tar"]]
)
def test_a_board_needs_neither_torch_nor_onnx_to_come_as_far_as_the_build(
    good: bytes, tmp_path: Path, arguments: list[str]
) -> None:
    (tmp_path / "cpu.tar").write_bytes(good)
    argv = [sys.executable, "-c", ON_A_BOARD, *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path)
    if "--dry-run" in arguments:
        assert done.returncode == 0, done.stderr
    else:  # the runtimes of a processor are what is missing then, and this says so
        assert done.returncode == 3, done.stderr
        assert "onnx" in done.stderr
        assert "Traceback" not in done.stderr


def test_import_needs_no_heavy_package(run: Run, good: bytes, tmp_path: Path) -> None:
    (tmp_path / "cpu.tar").write_bytes(good)
    assert run("run-bundle", "cpu.tar").code == 0
    argv = [sys.executable, "-c", ON_A_BOARD, "import", "cpu.results.tar", "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["records"][0]["new"] is True
