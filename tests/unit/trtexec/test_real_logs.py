"""The readers against files of real runs, and what others read off them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from espdeploy.backends.trtexec.failures import diagnose
from espdeploy.profilers.trtexec.document import parse, recognise
from espdeploy.profilers.trtexec.layer_info import read_layer_info
from espdeploy.profilers.trtexec.layer_profile import read_profile
from espdeploy.profilers.trtexec.log import TrtexecLog, read_log
from espdeploy.profilers.trtexec.times import Times, read_times, summed_up
from espdeploy.profilers.trtexec.values import Timing

pytestmark = pytest.mark.data
FIELDS = {
    "Latency": "latency",
    "End-to-End Host Latency": "end_to_end",
    "Enqueue Time": "enqueue",
    "H2D Latency": "h2d",
    "GPU Compute Time": "gpu_compute",
    "D2H Latency": "d2h",
}


@pytest.fixture
def folder(data_dir: Path) -> Path:
    path = data_dir / "logs/trtexec"
    if not path.is_dir():
        pytest.skip(f"{data_dir} has no logs/trtexec")
    return path


def expected_of(folder: Path, kind: str) -> dict[str, dict[str, Any]]:
    """What the data's own readers found, by file."""
    read = {
        path.name.removesuffix(".expected.json"): json.loads(path.read_text())
        for path in folder.glob("*.expected.json")
    }
    return {name: value for name, value in sorted(read.items()) if value["kind"] == kind}


def log_of(path: Path) -> TrtexecLog:
    with path.open(errors="replace") as stream:
        return read_log(stream)


def rows_of(path: Path, warmup_ms: float) -> Times:
    with path.open() as stream:
        return read_times(stream, warmup_ms=warmup_ms)


#: warnings of TensorRT's that TensorFlow's logger wrote: the expectation counts lines with trtexec's own mark, [W]
PASSED_ON = {"warn_int8_not_supported_tx2.txt": 1}


