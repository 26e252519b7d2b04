"""tegrastats of Linux for Tegra 32 on the stand-in: one line for each interval, read from the board's files.

Of each pair of a rail the first number is now and the second the mean since tegrastats began, whole mW. Without root
the loads are there and no clocks, and the memory controller's load is always 0 (logs of L4T 32).
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path

import tx2_tree as tree
from tx2_faults import Watched
from tx2_link import Alive
from tx2_physics import RAILS

USAGE = (
    "Usage: tegrastats [-option]\nOptions:\n    --help                  : print this help screen\n"
    "    --interval <millisec>   : sample the information in <milliseconds>\n"
    "    --logfile  <filename>   : dump the output of tegrastats to <filename>\n"
)
_USUAL_INTERVAL_MS = 1000
_EMC_SHARE_PCT = 35
_FLOOD_LINES = 200


class Lines:
    """Makes the lines, and keeps the sums behind the means."""

    def __init__(self, root: Path, faults: Watched) -> None:
        self._root, self._faults = root, faults
        self._sums: Counter[str] = Counter()
        self._count = 0

    def next(self) -> str:
        self._count += 1
        load_pct = self._number(tree.LOAD) // 10
        return " ".join(
            [
                f"RAM {tree.MEMORY_USED_MB}/{tree.MEMORY_MB}MB (lfb 26x4MB)",
                f"SWAP 0/{tree.SWAP_MB}MB (cached 0MB)",
                f"CPU [{','.join(self._core(core) for core in range(6))}]",
                *self._clocks(load_pct),
                *(f"{name}@{self._celsius(number)}C" for number, (_, name, _) in enumerate(tree.ZONES)),
                *(self._rail(rail) for rail in RAILS),
            ]
        )

    def _core(self, core: int) -> str:
        folder = tree.CPU / f"cpu{core}"
        if self._number(folder / "online") != 1:
            return "off"
        return f"{4 if core == 0 else 1}%@{self._number(folder / 'cpufreq/scaling_cur_freq') // 1000}"

    def _clocks(self, load_pct: int) -> list[str]:
        if self._faults.now().get("no_root"):
            return ["EMC_FREQ 0%", f"GR3D_FREQ {load_pct}%"]
        emc_mhz, gpu_mhz = self._number(tree.EMC / "rate") // tree.HZ, self._number(tree.CUR_FREQ) // tree.HZ
        return [f"EMC_FREQ {load_pct * _EMC_SHARE_PCT // 100}%@{emc_mhz}", f"GR3D_FREQ {load_pct}%@{gpu_mhz}"]

    def _celsius(self, number: int) -> str:
        return f"{self._number(tree.zone(number, 'temp')) / 1000:g}"

    def _rail(self, rail: str) -> str:
        now_mw = self._number(tree.sensor(rail, "power"))
        self._sums[rail] += now_mw
        name = rail.replace("VDD_", "VNEW_") if self._faults.now().get("telemetry_unknown_rails") else rail
        return f"{name} {now_mw}/{self._sums[rail] // self._count}"

    def _number(self, path: Path) -> int:
        return int((self._root / path).read_text())


def damaged(line: str, number: int) -> bytes:
    """A line as consoles, locales and broken cables leave it."""
    content = line.encode()
    return (
        content[: len(content) - 9] + b"\n",
        content[:120] + content + b"\n",
        line.replace(".5C", ",5C").encode() + b"\r\n",
        b"\xff\xfe\x00" + content[40:90] + b"\n",
        b"[sudo] password for nvidia:\n",
    )[number % 5]


def arguments() -> tuple[int, str | None]:
    """Interval in ms, and the log file."""
    words = sys.argv[1:]
    found: dict[str, str] = {}
    while words:
        word = words.pop(0)
        if word not in ("--interval", "--logfile") or not words:
            sys.stdout.write(USAGE)
            raise SystemExit(0 if word == "--help" else 1)
        found[word] = words.pop(0)
    return int(found.get("--interval", _USUAL_INTERVAL_MS)), found.get("--logfile")


def main(folder: Path) -> None:
    interval_ms, path = arguments()
    stream = sys.stdout.buffer if path is None else Path(path).open("ab")  # noqa: SIM115 (as long as the tool runs)
    faults = Watched(folder)
    lines = Lines(folder / "root", faults)
    due_s, number = time.monotonic(), 0
    alive = Alive(folder)
    while alive:
        due_s += interval_ms / 1000
        time.sleep(max(0.0, due_s - time.monotonic()))
        on = faults.now()
        if on.get("telemetry_dies"):
            sys.exit(1)
        while faults.now().get("telemetry_floods") and alive:
            stream.write(f"{lines.next()}\n".encode() * _FLOOD_LINES)
            stream.flush()
        if on.get("telemetry_stops"):
            continue
        number += 1
        content = f"{lines.next()}\n".encode()
        stream.write(damaged(lines.next(), number // 2) if on.get("telemetry_garbage") and number % 2 else content)
        stream.flush()
