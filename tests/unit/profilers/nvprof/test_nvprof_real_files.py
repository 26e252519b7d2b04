"""The collected outputs of CUDA 5 to 11.8, against figures that were read off them without espdeploy."""

from __future__ import annotations

import functools
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from espdeploy.profilers.nvprof.document import HEAD_CHARS, parse, recognise
from espdeploy.profilers.nvprof.messages import failure
from espdeploy.profilers.values import Kernel, MemoryOperation, Profile, Reading

pytestmark = pytest.mark.data

VARIANTS = {
    "epicflow_unquoted_units_in_cells.csv": "summary-csv",
    "err_invalid_profile_no_kernels.txt": "messages",
    "err_no_driver.txt": "messages",
    "err_nvgpuctrperm.txt": "messages",
    "gt650m_metrics_table_2014.txt": "metrics",
    "gtx1070_metrics_hotspot_cuda_table.txt": "metrics",
    "gtx1070_metrics_pyrup_table.txt": "metrics",
    "gtx980_traffic_metrics_instances.csv": "metrics-csv",
    "h100_unsupported_pbs_job.o206575": "messages",
    "jetson_nano_yolov4tiny_summary.csv": "summary-csv",
    "jetson_nano_yolov4tiny_with_nvtx_ranges.csv": "summary-csv",
    "k20c_gpu_trace.csv": "trace-csv",
    "k20c_metrics_gaussian.csv": "metrics-csv",
    "k20c_summary_no_type_column.csv": "summary-csv",
    "kmeans_wsl_warning_MarcoTrambusti.txt": "summary",
    "metrics_j3d27pt.csv": "metrics-csv",
    "nbody_git_notes_multi_run_nichitapavel.txt": "summary",
    "p100_gpu_trace_optresults.txt": "trace",
    "tegra_k1_fem_metrics_table.txt": "metrics",
    "titanxp_bfs_gpu_trace.txt": "trace",
    "titanxp_cpu_profiling_not_csv.csv": "other",
    "titanxp_gpu_summary_mixed_units_um.csv": "summary-csv",
    "trace_with_metrics_as_columns_j3d7pt.csv": "trace-metrics-csv",
    "v100_gpu_trace_CS533.txt": "trace",
    "v100_inflate_analysis_metrics_table.txt": "metrics",
    "v100_summary_CS533.txt": "summary",
    "v100_summit_xgc_cudaftn_summary.txt": "summary",
}
#: where what was read off is wrong, and what is right
MENDED = {
    # a row "OpenACC (excl):   14.87%  34.0869s …" was missed for its brackets: all of 159 lines but two are rows
    ("v100_summit_xgc_cudaftn_summary.txt", "table_rows"): 157,
    # 1635 of the 2145 rows are samples of program counters ("0x8",0,0,12,…), told by nothing but their first cell
    ("gtx980_traffic_metrics_instances.csv", "metric_rows"): 510,
    # and two of the eight kernels their "PC" and "Total"
    ("gtx980_traffic_metrics_instances.csv", "metric_kernels"): 6,
}
TO_US = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}
BYTES = {"B/s": 1.0, "KB/s": 1024.0, "MB/s": 1024.0**2, "GB/s": 1024.0**3}


@functools.cache
def read(path: Path) -> Profile:
    with path.open(encoding="utf-8", errors="replace") as stream:
        return parse(stream)


def expected(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.with_name(f"{path.name}.expected.json").read_text())
    return {key: MENDED.get((path.name, key), value) for key, value in found.items()}


def activities(profile: Profile) -> dict[str, Kernel | MemoryOperation]:
    return {one.name: one for one in (*profile.kernels, *profile.memops) if not one.name.startswith("unified")}


def short(name: str) -> str:
    found = re.fullmatch(r"\[CUDA (?:memcpy )?(\w+)\]", name)
    return found[1] if found else name


def us(cell: object, unit: str = "") -> float:
    found = re.fullmatch(r"([\d.]+)(\w*)", str(cell))
    assert found is not None
    return float(found[1]) * TO_US[found[2] or unit]


def figure(cell: str) -> float:
    found = re.fullmatch(r"([\d.]+)(%|[KMG]?B/s)?", cell)
    assert found is not None
    return float(found[1]) * BYTES.get(found[2] or "", 1.0)


