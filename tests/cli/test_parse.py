"""`espdeploy parse` as tables, as JSON, and with files that are none."""

from __future__ import annotations

import io
import json
import os
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.cli.conftest import Run, assert_contract_error

SUMMARY = (
    '"Type","Time(%)","Time","Calls","Avg","Min","Max","Name"\n'
    ",%,ms,,us,us,us,\n"
    '"GPU activities",60.0,6.0,3,2000.0,1.0,1.0,"void implicit_convolve_sgemm<float, int=5>(int, float const *)"\n'
    '"GPU activities",20.0,2.0,1,2000.0,1.0,1.0,"cuInt8::nchwToNhwc, with ""quotes"" and <templates, of=1>(float*)"\n'
    '"GPU activities",20.0,2.0,1,2000.0,1.0,1.0,"[CUDA memcpy HtoD]"\n'
)
METRICS = (
    "==9== Metric result:\n"
    '"Device","Kernel","Invocations","Metric Name","Metric Description","Min","Max","Avg"\n'
    '"T (0)","void implicit_convolve_sgemm<float, int=5>(int, float const *)",3,"gld_efficiency","d",50%,50%,50%\n'
    '"T (0)","cuInt8::nchwToNhwc, with ""quotes"" and <templates, of=1>(float*)",1,"gld_efficiency","d",10%,10%,10%\n'
)
TEGRASTATS = "RAM 896/7859MB (lfb 5x4MB) CPU [5%@345,off] GR3D_FREQ 99%@1134 GPU@41C VDD_IN 3624/3624 VDD_GPU 900/900\n"
SMI = "timestamp, name, power.draw [W], utilization.gpu [%]\n2026/11/20 10:00:00.000, NVIDIA X, 33.09 W, 34 %\n"
TRTEXEC = (
    "&&&& RUNNING TensorRT.trtexec [TensorRT v8201] # trtexec --onnx=x.onnx\n"
    "[05/14/2022-02:21:17] [E] [TRT] 10: Could not find any implementation for node conv1.\n"
    "&&&& FAILED TensorRT.trtexec [TensorRT v8201] # trtexec --onnx=x.onnx\n"
)


