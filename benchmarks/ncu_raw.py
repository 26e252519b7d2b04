"""A raw page of ncu, read: time and peak memory in a process of its own, scaled to 1 GB.

The page has 760 columns as ``--set full --page raw --csv`` gives them, those of the vocabulary among them, prefixes of
units that change between columns, and 60 kernels. Means over launches are those of the maker, weighted by time.
`ESPDEPLOY_RAW_MB` sets another size than 200 MB. With 1000 no figure is scaled.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from common import peak_rss_mb, spread, write

from espdeploy.profilers.vocabulary import ncu_counters

ROUNDS = 3
KERNELS = 60
COLUMNS = 760
SIZE_MB = 200
FIRST = (
    "ID", "Process ID", "Process Name", "Host Name", "Kernel Name", "Context", "Stream", "Block Size", "Grid Size",
    "Device", "CC",
)  # fmt: skip
TIME = "gpu__time_duration.sum"
CHECKED = ("warp_execution_efficiency", "achieved_occupancy")
SOURCES = (
    ("smsp__thread_inst_executed_per_inst_executed.ratio", 100 / 32),
    ("sm__warps_active.avg.pct_of_peak_sustained_active", 1.0),
)
READ = """
import json, sys, time
from espdeploy.pipeline.profiling.parse import parse_files
document = parse_files([sys.argv[1]])
told = {name: metric.get("mean_pct") for name, metric in document["metrics"].items()}
calls = {kernel["name"]: [kernel["calls"], kernel["total_ms"]] for kernel in document["kernels"]}
with open(sys.argv[2], "w") as out:
    json.dump({"told": told, "calls": calls, "skipped": document["skipped_lines"], "cpu_s": time.process_time()}, out)
"""


def kernel_name(index: int) -> str:
    if index % 2:
        return f"sm80_xmma_fprop_implicit_gemm_f16f16_f16f16_f16_nhwckrsc_nhwc_tilesize128x{32 * index}x32_stage4"
    return f"void at::native::vectorized_elementwise_kernel<({index}), at::native::FillFunctor<float>>(int, T2, T3)"


def counters() -> list[tuple[str, str]]:
    """Name and unit of each column behind the first ones."""
    units = ("%", "", "sector", "inst", "warp", "Mbyte", "sector/second", "Gbyte/second")
    known = [(name, _unit(name)) for name in ncu_counters(dram=True)]
    rest = COLUMNS - len(FIRST) - len(known)
    return [*known, *((f"l1tex__m_invented_{at}.sum", units[at % len(units)]) for at in range(rest))]


def _unit(name: str) -> str:
    if name == TIME:
        return "usecond"
    return "Gbyte/second" if name.startswith("dram__bytes") else "%" if ".pct" in name else ""


def rows(columns: list[tuple[str, str]], totals: dict[str, list[float]]) -> Iterator[str]:
    """Launches; ``totals`` gets calls, us, and each checked counter times us, by kernel."""
    names = [name for name, _ in columns]
    draw = random.Random(7)  # noqa: S311 - the same page each time
    pool = [[_value(draw, unit) for _, unit in columns] for _ in range(500)]
    places = [names.index(TIME), *(names.index(name) for name, _ in SOURCES)]
    number = 0
    while True:
        cells = list(pool[draw.randrange(len(pool))])
        kernel = kernel_name(draw.randrange(KERNELS))
        us, threads, occupancy = draw.randrange(900, 90_000) / 1000, draw.randrange(64, 3200) / 100, draw.random() * 100
        for place, figure in zip(places, (us, threads, occupancy), strict=True):
            cells[place] = f"{figure:.6f}"
        sums = totals.setdefault(kernel, [0, 0.0, 0.0, 0.0])
        for at, more in enumerate((1, us, float(cells[places[1]]) * us, float(cells[places[2]]) * us)):
            sums[at] += more
        head = (
            f'"{number}","4711","run","127.0.0.1","{kernel}","1","7","(128, 1, 1)","({number % 900}, 1, 1)","0","8.7"'
        )
        yield f'{head},"' + '","'.join(cells) + '"\n'
        number += 1


def _value(draw: random.Random, unit: str) -> str:
    return f"{draw.random() * 100:.6f}" if unit in ("%", "Mbyte", "Gbyte/second") else str(draw.randrange(10**6))


def generate(path: Path, size_mb: int) -> dict[str, list[float]]:
    """Write a page of that many 10^6 bytes; returns what each kernel's launches add up to."""
    columns = counters()
    totals: dict[str, list[float]] = {}
    left = size_mb * 1_000_000
    with path.open("w", encoding="utf-8", newline="\n") as out:
        out.write('"' + '","'.join([*FIRST, *(name for name, _ in columns)]) + '"\n')
        out.write('"' + '","'.join([*("" for _ in FIRST), *(unit for _, unit in columns)]) + '"\n')
        for line in rows(columns, totals):
            out.write(line)
            left -= len(line)
            if left <= 0:
                return totals
    return totals


def ours(path: Path) -> tuple[dict[str, float], dict[str, dict[str, list[float]]]]:
    """Wall and processor time in s and peak memory in MB, and what was told."""
    out = path.with_suffix(".json")
    wall, peak = peak_rss_mb([sys.executable, "-c", READ, str(path), str(out)], Path(__file__).parent.parent)
    found = json.loads(out.read_text())
    assert found["skipped"] == 0
    return {"wall_s": wall, "cpu_s": found["cpu_s"], "peak_mb": peak}, found


def check(found: dict[str, dict[str, list[float]]], wanted: dict[str, list[float]]) -> None:
    """Calls and times of each kernel, and the means over the run, are what was written."""
    assert found["calls"].keys() == wanted.keys()
    for name, (calls, us, *_) in wanted.items():
        assert found["calls"][name][0] == calls
        assert abs(found["calls"][name][1] - us / 1e3) <= 1e-9 * us
    whole_us = sum(us for _, us, *_ in wanted.values())
    for at, (name, (_, scale)) in enumerate(zip(CHECKED, SOURCES, strict=True)):
        mean = scale * sum(sums[2 + at] for sums in wanted.values()) / whole_us
        assert abs(found["told"][name] - mean) < 1e-6, (name, found["told"][name], mean)


def main() -> None:
    size_mb = int(os.environ.get("ESPDEPLOY_RAW_MB", str(SIZE_MB)))
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "raw.csv"
        wanted = generate(page, size_mb)
        runs = []
        for _ in range(ROUNDS):
            cost, found = ours(page)
            check(found, wanted)
            runs.append(cost)
    scale = 1000 / size_mb
    write(
        "ncu_raw",
        {
            "page_mb": size_mb,
            "scaled": "no" if size_mb == 1000 else f"read_s is that of {size_mb} MB, multiplied by {scale:g}",
            "columns": COLUMNS,
            "launches": int(sum(calls for calls, *_ in wanted.values())),
            "read_s": spread([cost["wall_s"] * scale for cost in runs]),
            "read_processor_s": spread([cost["cpu_s"] * scale for cost in runs]),
            "limit_s": 15,
            "peak_mb": spread([cost["peak_mb"] for cost in runs]),
            "limit_peak_mb": 300,
            "others_running": f"load average {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores",
        },
    )


if __name__ == "__main__":
    main()
