"""Writes the command reference into README.md from the help texts; with --check it only says whether it is current."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN, END = "<!-- reference: begin -->", "<!-- reference: end -->"
COMMANDS = (
    "models",
    "weights list",
    "weights fetch",
    "devices",
    "doctor",
    "doctor engine",
    "export",
    "calibrate",
    "convert",
    "build",
    "bundle",
    "cache list",
    "cache prune",
    "bench",
    "eval",
    "predict",
    "sensitivity",
    "profile",
    "run-bundle",
    "import",
    "explain",
    "parse",
    "report",
    "compare",
    "quickstart",
)


def help_of(command: str) -> str:
    """The help text of one command, 100 columns wide, without colours."""
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "100", "TERMINAL_WIDTH": "100", "TERM": "dumb"}
    argv = [sys.executable, "-m", "espdeploy", *command.split(), "--help"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env=environment)
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())


def reference() -> str:
    """Every command's help as a fold-out section."""
    return "\n".join(section(command) for command in COMMANDS)


def section(command: str) -> str:
    """One command's help, folded away."""
    summary = f"<details><summary><code>espdeploy {command}</code></summary>"
    return f"{summary}\n\n```text\n{help_of(command)}\n```\n\n</details>"


def with_reference(readme: str) -> str:
    """``readme`` with a fresh reference between the two marks."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{reference()}\n{END}{after}"


def main() -> int:
    """Write, or check."""
    current = README.read_text(encoding="utf-8")
    fresh = with_reference(current)
    if "--check" in sys.argv[1:]:
        return int(current != fresh)
    README.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
