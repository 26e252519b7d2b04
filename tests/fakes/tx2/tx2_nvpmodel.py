"""nvpmodel of Linux for Tegra 32 on the stand-in: ``-q``, ``-m ID``, ``-p --verbose``.

Its texts are those that users quote. Which exit code goes with an error is not known, and 255 is a guess: it prints
the mode and its errors both where it may not read everything.
"""

from __future__ import annotations

import sys
from pathlib import Path

import tx2_tree as tree
from tx2_faults import read
from tx2_link import taken, tell
from tx2_physics import MODES, STEPS_MHZ, Mode

_EACCES = 13
_ERROR = 255


def main(folder: Path) -> int:
    root, words = folder / "root", sys.argv[1:]
    refused = bool(read(folder).get("no_root"))
    if "-m" in words and words.index("-m") + 1 < len(words):
        return _choose(root, words[words.index("-m") + 1], refused=refused)
    if "-q" in words:
        return _show(root, refused=refused)
    if "-p" in words:
        for mode in MODES:
            tell(f"POWER_MODEL: ID={mode.id} NAME={mode.name}")
        return 0
    tell("Usage: nvpmodel [-h] [-v] [-m <mode id>] [-q] [-p] [-f <config file>]", to=sys.stderr)
    return _ERROR


def _show(root: Path, *, refused: bool) -> int:
    number = int((root / tree.STATUS).read_text().split()[0].removeprefix("pmode:"))
    tell("NV Fan Mode:quiet")
    tell(f"NV Power Mode: {MODES[number].name}")
    tell(str(number))
    if refused:
        tell(f"NVPM ERROR: Error opening /{tree.EMC_CAP}: {_EACCES}", to=sys.stderr)
        tell(f"NVPM ERROR: failed to read PARAM EMC: ARG MAX_FREQ: PATH /{tree.EMC_CAP}", to=sys.stderr)
        return _ERROR
    return 0


def _choose(root: Path, word: str, *, refused: bool) -> int:
    mode = next((mode for mode in MODES if str(mode.id) == word), None)
    if mode is None:
        tell(f"NVPM ERROR: request for bad power mode {word}", to=sys.stderr)
        return _ERROR
    if refused:
        path = tree.CPU / "cpu1/online"
        tell(f"NVPM ERROR: Error opening /{path}: {_EACCES}", to=sys.stderr)
        tell(f"NVPM ERROR: failed to write PARAM CPU_ONLINE: ARG CORE_1: PATH /{path}", to=sys.stderr)
        return _ERROR
    _write(root, mode)
    taken(root.parent)
    return 0


def _write(root: Path, mode: Mode) -> None:
    """The settings of the mode, the GPU's minimum first: it may lie above the new maximum."""
    for core in range(6):
        (root / tree.CPU / f"cpu{core}/online").write_text(f"{int(core in mode.cores)}\n")
        (root / tree.CPU / f"cpu{core}/cpufreq/scaling_max_freq").write_text(f"{round(mode.cpu_mhz * 1000)}\n")
    (root / tree.MIN_FREQ).write_text(f"{round(STEPS_MHZ[0] * tree.HZ)}\n")
    (root / tree.MAX_FREQ).write_text(f"{round(mode.gpu_mhz * tree.HZ)}\n")
    (root / tree.EMC_CAP).write_text(f"{round(mode.emc_mhz * tree.HZ)}\n")
    (root / tree.STATUS).write_text(f"pmode:{mode.id:04d} fmode:quiet\n")
