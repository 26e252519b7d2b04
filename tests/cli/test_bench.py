"""`espdeploy bench`, `report` and `quickstart`: records as the contract has them, and what interrupts them."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Run, assert_contract_error, start

pytest.importorskip("onnxruntime")

RECORD_KEYS = {
    "schema", "id", "started", "espdeploy_version", "notes", "model", "engine", "protocol", "device", "latency_ms",
    "gpu_latency_ms", "fps", "trials", "warmup_trials", "steady", "power", "utilization", "thermal", "accuracy",
    "findings", "traces",
}  # fmt: skip
QUICK = ["--trials", "20", "--duration-s", "0", "--warmup-s", "0.1"]


def test_a_record_holds_what_the_contract_says(run: Run, small_onnx: Path, tmp_path: Path) -> None:
    ran = run("bench", small_onnx, "--device", "cpu", "--threads", "1", *QUICK, "--json")
    assert ran.code == 0, ran.err
    record = ran.document
    assert set(record) >= RECORD_KEYS
    assert record["model"]["input_shape"] == [1, 3, 48, 64]
    assert record["model"]["params"] > 0
    assert record["engine"]["provider"] == "CPUExecutionProvider"
    assert record["protocol"]["threads"] == 1
    times = record["traces"]["latency_ms"]["values"]
    assert len(times) == record["trials"] == 20
    assert record["traces"]["latency_ms"]["t_s"][0] == 0
    latency = record["latency_ms"]
    assert latency["mean"] == pytest.approx(sum(times) / len(times))
    assert latency["min"] == min(times)
    assert latency["max"] == max(times)
    assert latency["p99"] is None  # twenty trials cannot bear it
    assert latency["ci95"][0] <= latency["mean"] <= latency["ci95"][1]
    window_s = record["traces"]["latency_ms"]["t_s"][-1] + times[-1] / 1000
    assert record["fps"] == pytest.approx(20 / window_s, rel=1e-6)
    stored = list((tmp_path / "results").glob("*.json"))
    assert [json.loads(path.read_text())["id"] for path in stored] == [record["id"]]


def test_nothing_is_said_that_was_not_measured(run: Run, small_onnx: Path) -> None:
    record = run("bench", small_onnx, *QUICK, "--json").document
    notes = " ".join(record["notes"])
    assert record["gpu_latency_ms"] is None
    assert record["utilization"]["gpu_pct"] is None
    assert record["accuracy"] is None
    assert "accuracy was not evaluated" in notes
    assert "random" in notes
    if record["power"] is None:
        assert "power was not measured" in notes


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "torch"])
def test_every_runtime_measures_a_network_by_name(runtime: str, run: Run) -> None:
    pytest.importorskip(runtime)
    pytest.importorskip("torch")
    named = ["--model", "espnet-c", "--set", "alpha3=1", "--size", "64x48", "--batch", "2"]
    ran = run("bench", *named, "--runtime", runtime, "--threads", "1", *QUICK, "--json")
    assert ran.code == 0, ran.err
    assert ran.document["engine"]["runtime"] == runtime
    assert ran.document["model"]["input_shape"] == [2, 3, 48, 64]
    assert ran.document["model"]["name"] == "espnet-c"
    images = ran.document["trials"] * 2
    trace = ran.document["traces"]["latency_ms"]
    assert ran.document["fps"] == pytest.approx(images / (trace["t_s"][-1] + trace["values"][-1] / 1000), rel=1e-6)


def test_other_threads_are_another_protocol_and_more_trials_are_not(run: Run, small_onnx: Path) -> None:
    ids = [
        run(
            "bench",
            small_onnx,
            "--threads",
            threads,
            "--trials",
            trials,
            "--duration-s",
            "0",
            "--warmup-s",
            "0.1",
            "--json",
        ).document["protocol"]["id"]
        for threads, trials in ((1, 5), (1, 9), (2, 5))
    ]
    assert ids[0] == ids[1] != ids[2]


def test_the_command_in_a_record_makes_the_same_measurement(run: Run, small_onnx: Path) -> None:
    import shlex

    first = run("bench", small_onnx, "--threads", "1", *QUICK, "--json").document
    words = shlex.split(first["command"])
    assert words[0] == "espdeploy"


def test_a_dry_run_touches_nothing(run: Run, small_onnx: Path, tmp_path: Path) -> None:
    ran = run("bench", small_onnx, "--dry-run", "--json")
    assert ran.code == 0
    assert len(ran.document["steps"]) >= 4
    assert not (tmp_path / "results").exists()


def test_the_results_folder_is_tried_before_the_slow_work(run: Run, small_onnx: Path, tmp_path: Path) -> None:
    (tmp_path / "results").write_text("in the way")
    ran = run("bench", small_onnx, *QUICK)
    assert_contract_error(ran, 3, "results")
    assert "measuring" not in ran.err


def test_a_size_that_the_file_does_not_have(run: Run, small_onnx: Path) -> None:
    assert_contract_error(run("bench", small_onnx, "--size", "96x64", *QUICK), 2, "--size")
    assert_contract_error(run("bench", small_onnx, "--batch", "4", *QUICK), 2, "--batch")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_what_was_measured_before_an_interruption_is_kept_and_marked(
    how: signal.Signals, small_onnx: Path, tmp_path: Path
) -> None:
    process = start(["bench", small_onnx, "--trials", "100000000", "--warmup-s", "0.1"], tmp_path)
    assert process.stderr is not None
    for line in process.stderr:
        if "measuring" in line:
            break
    time.sleep(0.5)
    process.send_signal(how)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    (stored,) = (tmp_path / "results").glob("*.json")
    record = json.loads(stored.read_text())
    assert record["interrupted"] is True
    assert 0 < record["trials"] < 100_000_000
    assert len(record["traces"]["latency_ms"]["values"]) == record["trials"]
    assert "interrupted" in {finding["code"] for finding in record["findings"]}
    assert "espnet-c" in out


def test_an_interruption_before_the_first_trial_stores_nothing(small_onnx: Path, tmp_path: Path) -> None:
    process = start(["bench", small_onnx, "--warmup-s", "60", "--warmup-max-s", "60"], tmp_path)
    assert process.stderr is not None
    for line in process.stderr:
        if "warm-up" in line:
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "error: interrupted" in err
    assert not list((tmp_path / "results").glob("*.json"))


def test_a_report_shows_the_good_records_and_names_the_others(run: Run, small_onnx: Path, tmp_path: Path) -> None:
    for threads in (1, 2):
        assert run("bench", small_onnx, "--threads", threads, *QUICK).code == 0
    good = next((tmp_path / "results").glob("*.json"))
    whole = good.read_text()
    (tmp_path / "results" / "cut.json").write_text(whole[: len(whole) // 2])
    (tmp_path / "results" / "newer.json").write_text(whole.replace('"schema": 1', '"schema": 999', 1))
    (tmp_path / "results" / "other.json").write_text('{"hello": "world"}')
    ran = run("report", "results", "-o", "page.html", "--json")
    assert ran.code == 0, ran.err
    assert ran.document["output"] == "page.html"
    assert ran.document["records"] == 2
    assert {Path(name).name for name in ran.document["left_out"]} == {"cut.json", "newer.json", "other.json"}
    page = (tmp_path / "page.html").read_text()
    for name in ("cut.json", "newer.json", "other.json", "espnet-c"):
        assert name in page


def test_the_quickstart_leaves_a_report_of_both_runtimes(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("openvino")
    ran = run("quickstart", "-o", "first", "--trials", "3", "--json")
    assert ran.code == 0, ran.err
    page = Path(ran.document["report"]).read_text()
    runtimes = {json.loads(Path(path).read_text())["engine"]["runtime"] for path in ran.document["records"]}
    assert runtimes == {"onnxruntime", "openvino"}
    assert all(runtime in page for runtime in runtimes)
    assert "1024" in page
