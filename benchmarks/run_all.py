"""Every script here, one after the other; the figures land in results/."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPTS = (
    "startup",
    "zoo",
    "export_cost",
    "loop_overhead",
    "calibration",
    "int8_accuracy",
    "passes",
    "low_precision",
    "install",
    "sampler_cost",
    "board",
    "clock_restore",
    "tegrastats_log",
    "nvprof_trace",
    "nsys_sqlite",
    "ncu_raw",
    "fuzz_parsers",
)

for name in SCRIPTS:
    print(f"== {name}", flush=True)
    subprocess.run([sys.executable, Path(__file__).parent / f"{name}.py"], check=True)