def test_no_file_is_without_a_variant_here(data_dir: Path) -> None:
    folder = data_dir / "logs" / "nvprof"
    assert sorted(VARIANTS) == sorted(path.name for path in folder.iterdir() if not path.name.endswith(".json"))


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_as_read_off(data_dir: Path, name: str) -> None:
    path = data_dir / "logs" / "nvprof" / name
    assert recognise(path.read_text(errors="replace")[:HEAD_CHARS]) == VARIANTS[name]
    profile, wanted = read(path), expected(path)
    assert profile.kind == wanted["kind"]
    assert profile.skipped_lines == (name == "gt650m_metrics_table_2014.txt")  # its last line is a chat's, not a row
    for message in wanted["messages"]:
        told_of(profile, re.sub(r"^==\d*=* (Warning|Error): |^=+ (Warning|Error): ", "", message))
    assert (
        bool(profile.extra.keys() & {"unified_memory", "unified_memory_totals"}) == wanted["has_unified_memory_section"]
    )
    for key in ("summary_rows_first_table", "gpu_rows_first_table", "top3"):
        if key in wanted:
            CHECKS[key](profile, wanted)
    if "summary_tables" in wanted:
        ranges = profile.extra.get("nvtx_ranges", [])
        assert isinstance(ranges, list)
        of_calls = "Type" not in wanted["summary_units_first_table"]  # a table of their own, in old releases
        assert wanted["summary_tables"] == 1 + len(ranges) + of_calls
    if "metric_rows" in wanted or "metric_table_rows" in wanted:
        metrics(profile, wanted)
    if "trace_rows" in wanted:
        assert sum(one.calls for one in activities(profile).values()) == wanted["trace_rows"]


def told_of(profile: Profile, message: str) -> None:
    known = failure(message)
    codes = {error.code for error in profile.errors}
    if "No kernels were" in message:
        assert bool(profile.kernels) == ("no_kernels" not in codes)
    elif known is not None:
        assert known.code in codes
    else:
        assert any(message.split()[0] in note for note in profile.notes) or "replayed" in " ".join(profile.notes)


def gpu_rows(profile: Profile, wanted: dict[str, Any]) -> None:
    assert len(activities(profile)) == wanted["gpu_rows_first_table"]


def summary_rows(profile: Profile, wanted: dict[str, Any]) -> None:
    calls = profile.extra.get("api_calls", [])
    assert isinstance(calls, list)
    in_one_table = wanted["summary_units_first_table"].get("Type") is not None
    unified = wanted["summary_rows_first_table"] - len(activities(profile)) - (len(calls) if in_one_table else 0)
    assert unified == (3 if wanted["has_unified_memory_section"] else 0)  # the header and both rows of the next table


def top(profile: Profile, wanted: dict[str, Any]) -> None:
    for row in wanted["top3"]:
        one = activities(profile)[short(row["name"])]
        assert one.calls == row["calls"]
        assert one.total_ms == pytest.approx(us(row["time"], row["time_unit"]) / 1e3)
        assert one.mean_us == pytest.approx(us(row["avg"], row["avg_unit"]), abs=1e-3)  # nvprof cuts at the ns


CHECKS = {"summary_rows_first_table": summary_rows, "gpu_rows_first_table": gpu_rows, "top3": top}


def metrics(profile: Profile, wanted: dict[str, Any]) -> None:
    rows = wanted.get("metrics") or wanted["metric_table"]
    assert len(profile.readings) == wanted.get("metric_rows", wanted.get("metric_table_rows"))
    assert len(profile.kernels) == wanted.get("metric_kernels", wanted.get("metric_table_kernels"))
    for row in rows:
        cells = row.get("min_max_avg") or [row["min"], row["max"], row["avg"]]
        plain = row["metric"].partition(" (")[0]
        found = [one for one in profile.readings if one.metric == plain and one.kernel[:120] == row["kernel"][:120]]
        assert any(_same(one, cells, row["invocations"]) for one in found), row


def _same(one: Reading, cells: list[str], calls: int) -> bool:
    *bounds, mean = [[figure(part) for part in cell.split(",") if part] for cell in cells]
    told = [[] if value is None else [value] for value in (one.min, one.max)]
    means = sum(mean) / len(mean)
    return one.calls == calls and told == bounds and one.mean == pytest.approx(means)


