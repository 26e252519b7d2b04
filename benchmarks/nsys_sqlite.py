"""A SQLite export of Nsight Systems of 1 GB, read in a process of its own: time and peak memory.

Limits: 15 s and 300 MB. The export is made up with the tables and columns that nsys writes (schema 2.9): seven million
kernels, as many launches, copies between them, and calls of the operating system that nobody asks for. Begin, duration
and name follow from the number of the launch, so what is read is held against sums that NumPy forms without SQLite.
Peers: SQLite's own GROUP BY over the kernels alone, and ``nsys stats`` where nsys is on PATH.
"""

# ruff: noqa: S608 - the statements are made of this file's own constants

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import peak_rss_mb, spread, write

LAUNCHES = 7_000_000
COPIES = 500_000
OTHER_CALLS = 3_100_000
NAMES = 160
RUNS = 3
LIMIT_S = 15.0
LIMIT_MB = 300.0
STEP_NS = 20_000
PROCESS = (1 << 48) + (4242 << 24)
READ = (
    "import dataclasses, json, sys, time; from pathlib import Path\n"
    "from espdeploy.profilers.nsys.document import parse_sqlite\n"
    "document = dataclasses.asdict(parse_sqlite(Path(sys.argv[1])))\n"
    "document['processor_s'] = time.process_time()\n"
    "open(sys.argv[2], 'w').write(json.dumps(document))\n"
)
GROUPED = (
    'SELECT value, count(*), sum("end" - start) FROM CUPTI_ACTIVITY_KIND_KERNEL'
    " JOIN StringIds ON id = demangledName GROUP BY demangledName"
)
ACTIVITY = "start end deviceId contextId streamId correlationId globalPid"
TABLES = {
    "CUPTI_ACTIVITY_KIND_KERNEL": f"{ACTIVITY} demangledName shortName mangledName launchType cacheConfig "
    "registersPerThread gridX gridY gridZ blockX blockY blockZ staticSharedMemory dynamicSharedMemory "
    "localMemoryPerThread localMemoryTotal gridId sharedMemoryExecuted graphNodeId sharedMemoryLimitConfig",
    "CUPTI_ACTIVITY_KIND_MEMCPY": f"{ACTIVITY} bytes copyKind deprecatedSrcId srcKind dstKind srcDeviceId "
    "srcContextId dstDeviceId dstContextId migrationCause graphNodeId virtualAddress",
    "CUPTI_ACTIVITY_KIND_MEMSET": f"{ACTIVITY} value bytes graphNodeId memKind",
    "CUPTI_ACTIVITY_KIND_RUNTIME": "start end eventClass globalTid correlationId nameId returnValue callchainId",
    "OSRT_API": "start end eventClass globalTid nameId returnValue nestingLevel callchainId",
    "ANALYSIS_DETAILS": "globalVid duration startTime stopTime",
}
TEXTS = (
    "CREATE TABLE StringIds (id INTEGER NOT NULL PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE TARGET_INFO_GPU (vmId INTEGER NOT NULL, id INTEGER NOT NULL, name TEXT, cuDevice INTEGER)",
    "CREATE TABLE EXPORT_META_DATA (name TEXT NOT NULL, value TEXT)",
)
COUNT = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {rows})"
BEGIN = f"(1000000000 + i * {STEP_NS} + i * 7919 % 3000)"
FILL = (
    f"""{COUNT.format(rows=LAUNCHES)} INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL SELECT {BEGIN},
        {BEGIN} + 1500 + i * 48271 % 14000, 0, 1, 7, 100 + 2 * i, {PROCESS}, 100 + i * 31 % {NAMES},
        100 + i * 31 % {NAMES}, NULL, 1, 1, 40, 1 + i % 64, 8, 1, 128, 1, 1, 0, 4096, 0, 127401984, i + 1, 32768,
        NULL, 0 FROM n""",
    f"""{COUNT.format(rows=LAUNCHES)} INSERT INTO CUPTI_ACTIVITY_KIND_RUNTIME SELECT {BEGIN} - 30000 - i * 13 % 8000,
        {BEGIN} - 30000 - i * 13 % 8000 + 2500 + i * 17 % 4000, 0, {PROCESS + 4242}, 100 + 2 * i, 5, 0, NULL FROM n""",
    f"""{COUNT.format(rows=COPIES)} INSERT INTO CUPTI_ACTIVITY_KIND_MEMCPY SELECT 1000019000 + 14 * i * {STEP_NS},
        1000019000 + 14 * i * {STEP_NS} + 400 + i % 500, 0, 1, 7, 101 + 2 * i, {PROCESS}, 4096 + i % 4096, 1 + i % 2,
        NULL, 1, 2, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM n""",
    f"""{COUNT.format(rows=OTHER_CALLS)} INSERT INTO OSRT_API SELECT 1000000000 + i * 80000, 1000040000 + i * 80000,
        27, {PROCESS + 4242}, 6, 0, 0, i FROM n""",
)


