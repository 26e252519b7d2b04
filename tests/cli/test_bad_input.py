"""What a sceptical user tries with each command: odd files and names, full disks, closed streams, interruptions."""

from __future__ import annotations

import json
import os
import pickle
import pty
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Run, assert_contract_error, start

onnx = pytest.importorskip("onnx")
pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

QUICK = ["--trials", "3", "--duration-s", "0", "--warmup-s", "0", "--warmup-max-s", "0"]
SMALL = ["export", "--model", "espnet-c", "--set", "alpha3=1", "--size", "64x48"]
OLD_OPSET = ["--opset", "13"]  # where the exporter makes no difference: this one takes a fifth of the time
FLOAT, INT64, UINT8, STRING = 1, 7, 2, 8  # onnx.TensorProto.DataType
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write an ONNX file of one line of ONNX text, such as ``agraph (…) => (…) { … }``, and return its path."""

    def call(name: str, text: str, *, opset: int = 13) -> Path:
        model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> {text}')
        path = tmp_path / name
        onnx.save(model, path)
        return path

    return call


CONVOLUTION = "<float[4,3,1,1] w = {1,0,0, 0,1,0, 0,0,1, 1,1,1}> { y = Conv(x, w) }"


# --- every command -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        [*SMALL, "-o", ""],
        ["export", "--model", "", "--size", "64x48"],
        ["export", "--model", "espnet-c", "--size="],
        ["bench", "--model", "espnet-c", "--runtime", ""],
        ["build", ""],
        ["doctor", "--device", ""],
        ["report", ""],
        ["predict", "net.onnx", "", "-o", "out"],
    ],
)
def test_an_empty_argument_is_never_taken_for_another(arguments: list[str], run: Run) -> None:
    assert_contract_error(run(*arguments), 2, "empty", "variable")


def test_a_folder_that_was_removed_is_no_fault_of_espdeploy(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f"rmdir {gone} && {sys.executable} -P -m espdeploy devices --json"
    done = subprocess.run(["sh", "-c", script], cwd=gone, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "removed" in json.loads(done.stdout)["error"]["what"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["bench", "{long}"],
        ["build", "{long}"],
        ["eval", "{long}", "--data", "."],
        ["predict", "{long}", "a.png", "-o", "out"],
        ["export", "--model", "espnet", "--weights", "{long}"],
        ["export", "--model", "{long}"],
        ["report", "{long}"],
    ],
)
def test_a_name_that_no_file_can_have(arguments: list[str], run: Run) -> None:
    long = "x" * 300 + ".onnx"
    assert_contract_error(run(*(item.format(long=long) for item in arguments)), 2, "too long")


@pytest.mark.parametrize("command", [["report", "n\udcff"], ["models", "n\udcff"], ["bench", "n\udcff.onnx"]])
def test_a_name_in_another_encoding_is_shown_with_escapes(command: list[str], run: Run) -> None:
    ran = run(*command, "--json")
    assert ran.code == 2
    assert "n\\udcff" in ran.document["error"]["what"]


def test_an_encoding_without_dashes_is_no_reason_to_fail(tmp_path: Path) -> None:
    process = start(["models", "espnet"], tmp_path, PYTHONIOENCODING="ascii")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "364,569" in out


def test_closed_standard_streams_lead_nowhere(make: Make, tmp_path: Path) -> None:
    """Without a guard the next file that is opened becomes standard output, and is printed into."""
    make("net.onnx", f"g (float[1,3,8,8] x) => (float[1,4,8,8] y) {CONVOLUTION}")
    script = f"{sys.executable} -m espdeploy build net.onnx -o engine.onnx --runtime onnxruntime >&- 2>&-"
    assert subprocess.run(["sh", "-c", script], cwd=tmp_path, check=False, timeout=60).returncode == 0
    assert (tmp_path / "engine.onnx").read_bytes() == (tmp_path / "net.onnx").read_bytes()


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="this system has no /dev/full")
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_full_disk_under_standard_output(flags: list[str], tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        argv = [sys.executable, "-m", "espdeploy", "devices", *flags]
        done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert done.returncode == 3
    assert done.stderr.startswith("error: cannot write")
    assert "Traceback" not in done.stderr


def test_a_reader_of_the_progress_that_leaves_early_ends_no_work(make: Make, tmp_path: Path) -> None:
    make("net.onnx", f"g (float[1,3,8,8] x) => (float[1,4,8,8] y) {CONVOLUTION}")
    process = start(["build", "net.onnx", "-o", "engine.onnx"], tmp_path)
    assert process.stderr is not None
    process.stderr.close()
    assert process.stdout is not None
    with process.stdout:
        process.stdout.read()
    assert process.wait(timeout=60) == 0
    assert (tmp_path / "engine.onnx.json").is_file()


@pytest.mark.parametrize("no_color", ["1", ""])
def test_no_color_leaves_no_escape_on_a_terminal(no_color: str, tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    environment = {**os.environ, "NO_COLOR": no_color, "TERM": "xterm-256color"}
    argv = [sys.executable, "-m", "espdeploy", "devices"]
    with subprocess.Popen(argv, stdout=follower, stderr=follower, cwd=tmp_path, env=environment) as process:
        os.close(follower)
        shown = b""
        while piece := _read_or_end(leader):
            shown += piece
        process.wait(timeout=60)
    os.close(leader)
    assert b"tx2" in shown
    assert (b"\x1b" in shown) == (no_color == "")  # an empty NO_COLOR is none


def _read_or_end(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux tells the end of a pseudo-terminal so
        return b""


SWALLOWS = """
import os, signal, time
def net():
    try:
        os.kill(os.getpid(), signal.{name})
        time.sleep(10)
    except KeyboardInterrupt:
        raise RuntimeError("turned into something else")