@pytest.mark.parametrize("name", ["kmeans_wsl_warning_MarcoTrambusti.txt", "v100_summary_CS533.txt"])
def test_tables_row_by_row(data_dir: Path, name: str) -> None:
    path = data_dir / "logs" / "nvprof" / name
    profile, wanted = read(path), expected(path)
    calls = profile.extra["api_calls"]
    assert isinstance(calls, list)
    assert len(activities(profile)) + len(calls) == wanted["table_rows"]
    for row in wanted["table_top3"]:
        one = activities(profile)[short(row["name"])]
        assert one.calls == row["calls"]
        assert one.total_ms == pytest.approx(us(row["time"]) / 1e3)
        assert one.mean_us == pytest.approx(us(row["avg"]), rel=1e-3)


def test_rows_of_other_sections_are_counted(data_dir: Path) -> None:
    path = data_dir / "logs" / "nvprof" / "v100_summit_xgc_cudaftn_summary.txt"
    profile = read(path)
    calls = profile.extra["api_calls"]
    assert isinstance(calls, list)
    (note,) = profile.notes
    others = re.fullmatch(r"(\d+) rows of OpenACC \(excl\) are not read", note)
    assert others is not None
    assert len(activities(profile)) + len(calls) + int(others[1]) == expected(path)["table_rows"]
    assert (profile.kernels[0].name, profile.kernels[0].total_ms) == ("push_mod_gpu_pushe_kernel_gpu_", 122_719.0)


def test_runs_in_one_file_add_up(data_dir: Path) -> None:
    path = data_dir / "logs" / "nvprof" / "nbody_git_notes_multi_run_nichitapavel.txt"
    text = path.read_text()
    cuts = [match.start() for match in re.finditer(r"==\d+== Profiling result:", text)]
    runs = [_parse_text(text[start:end]) for start, end in zip(cuts, [*cuts[1:], len(text)], strict=True)]
    calls = [run.extra["api_calls"] for run in runs]
    assert sum(len(run.kernels) for run in runs) + sum(len(one) for one in calls if isinstance(one, list)) == 85
    whole = {one.name: one for one in read(path).kernels}
    for name, kernel in whole.items():
        parts = [one for run in runs for one in run.kernels if one.name == name]
        assert kernel.calls == sum(one.calls for one in parts)
        assert kernel.total_ms == pytest.approx(sum(one.total_ms or 0 for one in parts))


@pytest.mark.parametrize(
    "name",
    ["k20c_gpu_trace.csv", "v100_gpu_trace_CS533.txt", "p100_gpu_trace_optresults.txt", "titanxp_bfs_gpu_trace.txt"],
)
def test_traces_against_their_lines(data_dir: Path, name: str) -> None:
    """Calls and times by a count of another kind: whole lines with a kernel's or an operation's name in them."""
    path = data_dir / "logs" / "nvprof" / name
    lines = path.read_text().splitlines()
    profile = read(path)
    for one in (*profile.kernels, *profile.memops):
        word = one.name if isinstance(one, Kernel) else one.name.replace("unified ", "Memory Memcpy ")
        rows = [line for line in lines if word in line and "[" in line]
        assert one.calls == len(rows)
        cells = [line.split("," if path.suffix == ".csv" else None)[1] for line in rows]
        times = [us(cell, "ms") for cell in cells]
        assert one.total_ms == pytest.approx(sum(times) / 1e3)
        assert (one.min_us, one.max_us) == (pytest.approx(min(times)), pytest.approx(max(times)))


def test_copies_in_old_and_new_bytes(data_dir: Path) -> None:
    """Old releases count MB by 10^6, newer ones by 2^20; both copied whole floats."""
    folder = data_dir / "logs" / "nvprof"
    old = {one.name: one for one in read(folder / "k20c_gpu_trace.csv").memops}
    assert old["HtoD"].total_mb == pytest.approx(3 * 2**28 / 1e6)
    new = {one.name: one for one in read(folder / "p100_gpu_trace_optresults.txt").memops}
    assert new["HtoD"].total_mb == pytest.approx(2**29 / 1e6)


def test_metrics_as_columns(data_dir: Path) -> None:
    profile = read(data_dir / "logs" / "nvprof" / "trace_with_metrics_as_columns_j3d7pt.csv")
    told = {one.metric: one for one in profile.readings if one.kernel == profile.kernels[0].name}
    assert (told["sm_efficiency"].unit, told["achieved_occupancy"].unit) == ("%", "")
    assert (told["dram_utilization"].unit, told["tex0_cache_sector_queries"].mean) == ("level", 3943424)


def _parse_text(text: str) -> Profile:
    return parse(io.StringIO(text))
