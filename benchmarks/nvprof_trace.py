"""A GPU trace of 1 GB, read: time and peak memory in a process of its own; and nvprof itself, where it is on PATH.

The trace has the columns of nvprof 11.8, 300 kernels with names as TensorRT and cuDNN give them, and one copy for four
launches. What is read must be what was written, call for call. `ESPDEPLOY_TRACE_MB` sets another size; figures of a
smaller one are scaled to 1 GB and say so. nvprof (Debian: nvidia-profiler in non-free) reads recordings, not its own
text: it is given a recording of the same launches, in its own SQLite tables, and writes its trace and its summary.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from common import peak_rss_mb, spread, write

ROUNDS = 3
KERNELS = 300
COPY_EVERY = 5
PEER_LAUNCHES = 500_000
HEADER = (
    "==4711== NVPROF is profiling process 4711, command: ./run\n==4711== Profiling result:\n"
    '"Start","Duration","Grid X","Grid Y","Grid Z","Block X","Block Y","Block Z","Registers Per Thread","Static SMem",'
    '"Dynamic SMem","Size","Throughput","SrcMemType","DstMemType","Device","Context","Stream","Name","Correlation_ID"\n'
    "s,us,,,,,,,,B,KB,MB,GB/s,,,,,,,\n"
)
READ = """
import json, sys, time
from espdeploy.profilers.nvprof.document import parse
with open(sys.argv[1], encoding="utf-8", errors="replace") as stream:
    profile = parse(stream)
told = {one.name: [one.calls, one.total_ms] for one in (*profile.kernels, *profile.memops)}
with open(sys.argv[2], "w") as out:
    json.dump({"told": told, "skipped": profile.skipped_lines, "cpu_s": time.process_time()}, out)
"""


def kernel_name(index: int) -> str:
    if index % 3:
        return f"trt_maxwell_fp16x2_hcudnn_winograd_fp16x2_128x{32 * index}_ldg1_ldg4_relu_tile148m_nt_v{index}"
    return f"void cudnn::detail::implicit_convolve<float, int={index}, bool=1>(int, float const *, float*, int, float)"


def rows(counted: dict[str, list[float]]) -> Iterator[str]:
    draw = random.Random(7)  # noqa: S311 - the same trace each time
    sizes = [draw.randrange(1, 4_000_000) / 1e6 for _ in range(200)]
    kinds = ("HtoD", "DtoH", "DtoD")
    number = 0
    while True:
        number += 1
        took = draw.randrange(900, 400_000)
        if number % COPY_EVERY == 0:
            kind, size = kinds[number % 3], sizes[number % 199]
            name, key = f"[CUDA memcpy {kind}]", kind
            middle = f',,,,,,,,,{size:.6f},{size * 1e6 / took:.6f},"Pageable","Device"'
        else:
            name = key = kernel_name(draw.randrange(KERNELS))
            middle = f"{64 * (number % 2 + 1)},1,1,256,1,1,32,0,4.000000,,,,"
        cell = counted.setdefault(key, [0, 0])
        cell[0] += 1
        cell[1] += took
        yield f'{number * 1e-5:.6f},{took / 1e3:.6f},{middle},"NVIDIA Tegra X2 (0)","1","7","{name}",{number}\n'


def generate(path: Path, size_mb: int) -> dict[str, list[float]]:
    """Write a trace of that many 10^6 bytes; returns calls and ns by name."""
    counted: dict[str, list[float]] = {}
    left = size_mb * 1_000_000 - len(HEADER)
    with path.open("w", encoding="utf-8", newline="\n") as out:
        out.write(HEADER)
        for line in rows(counted):
            out.write(line)
            left -= len(line)
            if left <= 0:
                return counted
    return counted


def ours(path: Path) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Wall and processor time in s and peak memory in MB, and what was told: calls and ms by name."""
    out = path.with_suffix(".json")
    wall, peak = peak_rss_mb([sys.executable, "-c", READ, str(path), str(out)], Path(__file__).parent.parent)
    found = json.loads(out.read_text())
    assert found["skipped"] == 0
    return {"wall_s": wall, "cpu_s": found["cpu_s"], "peak_mb": peak}, dict(found["told"])


def check(told: dict[str, list[float]], wanted: dict[str, list[float]]) -> None:
    assert told.keys() == wanted.keys()
    for name, (calls, ns) in wanted.items():
        assert told[name][0] == calls
        assert abs(told[name][1] - ns / 1e6) <= 1e-9 * ns / 1e6


#: CUPTI's records of launches and devices as nvprof 11.8 stores them; it reads columns by their place
LAUNCH = """
    cacheConfig sharedMemoryConfig registersPerThread partitionedGlobalCacheRequested partitionedGlobalCacheExecuted
    start end completed deviceId contextId streamId gridX gridY gridZ blockX blockY blockZ staticSharedMemory
    dynamicSharedMemory localMemoryPerThread localMemoryTotal correlationId gridId name queued submitted launchType
    isSharedMemoryCarveoutRequested sharedMemoryCarveoutRequested sharedMemoryExecuted graphNodeId shmemLimitConfig
    graphId pAccessPolicyWindow
"""
DEVICE = """
    flags globalMemoryBandwidth globalMemorySize constantMemorySize l2CacheSize numThreadsPerWarp coreClockRate
    numMemcpyEngines numMultiprocessors maxIPC maxWarpsPerMultiprocessor maxBlocksPerMultiprocessor
    maxSharedMemoryPerMultiprocessor maxRegistersPerMultiprocessor maxRegistersPerBlock maxSharedMemoryPerBlock
    maxThreadsPerBlock maxBlockDimX maxBlockDimY maxBlockDimZ maxGridDimX maxGridDimY maxGridDimZ
    computeCapabilityMajor computeCapabilityMinor id eccEnabled uuid name isCudaVisible isMigEnabled gpuInstanceId
    computeInstanceId migUuid
"""
BLOBS = {"cacheConfig": 1, "pAccessPolicyWindow": 8, "uuid": 16, "migUuid": 16}