"""


@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_an_interruption_that_a_library_turned_into_an_error_is_one(how: str, tmp_path: Path) -> None:
    (tmp_path / "swallows.py").write_text(SWALLOWS.format(name=how))
    process = start(["export", "--model", "swallows:net", "--json"], tmp_path)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert json.loads(out)["error"]["what"] == "interrupted"


def test_a_signal_that_was_ignored_from_the_start_stays_so(tmp_path: Path) -> None:
    """As with nohup, which is how long benchmarks are left alone."""
    (tmp_path / "lost.py").write_text(
        "import os, signal, torch\n"
        "def net():\n    os.kill(os.getpid(), signal.SIGHUP)\n    return torch.nn.Conv2d(3, 2, 1)\n"
    )
    script = (
        f"trap '' HUP; exec {sys.executable} -m espdeploy export --model lost:net --size 8x8 --opset 13 -o net.onnx"
    )
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "net.onnx").is_file()


@pytest.mark.parametrize("stage", ["building", "simplifying", "comparing"])
def test_an_interrupted_export_leaves_nothing(stage: str, tmp_path: Path) -> None:
    process = start([*SMALL, *OLD_OPSET, "-o", "net.onnx"], tmp_path)
    assert process.stderr is not None
    for line in process.stderr:
        if stage in line:
            break
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err.partition("error: ")[2]
    assert [path.name for path in tmp_path.iterdir()] == []


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_runtimes_report_to_nobody(runtime: str, make: Make, tmp_path: Path) -> None:
    """Both write an identity into the home folder, and send events, once they are imported as they come."""
    pytest.importorskip(runtime)
    net = make("net.onnx", f"g (float[1,3,8,8] x) => (float[1,4,8,8] y) {CONVOLUTION}")
    home = tmp_path / "home"
    home.mkdir()
    process = start(["bench", net, "--runtime", runtime, *QUICK, "--json"], tmp_path, HOME=str(home), XDG_CACHE_HOME="")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert json.loads(out)["engine"]["runtime"] == runtime
    assert list(home.rglob("*")) == []


# --- export --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [".", "folder", "pipe"])
def test_an_output_that_is_no_file_is_refused_at_once_and_left_as_it_is(place: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")  # root could replace a device like /dev/null as well
    for command in ([*SMALL, "-o", place], ["report", "folder", "-o", place]):
        if command[0] == "report":
            (tmp_path / "folder/record.json").write_bytes(_golden_record())
        ran = run(*command)
        assert_contract_error(ran, 2, place)
        assert "building" not in ran.err
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def _golden_record() -> bytes:
    return (Path(__file__).parent.parent / "golden/record_schema_1.json").read_bytes()


def test_opset_0_is_not_the_devices_own(run: Run) -> None:
    assert_contract_error(run(*SMALL, "--opset", "0"), 2, "opset 0", "9")


def test_a_size_that_no_memory_holds(run: Run) -> None:
    assert_contract_error(run(*SMALL, "--batch", "99999999999"), 3, "memory", "--batch")


class _Reducer:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, (f"touch {self.mark}",))


@pytest.mark.parametrize("wrapped", [True, False])
def test_code_in_a_checkpoint_never_runs(wrapped: bool, run: Run, tmp_path: Path) -> None:
    import torch

    mark = tmp_path / "ran"
    if wrapped:
        torch.save({"weight": torch.zeros(1), "more": _Reducer(mark)}, tmp_path / "net.pth")
    else:
        (tmp_path / "net.pth").write_bytes(pickle.dumps(_Reducer(mark)))
    assert_contract_error(run("export", "--model", "espnet", "--weights", "net.pth"), 2, "no code")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("g () => (float[1] y) { y = Constant<value = float[1] {1}>() }", "none"),
        ("g (float[1,3,8,8] a, float[1,3,8,8] b) => (float[1,3,8,8] y) { y = Add(a, b) }", "b [1, 3, 8, 8]"),
        ("g (float[0,3,8,8] x) => (float[0,3,8,8] y) { y = Relu(x) }", "[0, 3, 8, 8]"),
        ("g (float[1,8] x) => (float[1,8] y) { y = Relu(x) }", "[1, 8]"),
        ("g (string[1,3,8,8] x) => (string[1,3,8,8] y) { y = Identity(x) }", "string"),
        ("g (float[1,3,8,8] x) => (seq(float[1,3,8,8]) y) { y = SequenceConstruct(x) }", "no tensor"),
    ],
)
def test_a_graph_that_does_not_take_one_image(text: str, told: str, make: Make, run: Run) -> None:
    net = make("net.onnx", text)
    assert_contract_error(run("export", "--model", net), 2, told)
    if "seq" not in text:
        assert_contract_error(run("bench", net, *QUICK), 2, told)


def test_a_file_of_any_size_is_proven_at_one_that_networks_take(make: Make, run: Run) -> None:
    """At 1x1 the five halvings of a segmentation network leave nothing to compare."""
    pool = CONVOLUTION.replace("y = Conv(x, w)", "z = Conv(x, w) y = MaxPool<kernel_shape = [32, 32]>(z)")
    net = make("net.onnx", f"g (float[n,3,h,w] x) => (float[n,4,a,b] y) {pool}")
    document = run("export", "--model", net, "-o", "out.onnx", "--json").document
    assert document["parity"]["max_abs_err"] == 0
    assert document["macs"] is None
    assert any("macs is null" in note for note in document["notes"])


def test_a_file_without_metadata_is_counted(make: Make, run: Run) -> None:
    net = make("net.onnx", f"g (float[1,3,8,8] x) => (float[1,4,8,8] y) {CONVOLUTION}")
    document = run("export", "--model", net, "-o", "out.onnx", "--json").document
    assert (document["params"], document["macs"]) == (12, 12 * 8 * 8)


# --- build ---------------------------------------------------------------------------------------------------------


def test_weights_outside_the_file_are_not_left_behind(make: Make, run: Run, tmp_path: Path) -> None:
    whole = make("whole.onnx", f"g (float[1,3,8,8] x) => (float[1,4,8,8] y) {CONVOLUTION}")
    model = onnx.load(whole)
    (weights,) = model.graph.initializer
    weights.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weights), "w"))  # raw bytes can move out
    onnx.save(model, tmp_path / "net.onnx", save_as_external_data=True, location="net.bin", size_threshold=0)
    assert_contract_error(run("build", "net.onnx"), 2, "net.bin", "espdeploy export --model net.onnx")
    assert run("export", "--model", "net.onnx", "-o", "one.onnx").code == 0  # as advised
    assert run("build", "one.onnx").code == 0
    (tmp_path / "net.bin").unlink()
    assert_contract_error(run("bench", "net.onnx", *QUICK), 2, "beside it")


def test_a_damaged_cache_mends_itself(make: Make, run: Run) -> None:
    net = make("net.onnx", f"g (float[1,3,8,8] x) => (float[1,4,8,8] y) {CONVOLUTION}")
    engine = Path(run("build", net, "--json").document["engine"])
    passport = engine.with_name(engine.name + ".json")
    passport.write_text("{")
    assert run("build", net, "--json").document["cache"] == "built"
    engine.write_bytes(b"cut")
    assert run("build", net, "--json").document["cache"] == "built"
    assert run("build", net, "--json").document["cache"] == "hit"


def test_a_cache_that_cannot_be_written(make: Make, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = make("net.onnx", f"g (float[1,3,8,8] x) => (float[1,4,8,8] y) {CONVOLUTION}")
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ESPDEPLOY_CACHE", str(tmp_path / "file"))
    assert_contract_error(run("build", net), 3, "ESPDEPLOY_CACHE")
    assert_contract_error(run("bench", *SMALL[1:], *QUICK), 3, "ESPDEPLOY_CACHE")
    cache = next(check for check in run("doctor", "--json").document["checks"] if check["name"] == "engine cache")
    assert cache["ok"] is False


def test_weights_in_constant_nodes_are_weights(make: Make, run: Run) -> None:
    text = "{ w = Constant<value = float[1,3,1,1] {1,1,1}>()  y = Conv(x, w) }"
    net = make("net.onnx", f"g (float[1,3,8,8] x) => (float[1,1,8,8] y) {text}")
    document = run("build", net, "--runtime", "onnxruntime", "--json").document
    assert document["layers"]["convolution_precision_pct"] == {"fp32": 100.0}


# --- bench ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--set", "alpha3=1"], "--model"),
        (["--weights", "net.pth"], "--model"),
        (["--duration-s", "inf"], "--duration-s"),
        (["--threads", "100000"], "--threads"),
        (["--data", "nowhere", "--labels", "nowhere"], "nowhere"),
        (["--data", "."], "--labels"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_the_measurement(
    arguments: list[str], told: str, run: Run, small_onnx: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (64, 48)).save(tmp_path / "image.png")
    ran = run("bench", small_onnx, *QUICK, *arguments)
    assert_contract_error(ran, 2, told)
    assert "measuring" not in ran.err
    assert not list((tmp_path / "results").glob("*.json"))


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_an_opset_that_nobody_reads(runtime: str, make: Make, run: Run) -> None:
    pytest.importorskip(runtime)
    net = make("net.onnx", "g (float[1,3,8,8] x) => (float[1,3,8,8] y) { y = Relu(x) }", opset=99)
    assert_contract_error(run("bench", net, "--runtime", runtime, *QUICK), 2, "99")


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_network_that_fails_while_it_runs(runtime: str, make: Make, run: Run) -> None:
    pytest.importorskip(runtime)
    text = "g (float[1,3,h,w] x) => (float[1,3,8,8] y) <int64[4] s = {1,3,8,8}> { y = Reshape(x, s) }"
    net = make("net.onnx", text)
    assert run("bench", net, "--runtime", runtime, "--size", "8x8", *QUICK).code == 0
    ran = run("bench", net, "--runtime", runtime, "--size", "16x16", *QUICK)
    assert_contract_error(ran, 4, "16")
    assert "[E:" not in ran.err  # the runtime's own log


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_file_cut_at_any_place(runtime: str, run: Run, small_onnx: Path, tmp_path: Path) -> None:
    pytest.importorskip(runtime)
    whole = small_onnx.read_bytes()
    for length in (0, 1, 10, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.onnx").write_bytes(whole[:length])
        assert_contract_error(run("bench", "cut.onnx", "--runtime", runtime, *QUICK), 2, "cut.onnx")


# --- eval, predict -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "told"), [(["--size", "32x24"], "64x48"), (["--size", "64x48", "--set", "classes=3"], "classes")]
)
def test_a_reference_that_means_something_else(
    other: list[str], told: str, run: Run, small_onnx: Path, tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (64, 48)).save(tmp_path / "images/a.png")
    assert run("export", "--model", "espnet-c", "--set", "alpha3=1", *other, *OLD_OPSET, "-o", "other.onnx").code == 0
    ran = run("eval", small_onnx, "--data", "images", "--reference", "other.onnx")
    assert_contract_error(ran, 2, "other.onnx", told)


def test_one_bad_file_among_many_is_named(run: Run, small_onnx: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    for name in "abc":
        Image.fromarray(random.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(tmp_path / f"images/{name}.png")
        Image.fromarray(random.integers(0, 19, (48, 64), dtype=np.uint8)).save(tmp_path / f"labels/{name}.png")
    command = ["eval", small_onnx, "--data", "images", "--labels", "labels"]
    assert run(*command).code == 0
    label = tmp_path / "labels/b.png"
    whole = label.read_bytes()
    Image.new("L", (64, 48), 77).save(label)
    assert_contract_error(run(*command), 2, "77", "b")
    Image.new("L", (30, 90)).save(label)
    assert_contract_error(run(*command), 2, "30x90", "64x48")
    label.write_bytes(whole[: len(whole) // 2])
    assert_contract_error(run(*command), 2, "labels/b.png")


def test_pictures_with_odd_names(run: Run, small_onnx: Path, tmp_path: Path) -> None:
    names = ["-dash.png", "sp ace \"quote' ü 💥.png"]
    for name in names:
        Image.new("RGB", (64, 48)).save(tmp_path / name)
    ran = run("predict", small_onnx, "-o", "out put", "--json", "--", *names)
    assert ran.code == 0, ran.err
    assert [item["input"] for item in ran.document["images"]] == names
    assert all((tmp_path / item["overlay"]).is_file() for item in ran.document["images"])


# --- report --------------------------------------------------------------------------------------------------------


def test_the_advice_for_an_empty_folder_can_be_followed(run: Run, tmp_path: Path) -> None:
    import shlex

    (tmp_path / "my results").mkdir()
    ran = run("report", "my results", "--json")
    assert ran.code == 2
    advised = shlex.split(ran.document["error"]["do"])
    assert advised[:2] == ["espdeploy", "bench"]
    assert run(*advised[1:], "--size", "64x48", *QUICK).code == 0
    assert run("report", "my results").code == 0