@pytest.fixture
def write(tmp_path: Path):
    """Write a text to a file of any name in the folder of the run."""

    def to(text: str | bytes, name: str = "x") -> str:
        (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
        return name

    return to


def test_times_and_counters_of_one_run_are_one_document(run: Run, write) -> None:
    document = run("parse", write(SUMMARY, "a"), write(METRICS, "b"), "--json").document
    assert document["kind"] == "nvprof"
    first, second = document["kernels"]
    assert set(first) >= {"name", "calls", "total_ms", "mean_us", "min_us", "max_us", "time_pct"}
    assert first["name"] == "void implicit_convolve_sgemm<float, int=5>(int, float const *)"
    assert [first["time_pct"], second["time_pct"]] == pytest.approx([75, 25])
    assert document["categories"]["convolution"] == pytest.approx(75)
    assert document["memory_alignment_pct"] == pytest.approx(25)
    assert document["metrics"]["gld_efficiency"]["mean_pct"] == pytest.approx((50 * 6 + 10 * 2) / 8)
    assert document["weighted_by"] == "time"
    assert [one["name"] for one in document["memops"]] == ["HtoD"]
    assert (document["errors"], document["skipped_lines"]) == ([], 0)


def test_for_people_there_are_tables_with_bars(run: Run, write) -> None:
    ran = run("parse", write(SUMMARY, "a"), write(METRICS, "b"))
    assert ran.code == 0
    lines = [line.split() for line in ran.out.splitlines()]
    (row,) = [line for line in lines if line[:1] == ["implicit_convolve_sgemm"]]
    assert row[1:] == ["convolution", "3", "6", "2,000", "75.0", "█" * 15]
    assert "memory movement and layout changes: 25.0 %" in ran.out
    assert ["gld_efficiency", "%", "40", "time", "10", "50", "2"] in lines
    limited = run("parse", "a", "--top", "1")
    assert "nchwToNhwc" not in limited.out
    assert "the first 1 of 2" in limited.out


@pytest.mark.parametrize(
    ("text", "kind", "shown"),
    [(TEGRASTATS, "tegrastats", "VDD_GPU"), (SMI, "nvidia-smi", "33.09"), (TRTEXEC, "trtexec", "failed")],
)
def test_every_kind_has_its_tables(text: str, kind: str, shown: str, run: Run, write) -> None:
    assert run("parse", write(text), "--json").document["kind"] == kind
    ran = run("parse", "x", "--kind", kind)
    assert ran.code == 0
    assert shown in ran.out


def test_a_failure_that_a_file_tells_of_is_read_and_advised_on(run: Run, write) -> None:
    document = run("parse", write(TRTEXEC), "--json").document
    assert document["passed"] is False
    assert all(error["text"] and error["do"] for error in document["errors"])
    refused = run("parse", write("==7== Warning: ERR_NVGPUCTRPERM - The user does not have permission to profile\n"))
    assert refused.code == 0
    assert "do:" in refused.err


@pytest.mark.parametrize(
    "content", [b"", b"\0\xff\xfe\x80" * 1000, b"a,b\n1,2\n", b"epoch 1\n", b"\x1f\x8b\x08\0", b"[]"]
)
def test_what_no_tool_wrote_is_refused(content: bytes, run: Run, write) -> None:
    assert_contract_error(run("parse", write(content)), 2, "x")
    assert run("parse", "x", "--json").document["error"]["code"] == 2


def test_an_unknown_content_names_the_kinds(run: Run, write) -> None:
    kinds = ("nvprof", "nsys", "ncu", "trtexec", "tegrastats", "nvidia-smi")
    assert_contract_error(run("parse", write("hello\n" * 100)), 2, *kinds)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["missing"], "missing"),
        (["folder"], "folder"),
        (["x/y"], "x/y"),
        (["x", "--kind", "nvprf"], "nvprof"),
        (["x", "--kind", "ncu"], "ncu"),
        (["x", "t"], "tegrastats"),
        (["t", "t2"], "t2"),
        (["secret"], "secret"),
        (["/dev/zero"], "/dev/zero"),
        (["database"], "Nsight Systems"),
        (["recording"], "nvprof --import-profile"),
    ],
)
def test_files_that_cannot_be_used(arguments: list[str], told: str, run: Run, write, tmp_path: Path) -> None:
    write(SUMMARY), write(TEGRASTATS, "t"), write(TEGRASTATS, "t2")
    (tmp_path / "folder").mkdir()
    (tmp_path / write(SUMMARY, "secret")).chmod(0)
    with sqlite3.connect(tmp_path / "database") as database:
        database.execute("CREATE TABLE another (a)")
    with sqlite3.connect(tmp_path / "recording") as database:
        database.execute("CREATE TABLE StringTable (_id_ INTEGER, value TEXT)")
        database.execute("CREATE TABLE CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL (start INT, end INT, name INT)")
    if arguments == ["secret"] and os.geteuid() == 0:
        pytest.skip("root may read everything")
    assert_contract_error(run("parse", *arguments), 2, told)