def test_logs_say_the_same(folder: Path) -> None:
    checked = expected_of(folder, "trtexec log")
    assert len(checked) > 10
    for name, expected in checked.items():
        runs = log_of(folder / name).runs
        assert sum(run.passed is True for run in runs) == expected["passed"], name
        assert [run.throughput_qps for run in runs if run.throughput_qps] == expected["throughput_qps"], name
        if expected["version_tag"]:
            assert runs[0].version is not None
            code = int(expected["version_tag"])
            unit = 10_000 if code >= 10_000 else 1000
            assert runs[0].version == (code // unit, code % unit // 100, code % 100), name
        said = " ".join(error.text for run in runs for error in run.errors)
        for line in expected["error_lines"]:
            assert line.rpartition("] ")[2].removeprefix("ERROR: ")[:60] in said, name
        for key in ("device", "compute_capability"):
            assert expected[key] in (None, getattr(runs[0] if runs else None, key, None)), name
        if not name.startswith("trt7"):  # their warnings are of the build, and counted with those of later runs
            warned = sum(run.warning_lines for run in runs)
            assert warned == expected["warning_count"] + PASSED_ON.get(name, 0), name


def test_summaries_say_the_same(folder: Path) -> None:
    checked = 0
    for name, expected in expected_of(folder, "trtexec log").items():
        for label, field in FIELDS.items():
            if label not in expected:
                continue
            timing: Timing = getattr(log_of(folder / name).told, field)
            figures = {"min": timing.min_ms, "max": timing.max_ms, "mean": timing.mean_ms, "median": timing.median_ms}
            figures |= {f"percentile({pct:g}%)": value for pct, value in timing.percentiles_ms.items()}
            assert figures == expected[label], (name, label)
            checked += 1
    assert checked > 20


def test_the_blocks_of_7_say_the_same(folder: Path) -> None:
    name = "trt71_jetson_resnet50_int8_multirun.txt"
    expected = expected_of(folder, "trtexec log")[name]
    means, p99s = [], []
    for run in log_of(folder / name).runs:
        assert run.latency is not None
        assert run.end_to_end is not None
        means.append([run.latency.mean_ms, run.end_to_end.mean_ms])
        p99s.append([run.latency.percentiles_ms[99.0], run.end_to_end.percentiles_ms[99.0]])
    assert means == expected["trt7_host_latency_mean_and_end_to_end_ms"]
    assert p99s == expected["trt7_p99_and_end_to_end_ms"]


def test_exports_say_the_same(folder: Path) -> None:
    checked = expected_of(folder, "trtexec json")
    assert len(checked) >= 9
    for name, expected in checked.items():
        path = folder / name
        if "records_first_doc" in expected:
            times = rows_of(path, warmup_ms=0)
            assert times.gpu_compute_ms.size == expected["records_first_doc"]
            assert times.latency_ms.mean() == pytest.approx(expected["latency_mean_ms"], abs=1e-5)
            assert np.median(times.latency_ms) == pytest.approx(expected["latency_median_ms"], abs=1e-5)
            assert times.gpu_compute_ms.mean() == pytest.approx(expected["compute_mean_ms"], abs=1e-5)
        elif "count" in expected:
            with path.open() as stream:
                profile = read_profile(stream)
            assert (profile.iterations, len(profile.layers)) == (expected["count"], expected["layers"])
            assert profile.total_mean_ms == pytest.approx(expected["total_average_ms"], abs=1e-4)
            slowest = sorted(profile.layers, key=lambda layer: -(layer.mean_ms or 0))[:3]
            assert [(item.name, item.mean_ms, item.time_pct) for item in slowest] == [
                (item["name"], item["averageMs"], item["percentage"]) for item in expected["top3"]
            ]
        else:
            with path.open() as stream:
                info = read_layer_info(stream)
            assert (len(info.layers), list(info.bindings)) == (expected["layers"], expected["bindings"])
            assert info.damaged == 0


def test_without_the_warm_up_the_rows_of_8_2_are_what_its_log_sums_up(folder: Path) -> None:
    """The same run, once as the tool's summary and once as its export: 132 rows there, 127 counted here."""
    run = log_of(folder / "trt82_nano_yolov4tiny416_fp16_verbose.txt").told
    assert run.warmup_ms is not None
    times = rows_of(folder / "trt82_nano_recordTimes.json", run.warmup_ms)
    assert (times.warmup_dropped, times.gpu_compute_ms.size) == (run.warmup_queries, run.queries)
    for rows, timing in (
        (times.gpu_compute_ms, run.gpu_compute),
        (times.latency_ms, run.latency),
        (times.h2d_ms, run.h2d),
    ):
        summed = summed_up(rows)
        assert summed is not None
        assert timing is not None
        assert summed.document() == pytest.approx(timing.document(), rel=2e-5)


def test_the_table_of_8_2_is_its_export_rounded(folder: Path) -> None:
    table = log_of(folder / "trt82_nano_yolov4tiny416_fp16_verbose.txt").told.profile
    with (folder / "trt82_nano_recordProfile.json").open() as stream:
        exported = read_profile(stream)
    assert table is not None
    assert [layer.name for layer in table.layers] == [layer.name for layer in exported.layers]
    assert [layer.mean_ms for layer in table.layers] == pytest.approx(
        [layer.mean_ms for layer in exported.layers], abs=6e-5
    )


def test_precisions_of_engines_that_are_known(folder: Path) -> None:
    shares = {
        "trt86_trex_resnet_fp16_a100_graph.json": {"fp16": 100.0},
        "trt1016_h100_exportLayerInfo.json": {"fp32": 100.0},
    }
    for name, share in shares.items():
        with (folder / name).open() as stream:
            assert read_layer_info(stream).convolution_pct == share


def test_known_failures_are_known(folder: Path) -> None:
    codes = {
        "err_could_not_find_implementation.txt": "no-kernel",
        "err_out_of_memory_orin.txt": "out-of-gpu-memory",
        "err_trt100_engine_version_mismatch.txt": "damaged-engine",
        "err_trt7_engine_version_mismatch.txt": "other-release",
        "err_trt80_unsupported_op_plugin_not_found.txt": "unsupported-operator",
        "warn_int8_not_supported_tx2.txt": "no-precision",
        "trt103_orinnano_resnet18_fp16_build_gwonxhj.log": None,
        "trt82_nano_yolov4tiny416_fp16_verbose.txt": None,
        "trt1016_h100_result01.log": None,
    }
    for name, code in codes.items():
        known = diagnose((folder / name).read_text(errors="replace"))
        assert (known.code if known else None) == code, name
        assert known is None or known.error.do


def test_every_file_is_recognised_and_has_the_contracts_keys(folder: Path) -> None:
    keys = {"kind", "version", "passed", "latency_ms", "gpu_compute_ms", "throughput_qps", "layers", "errors"}
    for path in sorted(folder.iterdir()):
        if path.name.endswith(".expected.json") or path.name.startswith("warn_"):
            continue
        with path.open(errors="replace") as stream:
            document = parse(stream)
        assert document is not None, path.name
        assert keys <= document.keys(), path.name
        json.dumps(document, allow_nan=False)


def test_files_of_other_tools_are_none_of_its_own(folder: Path) -> None:
    others = [
        path for tool in ("tegrastats", "nvprof", "ncu", "nvsmi", "calib") for path in (folder.parent / tool).iterdir()
    ]
    claimed = [path.name for path in others if recognise(path.read_text(errors="replace")[: 1 << 16])]
    assert claimed == []
    assert len(others) > 20
