"""A day of tegrastats at ten lines a second (864,000 lines), read in a process of its own: time and peak memory.

Limits: 10 s and 200 MB. The logs are made up, line by line: a TX2's with root, and an AGX Orin's, whose lines are among
the longest. Loads jump, power jumps in the sensors' own steps, temperatures and memory drift. What is read is held
against the sums that the maker of the log kept.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from common import peak_rss_mb, spread, write

LINES = 864_000
RUNS = 3
LIMIT_S = 10.0
LIMIT_MB = 200.0
READ = (
    "import json, sys, time; from espdeploy.profilers.tegrastats.document import parse\n"
    "with open(sys.argv[1], errors='replace') as stream: document = parse(stream)\n"
    "open(sys.argv[2], 'w').write(json.dumps({'document': document, 'cpu_s': time.process_time()}))\n"
)
BARE = "import sys\nwith open(sys.argv[1], errors='replace') as stream: print(sum(1 for line in stream))\n"


#: what an INA3221's shunt voltage of 40 uV makes at 19 V and 5 mOhm, nearly; real logs show steps of 38 to 40 mW
STEP_MW = 39


class Drift:
    """A value that moves by at most one step per line."""

    def __init__(self, draw: random.Random, start: float, step: float, *, often: float) -> None:
        self.draw, self.value, self.start, self.step, self.often = draw, start, start, step, often

    def next(self) -> float:
        if self.draw.random() < self.often:
            towards = -1 if self.value > self.start else 1
            self.value += self.step * (towards if self.draw.random() < 0.6 else -towards)
        return self.value


class Rail:
    """A rail's power around a level, with the mean since the start that the tool prints."""

    def __init__(self, draw: random.Random, level_mw: int) -> None:
        self.draw, self.level_mw, self.sum_mw, self.count = draw, level_mw, 0, 0

    def next(self) -> tuple[int, int]:
        now_mw = int(self.level_mw * (0.7 + 0.6 * self.draw.random()) / STEP_MW) * STEP_MW
        self.sum_mw += now_mw
        self.count += 1
        return now_mw, self.sum_mw // self.count


def tx2(draw: random.Random) -> Callable[[], tuple[str, int]]:
    """Lines of a TX2, and the VDD_IN in each."""
    names = ("VDD_SYS_GPU", "VDD_SYS_SOC", "VDD_4V0_WIFI", "VDD_IN", "VDD_SYS_CPU", "VDD_SYS_DDR")
    rails = [Rail(draw, level) for level in (2500, 800, 50, 8000, 1200, 1500)]
    zones = {
        zone: Drift(draw, 40, 0.5, often=0.3) for zone in ("PLL", "MCPU", "Tboard", "GPU", "BCPU", "thermal", "Tdiode")
    }
    memory = Drift(draw, 3000, 1, often=0.3)

    def line() -> tuple[str, int]:
        noise = draw.getrandbits(60)
        powers = [rail.next() for rail in rails]
        cores = ",".join(f"{(noise >> 7 * core) % 101}%@2035" for core in range(6))
        temps = " ".join(f"{zone}@{drift.next():g}C" for zone, drift in zones.items())
        told = " ".join(f"{name} {now}/{mean}" for name, (now, mean) in zip(names, powers, strict=True))
        return (
            f"RAM {memory.next()}/7859MB (lfb 26x4MB) SWAP 0/3929MB (cached 0MB) CPU [{cores}] EMC_FREQ "
            f"{noise % 60}%@1600 GR3D_FREQ {noise % 100}%@1134 APE 150 MTS fg 0% bg 0% PMIC@100C {temps} {told}"
        ), powers[3][0]

    return line


def orin(draw: random.Random) -> Callable[[], tuple[str, int]]:
    """Lines of an AGX Orin, and the VDD_GPU_SOC in each."""
    names = ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO")
    rails = [Rail(draw, level) for level in (9000, 3000, 5000, 900)]
    zones = {
        zone: Drift(draw, 45_000, 31.25, often=0.9)
        for zone in ("cpu", "tboard", "soc2", "tdiode", "soc0", "gpu", "tj", "soc1")
    }
    memory = Drift(draw, 6879, 1, often=0.3)
    second = 0

    def line() -> tuple[str, int]:
        nonlocal second
        second += 1
        noise = draw.getrandbits(90)
        powers = [rail.next() for rail in rails]
        cores = ",".join(f"{(noise >> 7 * core) % 101}%@{729 + (noise >> core) % 3 * 736}" for core in range(12))
        temps = " ".join(f"{zone}@{int(drift.next()) / 1000:g}C" for zone, drift in zones.items())
        told = " ".join(f"{name} {now}mW/{mean}mW" for name, (now, mean) in zip(names, powers, strict=True))
        clock = f"10-26-2025 {second // 36000 % 24:02}:{second // 600 % 60:02}:{second // 10 % 60:02}"
        return (
            f"{clock} RAM {memory.next()}/62841MB (lfb 3x4MB) SWAP 0/31421MB (cached 0MB) CPU [{cores}] "
            f"EMC_FREQ {noise % 60}%@2133 GR3D_FREQ {noise % 100}%@[{305 + noise % 7},305] NVENC off NVDEC off "
            f"NVJPG off NVJPG1 off VIC off OFA off NVDLA0 off NVDLA1 off PVA0_FREQ off APE 174 {temps} {told}"
        ), powers[0][0]

    return line


BOARDS = {"tx2": (tx2, "VDD_IN"), "orin-agx": (orin, "VDD_GPU_SOC")}


def generate(path: Path, board: str) -> float:
    """Write a day's log; the mean of its leading rail in mW."""
    line = BOARDS[board][0](random.Random(24))  # noqa: S311 - made-up power, the same in every run
    total_mw = 0
    with path.open("w") as stream:
        for _ in range(LINES):
            text, now_mw = line()
            stream.write(text + "\n")
            total_mw += now_mw
    return total_mw / LINES


def measure(path: Path, board: str, mean_mw: float) -> dict[str, object]:
    answer = path.with_suffix(".json")
    seconds, cpu_s, peaks_mb = [], [], []
    for _ in range(RUNS):
        wall_s, peak_mb = peak_rss_mb([sys.executable, "-c", READ, str(path), str(answer)], cwd=Path.cwd())
        seconds.append(wall_s)
        peaks_mb.append(peak_mb)
        told = json.loads(answer.read_text())
        cpu_s.append(told["cpu_s"])
    document = told["document"]
    assert document["samples"] == LINES
    assert document["skipped_lines"] == 0
    assert document["device_hint"] == board
    assert abs(document["rails_mw"][BOARDS[board][1]]["mean"] / mean_mw - 1) < 1e-9
    bare_s = peak_rss_mb([sys.executable, "-c", BARE, str(path)], cwd=Path.cwd())[0]
    return {
        "size_mb": path.stat().st_size / 1e6,
        "read_s": spread(seconds),
        "read_cpu_s": spread(cpu_s),
        "peak_rss_mb": spread(peaks_mb),
        "bare_line_loop_s": bare_s,
    }


def main() -> None:
    figures: dict[str, object] = {"lines": LINES, "limit_s": LIMIT_S, "limit_mb": LIMIT_MB}
    with tempfile.TemporaryDirectory() as folder:
        for board in BOARDS:
            path = Path(folder) / f"{board}.log"
            mean_mw = generate(path, board)
            figures[board] = measure(path, board, mean_mw)
            path.unlink()
    write("tegrastats_log", figures)


if __name__ == "__main__":
    main()