def record(path: Path, launches: int) -> None:
    """A recording of so many launches in the form of ``nvprof --export-profile``."""
    with sqlite3.connect(path) as store:
        names = [*map(kernel_name, range(KERNELS)), "TITAN Xp"]
        store.execute("CREATE TABLE StringTable(_id_ INTEGER PRIMARY KEY, value TEXT)")
        store.execute("CREATE TABLE Version(version INTEGER)")
        store.execute("INSERT INTO Version VALUES(18)")
        store.executemany("INSERT INTO StringTable VALUES(?, ?)", enumerate(names, 1))
        fill(store, "CUPTI_ACTIVITY_KIND_DEVICE", DEVICE, [{"name": KERNELS + 1, "computeCapabilityMajor": 6}])
        fill(store, "CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL", LAUNCH, map(launch, range(launches)))


def fill(store: sqlite3.Connection, table: str, names: str, records: Iterable[dict[str, int]]) -> None:
    columns = names.split()
    typed = ", ".join(f"{name} {'BLOB' if name in BLOBS else 'INT'}" for name in columns)
    store.execute(f"CREATE TABLE {table}(_id_ INTEGER PRIMARY KEY, {typed})")
    blank: dict[str, object] = {name: bytes(BLOBS[name]) if name in BLOBS else 0 for name in columns}
    store.executemany(
        f"INSERT INTO {table}({', '.join(columns)}) VALUES({', '.join('?' * len(columns))})",
        (list({**blank, **told}.values()) for told in records),
    )


def launch(index: int) -> dict[str, int]:
    start = 1_600_000_000_000_000_000 + index * 20_000
    end = start + 1000 + index * 7919 % 15_000
    return {
        "start": start,
        "end": end,
        "completed": end,
        "contextId": 1,
        "streamId": 7,
        **dict.fromkeys(("gridX", "gridY", "gridZ", "blockX", "blockY", "blockZ", "registersPerThread"), 32),
        "correlationId": index + 1,
        "gridId": index + 1,
        "name": index % KERNELS + 1,
    }


def peer(folder: Path) -> dict[str, object]:
    """nvprof's own trace and summary of one recording: its time, ours on its trace, and whether the figures agree."""
    nvprof = shutil.which("nvprof")
    if nvprof is None:
        return {"skipped": "nvprof is not on PATH (Debian: nvidia-profiler, section non-free)"}
    recording, trace, summary = folder / "peer.nvprof", folder / "peer.csv", folder / "summary.csv"
    record(recording, PEER_LAUNCHES)
    base = [nvprof, "--import-profile", str(recording), "--csv", "--normalized-time-unit", "us"]
    walls = []
    for options in (
        ["--print-gpu-trace", "--log-file", str(trace)],
        ["--print-gpu-summary", "--log-file", str(summary)],
    ):
        started = time.perf_counter()
        subprocess.run([*base, *options], check=True, capture_output=True)
        walls.append(time.perf_counter() - started)
    runs = [ours(trace) for _ in range(ROUNDS)]
    _, of_summary = ours(summary)
    of_trace = runs[0][1]
    assert of_trace.keys() == of_summary.keys()
    assert len(of_trace) == KERNELS
    assert all(of_trace[name][0] == calls for name, (calls, _) in of_summary.items())
    return {
        "launches": PEER_LAUNCHES,
        "trace_mb": trace.stat().st_size / 1e6,
        "nvprof_writes_its_trace_s": walls[0],
        "nvprof_writes_its_summary_s": walls[1],
        "ours_reads_that_trace_s": spread([cost["wall_s"] for cost, _ in runs]),
        "greatest_difference_of_times_pct": max(
            100 * abs(of_trace[name][1] / ms - 1) for name, (_, ms) in of_summary.items()
        ),
    }


def main() -> None:
    size_mb = int(os.environ.get("ESPDEPLOY_TRACE_MB", "1000"))
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.csv"
        wanted = generate(trace, size_mb)
        runs = []
        for _ in range(ROUNDS):
            cost, told = ours(trace)
            check(told, wanted)
            runs.append(cost)
        trace.unlink()
        scale = 1000 / size_mb
        write(
            "nvprof_trace",
            {
                "trace_mb": size_mb,
                "scaled": "no" if size_mb == 1000 else f"read_s is that of {size_mb} MB, multiplied by {scale:g}",
                "rows": int(sum(calls for calls, _ in wanted.values())),
                "read_s": spread([cost["wall_s"] * scale for cost in runs]),
                "read_processor_s": spread([cost["cpu_s"] * scale for cost in runs]),
                "limit_s": 15,
                "peak_mb": spread([cost["peak_mb"] for cost in runs]),
                "limit_peak_mb": 300,
                "others_running": f"load average {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores",
                "nvprof": peer(Path(folder)),
            },
        )


if __name__ == "__main__":
    main()
