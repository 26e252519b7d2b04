"""What the scripts share: where results go, what they ran on, and how a figure is summarised."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
ESPDEPLOY = [sys.executable, "-m", "espdeploy"]


def machine() -> dict[str, object]:
    """The machine and the versions that a figure belongs to."""
    from importlib.metadata import PackageNotFoundError, version

    from espdeploy.devices.detect import detect

    found = detect()
    versions = {}
    for package in ("espdeploy", "torch", "onnx", "onnxruntime", "openvino", "numpy"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "cpu": found.cpu_model,
        "cores_available": len(os.sched_getaffinity(0)),
        "memory_total_mb": found.memory_total_mb,
        "os": found.os,
        "python": platform.python_version(),
        "packages": versions,
    }


def write(name: str, figures: dict[str, object]) -> Path:
    """Store figures with the machine and the date; print them too."""
    document = {
        "benchmark": name,
        "measured": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        "command": f"python benchmarks/{name}.py",
        "machine": machine(),
        "figures": figures,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(figures, indent=2))
    return path


def timed_s(argv: Sequence[str], **options: object) -> float:
    """Wall time of one command that must succeed."""
    started = time.perf_counter()
    subprocess.run(argv, check=True, capture_output=True, **options)  # type: ignore[call-overload]
    return time.perf_counter() - started


def peak_rss_mb(argv: Sequence[str], cwd: Path) -> tuple[float, float]:
    """Wall time in s and peak memory in MB of one command, measured in a process of its own."""
    script = (
        "import resource, subprocess, sys, time\n"
        "t = time.perf_counter()\n"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        "print(time.perf_counter() - t, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, *argv], check=True, capture_output=True, text=True, cwd=cwd)
    wall, peak = done.stdout.split()
    return float(wall), float(peak)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "runs": len(values)}
