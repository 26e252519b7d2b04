"""The README says what the commands say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_command_reference_is_current() -> None:
    script = ROOT / "docs" / "generate_reference.py"
    done = subprocess.run([sys.executable, script, "--check"], check=False, timeout=120)
    assert done.returncode == 0, "run: python docs/generate_reference.py"