def generate(path: Path) -> None:
    """Write the export."""
    base = sqlite3.connect(path)
    base.execute("PRAGMA journal_mode = OFF")
    base.execute("PRAGMA synchronous = OFF")
    for table, columns in TABLES.items():
        typed = ", ".join(f'"{column}" INTEGER' for column in columns.split())
        base.execute(f"CREATE TABLE {table} ({typed})")
    for text in TEXTS:
        base.execute(text)
    named = [(100 + at, f"void layer_{at}<(int){at}, float>(const T2 *, T2 *, int)") for at in range(NAMES)]
    base.executemany("INSERT INTO StringIds VALUES (?, ?)", [(5, "cudaLaunchKernel_v7000"), (6, "ioctl"), *named])
    base.execute("INSERT INTO TARGET_INFO_GPU VALUES (0, 0, 'NVIDIA A100-SXM4-40GB', 0)")
    base.execute(f"INSERT INTO ANALYSIS_DETAILS VALUES (0, {LAUNCHES * STEP_NS}, 0, {LAUNCHES * STEP_NS})")
    versions = [("EXPORT_PRODUCT_VERSION", "2022.4.2.1"), ("EXPORT_SCHEMA_VERSION", "2.9.1")]
    parts = [("EXPORT_SCHEMA_VERSION_MAJOR", "2"), ("EXPORT_SCHEMA_VERSION_MINOR", "9")]
    base.executemany("INSERT INTO EXPORT_META_DATA VALUES (?, ?)", [*versions, *parts])
    for statement in FILL:
        base.execute(statement)
    base.commit()
    base.close()


def expected() -> dict[str, tuple[int, int]]:
    """Calls and total time in ns of each kernel, by NumPy."""
    i = np.arange(LAUNCHES, dtype=np.int64)
    durations = 1500 + i * 48271 % 14000
    names = i * 31 % NAMES
    calls = np.bincount(names, minlength=NAMES)
    totals = np.bincount(names, weights=durations, minlength=NAMES)
    return {
        f"void layer_{at}<(int){at}, float>(const T2 *, T2 *, int)": (int(calls[at]), int(totals[at]))
        for at in range(NAMES)
    }


def idle_pct() -> float:
    """The share of the span without kernel or copy, by NumPy: copies lie alone in gaps."""
    i = np.arange(LAUNCHES, dtype=np.int64)
    start = i * STEP_NS + i * 7919 % 3000
    durations = 1500 + i * 48271 % 14000
    span = int(start[-1] + durations[-1])
    copies = 400 + np.arange(COPIES, dtype=np.int64) % 500
    return 100 * (span - int(durations.sum()) - int(copies.sum())) / span


def check(answer: dict[str, object]) -> None:
    """What was read against what was written."""
    kernels = {kernel["name"]: (kernel["calls"], round(kernel["total_ms"] * 1e6)) for kernel in answer["kernels"]}  # type: ignore[attr-defined]
    extra = answer["extra"]
    assert kernels == expected()
    assert answer["skipped_lines"] == 0
    assert abs(extra["idle_pct"] - idle_pct()) < 1e-6  # type: ignore[index]
    assert extra["launch_calls"] == LAUNCHES  # type: ignore[index]


def grouped_s(path: Path) -> float:
    """SQLite's own sums over the kernels, in its shell's way."""
    base = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    started = time.perf_counter()
    rows = base.execute(GROUPED).fetchall()
    took_s = time.perf_counter() - started
    assert len(rows) == NAMES
    base.close()
    return took_s


def nsys_peer(path: Path) -> dict[str, object]:
    """``nsys stats``: its time for the kernels alone, and whether its figures are the same."""
    nsys = shutil.which("nsys")
    if nsys is None:
        return {"skipped": "nsys is not on PATH (Debian non-free: nsight-systems)"}
    version = subprocess.run([nsys, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
    report = "cuda_gpu_kern_sum" if version >= "2023" else "gpukernsum"
    started = time.perf_counter()
    argv = [nsys, "stats", f"--report={report}", "--format=csv", str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    took_s = time.perf_counter() - started
    sums: dict[str, tuple[int, int]] = {}
    for line in done.stdout.splitlines():
        figures, quote, name = line.partition(',"')
        if quote and figures[:1].isdigit():
            _, total, calls = figures.split(",")[:3]
            held = sums.get(name.rstrip('"'), (0, 0))
            sums[name.rstrip('"')] = (held[0] + int(calls), held[1] + int(total))
    return {"version": version, "report": report, "kernels_only_s": took_s, "same_figures": sums == expected()}


def main() -> None:
    figures: dict[str, object] = {"launches": LAUNCHES, "limit_s": LIMIT_S, "limit_mb": LIMIT_MB}
    with tempfile.TemporaryDirectory() as folder:
        path, answer = Path(folder) / "export.sqlite", Path(folder) / "answer.json"
        generate(path)
        seconds, processor_s, peaks_mb = [], [], []
        load = os.getloadavg()[0]
        for _ in range(RUNS):
            wall_s, peak_mb = peak_rss_mb([sys.executable, "-c", READ, str(path), str(answer)], cwd=Path.cwd())
            seconds.append(wall_s)
            peaks_mb.append(peak_mb)
            processor_s.append(json.loads(answer.read_text())["processor_s"])
        check(json.loads(answer.read_text()))
        figures |= {
            "size_mb": path.stat().st_size / 1e6,
            "read_s": spread(seconds),
            "read_processor_s": spread(processor_s),
            "load_average_before": load,
            "peak_rss_mb": spread(peaks_mb),
            "sqlite_group_by_kernels_only_s": grouped_s(path),
            "nsys_stats": nsys_peer(path),
        }
    write("nsys_sqlite", figures)


if __name__ == "__main__":
    main()
