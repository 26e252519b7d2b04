"""Every collected output of Nsight Systems against the facts that were read off it independently."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from espdeploy.profilers.nsys.document import is_sqlite, parse, parse_sqlite, recognise
from espdeploy.profilers.values import Profile

pytestmark = pytest.mark.data


def _read(path: Path) -> Profile:
    with path.open("rb") as stream:
        if is_sqlite(stream.read(64)):
            return parse_sqlite(path)
    with path.open(errors="replace") as text:
        profile = parse(text)
    assert profile is not None
    return profile


def _all(data_dir: Path) -> list[tuple[Path, dict[str, Any], Profile]]:
    folder = data_dir / "logs" / "nsys"
    found = [path for path in sorted(folder.iterdir()) if not path.name.endswith(".expected.json")]
    return [(path, json.loads(Path(f"{path}.expected.json").read_text()), _read(path)) for path in found]


def _rows(profile: Profile, table: str) -> list[tuple[str, int, int]]:
    """A table's rows as nsys orders them: those of operations by their own short names."""
    extra = {"NVTX": "nvtx", "nvtx": "nvtx", "Oper": "os_runtime", "osrt": "os_runtime"}
    if "Kernel" in table or "kern" in table:
        return [(one.name, one.calls, round((one.total_ms or 0) * 1e6)) for one in profile.kernels]
    if "Memory" in table or "mem" in table:
        return [(one.name, one.calls, round((one.total_ms or 0) * 1e6)) for one in profile.memops]
    listed: Any = profile.extra[extra.get(table[:4], "api")]
    return [(one["name"], one["calls"], round(one["total_ms"] * 1e6)) for one in listed]


def _short(name: str) -> str:
    for long, short in (
        ("Host-to-Device", "HtoD"),
        ("Device-to-Host", "DtoH"),
        ("Device-to-Device", "DtoD"),
        ("Unified Memory memcpy", "unified"),
    ):
        name = name.replace(long, short)
    return name.strip("[]").replace("CUDA ", "").replace("memcpy ", "") if name.startswith("[CUDA") else name


def test_tables_of_consoles_hold_what_stands_in_them(data_dir: Path) -> None:
    seen = 0
    for path, facts, profile in _all(data_dir):
        tables = facts["tables"] if facts["kind"] == "nsys stats" and "tables" in facts else {}
        for title, table in tables.items():
            rows = _rows(profile, title)
            assert len(rows) == table["rows"], (path.name, title)
            told = [(_short(row["name"]), row["count"], row["total_ns"]) for row in table["top3"]]
            assert rows[: len(told)] == told, (path.name, title)
            seen += 1
        assert profile.skipped_lines == 0, path.name
    assert seen > 15


def test_csv_of_three_generations_holds_what_stands_in_it(data_dir: Path) -> None:
    seen = 0
    for path, facts, profile in _all(data_dir):
        for table in facts.get("csv", []):
            kind = "nvtx" if "Range" in table["header"] else path.name
            rows = _rows(profile, kind)
            names = [row.get("Name") or row.get("Range") or _short(row["Operation"]) for row in table["top3"]]
            assert len(rows) == table["rows"], path.name
            assert [row[0] for row in rows[:3]] == names, path.name
            assert sum(row[2] for row in rows) == table["total_time_ns_sum"], path.name
            seen += 1
    assert seen > 7


def test_exports_hold_what_their_tables_hold(data_dir: Path) -> None:
    for path, facts, profile in _all(data_dir):
        if facts["kind"] != "nsys sqlite":
            continue
        assert profile.device == facts["gpu"]
        assert profile.tool_version == facts["meta"]["EXPORT_PRODUCT_VERSION"]
        assert profile.extra["launches"] == facts["kernel_launches"]
        assert sum(one.calls for one in profile.memops if one.name != "memset") == facts["memcpy_rows"]
        found = [(one.name, one.calls, one.total_ms, one.min_us, one.max_us) for one in profile.kernels[:3]]
        told = [
            (one["name"], one["instances"], one["total_ns"] / 1e6, one["min_ns"] / 1e3, one["max_ns"] / 1e3)
            for one in facts["top3"]
        ]
        assert found == told, path.name


def test_export_and_summaries_of_one_recording_agree(data_dir: Path) -> None:
    folder = data_dir / "logs" / "nsys"
    export = parse_sqlite(folder / "a100_kamal_schema291.sqlite")
    for name in ("2020.4_gpukernsum.csv", "2020.4_gpukernsum_column.txt", "2023.4_cuda_gpu_kern_sum.csv"):
        assert _read(folder / f"a100_kamal_nsys{name}").kernels == export.kernels
    memory = _read(folder / "a100_kamal_nsys2020.4_gpumemtimesum.csv").memops
    assert [(one.name, one.total_ms) for one in memory] == [(one.name, one.total_ms) for one in export.memops]
    calls = _read(folder / "a100_kamal_nsys2023.4_cuda_api_sum.csv").extra
    assert calls["launch_call_total_ms"] == export.extra["launch_call_total_ms"]


def test_refusals_say_what_to_do(data_dir: Path) -> None:
    folder = data_dir / "logs" / "nsys"
    (newer,) = _read(folder / "err_report_too_new_nsys2023.4.txt").errors
    assert (newer.code, "2024.5.4.34" in newer.do) == ("report_too_new", True)
    (older,) = _read(folder / "a100_kamal_nsys2023.4_cuda_gpu_mem_time_sum.csv").errors
    assert older.code == "export_too_old"


def test_outputs_of_other_tools_are_not_taken(data_dir: Path) -> None:
    for tool in ("nvprof", "ncu", "tegrastats", "nvsmi", "trtexec"):
        for path in sorted((data_dir / "logs" / tool).iterdir()):
            if path.suffix != ".json":
                assert recognise(path.read_text(errors="replace")[: 1 << 16]) is None, path.name
