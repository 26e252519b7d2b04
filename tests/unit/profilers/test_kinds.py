"""Every collected output is told by its content, through the command's own way in."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from espdeploy.errors import InputFileError
from espdeploy.pipeline.profiling.parse import parse_files
from espdeploy.profilers.kinds import KINDS, recognised

KIND_OF_FOLDER = {
    "nvprof": "nvprof",
    "nsys": "nsys",
    "ncu": "ncu",
    "trtexec": "trtexec",
    "tegrastats": "tegrastats",
    "nvsmi": "nvidia-smi",
}
KERNEL_KEYS = {"name", "calls", "total_ms", "mean_us", "min_us", "max_us", "time_pct"}
CATEGORY_KEYS = {"gemm", "convolution", "elementwise", "memory", "reduction", "other"}


def files(data_dir: Path, folder: str) -> list[Path]:
    path = data_dir / "logs" / folder
    if not path.is_dir():
        pytest.skip(f"{data_dir} has no logs/{folder}")
    return [each for each in sorted(path.iterdir()) if not each.name.endswith(".expected.json")]


@pytest.mark.data
@pytest.mark.parametrize("folder", KIND_OF_FOLDER)
def test_each_tools_outputs_are_its_own_whatever_they_are_called(folder: str, data_dir: Path, tmp_path: Path) -> None:
    anonymous = tmp_path / "x"
    for path in files(data_dir, folder):
        shutil.copyfile(path, anonymous)
        document = parse_files([str(anonymous)])
        assert document["kind"] == KIND_OF_FOLDER[folder], path.name
        json.dumps(document, allow_nan=False)
        for error in document.get("errors", []):
            assert error["text"], path.name
            assert error["do"], path.name
        if folder in ("nvprof", "nsys", "ncu"):
            assert all(set(one) >= KERNEL_KEYS for one in document["kernels"]), path.name
            assert set(document["categories"]) >= CATEGORY_KEYS
            shares = [one for one in document["categories"].values() if one is not None]
            assert sum(shares) == (pytest.approx(100) if shares else 0), path.name


@pytest.mark.data
@pytest.mark.parametrize("folder", ["calib", "jetsoncfg", "powertop_rapl"])
def test_what_other_programs_wrote_is_refused(folder: str, data_dir: Path) -> None:
    for path in files(data_dir, folder):
        with pytest.raises(InputFileError) as caught:
            parse_files([str(path)])
        assert all(kind in caught.value.why for kind in KINDS), path.name
        assert caught.value.exit_code == 2


@pytest.mark.data
def test_known_failures_keep_their_codes_in_the_document(data_dir: Path) -> None:
    names = [path for path in files(data_dir, "nvprof") if path.name.startswith(("err_", "h100_"))]
    names += [path for path in files(data_dir, "ncu") if path.name.startswith("err_")]
    names += [path for path in files(data_dir, "nsys") if path.name.startswith("err_")]
    assert len(names) >= 5
    for path in names:
        assert parse_files([str(path)])["errors"], path.name


@pytest.mark.data
def test_nsys_times_weigh_the_counters_that_ncu_read_of_the_same_program(data_dir: Path) -> None:
    timed = next(path for path in files(data_dir, "nsys") if path.name == "jetson_orin_cuda_gpu_kern_sum.csv")
    counted = next(path for path in files(data_dir, "ncu") if path.name == "jetson_orin_deeponet_darcy_raw.csv")
    document = parse_files([str(counted), str(timed)])
    alone = parse_files([str(timed)])
    with_times = {one["name"]: one["total_ms"] for one in document["kernels"] if one["total_ms"] is not None}
    assert with_times == {one["name"]: one["total_ms"] for one in alone["kernels"]}
    occupied = {one["name"] for one in document["metrics"]["achieved_occupancy"]["per_kernel"]}
    gelu = next(name for name in with_times if "GeluCUDAKernelImpl" in name)
    assert gelu in occupied  # ncu spells it without native:: and without casts
    assert len(occupied & set(with_times)) == 13


NVPROF = (
    "==7== NVPROF is profiling process 7, command: ./run\n==7== Profiling result:\n"
    '"Type","Time(%)","Time","Calls","Avg","Min","Max","Name"\n,%,ms,,us,us,us,\n'
    '"GPU activities",100.0,2.0,4,500.0,400.0,600.0,"volta_sgemm_128x64_nn"\n'
)
TRTEXEC = (
    "&&&& RUNNING TensorRT.trtexec [TensorRT v8201] # trtexec --onnx=x.onnx\n"
    "[05/14/2022-02:21:17] [I] === Performance summary ===\n"
    "[05/14/2022-02:21:17] [I] GPU Compute Time: min = 1 ms, max = 3 ms, mean = 2 ms, median = 2 ms, "
    "percentile(99%) = 3 ms\n"
    "&&&& PASSED TensorRT.trtexec [TensorRT v8201] # trtexec --onnx=x.onnx\n"
)
OTHER_TEXT = "epoch 1 of 100: loss 0.5, 12.1 images/s\n"


def test_a_profiler_counts_before_the_program_that_it_ran(tmp_path: Path) -> None:
    both = tmp_path / "log"
    both.write_text(TRTEXEC + NVPROF)
    document = parse_files([str(both)])
    assert document["kind"] == "nvprof"
    assert any("--kind trtexec" in note for note in document["notes"])
    assert parse_files([str(both)], kind="trtexec")["gpu_compute_ms"]["mean"] == 2


@pytest.mark.parametrize("before", [10_000, 200_000, 3_000_000])
@pytest.mark.parametrize(("text", "kind"), [(NVPROF, "nvprof"), (TRTEXEC, "trtexec")])
def test_a_jobs_log_may_say_other_things_first(text: str, kind: str, before: int, tmp_path: Path) -> None:
    log = tmp_path / "job.out"
    log.write_text(OTHER_TEXT * (before // len(OTHER_TEXT)) + text)
    assert parse_files([str(log)])["kind"] == kind


def test_a_long_log_of_trtexec_with_nvprofs_table_at_its_end_is_nvprofs(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(TRTEXEC + OTHER_TEXT * 50_000 + NVPROF)
    document = parse_files([str(log)])
    assert (document["kind"], len(document["kernels"])) == ("nvprof", 1)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_files_that_windows_wrote(encoding: str, ends: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    bom = "\ufeff" if encoding.startswith("utf-16") else ""
    path.write_bytes((bom + NVPROF.replace("\n", ends)).encode(encoding))
    kernels = parse_files([str(path)])["kernels"]
    assert [(one["name"], one["calls"], one["total_ms"]) for one in kernels] == [("volta_sgemm_128x64_nn", 4, 2.0)]


def test_a_pipe_is_read_like_a_file(tmp_path: Path) -> None:
    import threading

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_text(NVPROF))
    writer.start()
    document = parse_files([str(pipe)])
    writer.join()
    assert len(document["kernels"]) == 1


@pytest.mark.parametrize("text", ["", "\0" * 100, "a,b\n1,2\n", "[]", "{}", '{"Layers": 3', "==1==\n", "\n" * 1000])
def test_text_of_no_tool_is_recognised_by_none(text: str) -> None:
    assert all(one.kind == "trtexec" for one in recognised(text))
