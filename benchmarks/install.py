"""A fresh machine: size of the core without extras (limit 120 MB), and time of `make quickstart` (limit 6 minutes)."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import write

ROOT = Path(__file__).resolve().parent.parent


def folder_mb(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) / 1e6


def core_size_mb(scratch: Path) -> dict[str, float]:
    """What the installed core adds to an empty environment, and what the environment's own pip takes."""
    subprocess.run([sys.executable, "-m", "venv", scratch / "core"], check=True)
    empty = folder_mb(scratch / "core")
    pip = [scratch / "core/bin/python", "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", str(ROOT)]
    subprocess.run(pip, check=True, capture_output=True)
    return {"core_mb": folder_mb(scratch / "core") - empty, "environment_mb": folder_mb(scratch / "core")}


def quickstart_s(scratch: Path) -> float:
    """A clean clone, nothing installed, until the report stands there."""
    clone = scratch / "clone"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    started = time.perf_counter()
    subprocess.run(["make", "quickstart"], cwd=clone, check=True, capture_output=True)
    if not (clone / "quickstart" / "report.html").is_file():
        raise SystemExit("the quickstart left no report")
    return time.perf_counter() - started


def main() -> None:
    scratch = Path(tempfile.mkdtemp(prefix="espdeploy-install-"))
    try:
        figures: dict[str, object] = {"limit_core_mb": 120, "limit_quickstart_s": 360}
        figures |= core_size_mb(scratch)
        figures["quickstart_s"] = quickstart_s(scratch)
        write("install", figures)
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