def test_standard_input_is_read(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = SimpleNamespace(buffer=io.BytesIO(SUMMARY.encode()), isatty=lambda: False)
    monkeypatch.setattr("sys.stdin", stdin)
    assert len(run("parse", "-", "--json").document["kernels"]) == 2


def test_an_export_from_standard_input_is_a_database_all_the_same(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE StringIds (id INTEGER PRIMARY KEY, value TEXT)")
        database.execute(
            'CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INTEGER, "end" INTEGER, demangledName INTEGER)'
        )
        database.execute("INSERT INTO StringIds VALUES (1, 'volta_sgemm_64x64_nn')")
        database.executemany("INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (?, ?, 1)", [(0, 1000), (2000, 5000)])
    stdin = SimpleNamespace(buffer=io.BytesIO(path.read_bytes()), isatty=lambda: False)
    monkeypatch.setattr("sys.stdin", stdin)
    (kernel,) = run("parse", "-", "--json").document["kernels"]
    assert (kernel["calls"], kernel["total_ms"], kernel["category"]) == (2, 0.004, "gemm")


def test_trtexecs_log_and_exports_are_joined_and_two_logs_are_not(run: Run, write) -> None:
    log = TRTEXEC.splitlines(keepends=True)
    passed = log[0] + log[2].replace("FAILED", "PASSED")
    conv = {"name": "conv1", "timeMs": 20, "averageMs": 2.0, "percentage": 80}
    profile = json.dumps([{"count": 10}, conv, {"name": "relu", "timeMs": 5, "averageMs": 0.5, "percentage": 20}])
    document = run("parse", write(profile, "p"), write(passed, "l"), "--json").document
    assert document["passed"] is True
    assert document["version"] == "8.2.1"
    assert [(one["name"], one["mean_ms"]) for one in document["layers"]] == [("conv1", 2.0), ("relu", 0.5)]
    assert "conv1" in run("parse", "l", "p").out
    assert_contract_error(run("parse", "l", write(passed, "l2")), 2, "different runs")


CALLS = "Time (%),Total Time (ns),Num Calls,Avg (ns),Med (ns),Min (ns),Max (ns),StdDev (ns),Name\n"


def test_a_file_of_calls_alone_is_shown_as_such(run: Run, write) -> None:
    ran = run("parse", write(f"{CALLS}90.0,2914798,505,5771.9,4900.0,4187,163227,900.0,cudaLaunchKernel\n"))
    assert ran.code == 0
    assert "nothing was measured" not in ran.out
    (row,) = [line.split() for line in ran.out.splitlines() if "cudaLaunchKernel" in line]
    assert row[1:] == ["505", "2.915", "5.772"]


def test_runs_warnings_and_layers_without_times_of_trtexec_are_shown(run: Run, write) -> None:
    one = (
        "&&&& RUNNING TensorRT.trtexec [TensorRT v8201] # trtexec --batch={0}\n"
        "[05/14/2022-02:21:17] [W] [TRT] odd {0}\n"
        "[05/14/2022-02:21:17] [I] Throughput: {0}0 qps\n[05/14/2022-02:21:17] [I] GPU Compute Time: min = 1 ms, "
        "max = 9 ms, mean = 3 ms, median = {0} ms, percentile(99%) = 8 ms\n&&&& PASSED TensorRT.trtexec\n"
    )
    ran = run("parse", write(one.format(2) + one.format(4)))
    rows = [line.split() for line in ran.out.splitlines() if "--batch=" in line]
    assert [row[:4] for row in rows] == [["1", "passed", "2", "20"], ["2", "passed", "4", "40"]]
    assert "warning of trtexec: odd 2" in ran.err
    assert "2 of 2 layers are named without times" in run("parse", write('{"Layers": ["a", "b"], "Bindings": []}')).out


def test_layers_of_two_engines_are_not_mixed_and_one_file_counts_once(run: Run, write, tmp_path: Path) -> None:
    rows = '[{{"count": 1}}, {{"name": "{0}1", "timeMs": 1, "averageMs": 1, "percentage": 50}}, {{"name": "{0}2", \
"timeMs": 1, "averageMs": 1, "percentage": 50}}]'
    first, second = write(rows.format("conv"), "first"), write(rows.format("dense"), "second")
    assert_contract_error(run("parse", first, second), 2, "different engines", "espdeploy explain")
    counted = write(METRICS, "b")
    told = run("parse", counted, f"./{counted}", str(tmp_path / counted), "--json").document
    assert [one["calls"] for one in told["metrics"]["gld_efficiency"]["per_kernel"]] == [3, 1]
    assert len(told["files"]) == 1


def test_what_tensorflow_passes_on_of_tensorrt_is_a_warning(run: Run, write) -> None:
    text = "2018-04-02 11:25:22.239846: W tensorflow/contrib/tensorrt/log/trt_logger.cc:34] DefaultLogger No INT8\n"
    assert run("parse", write(text), "--json").document["warnings"] == ["No INT8"]
