"""jetson_clocks of Linux for Tegra 32 on the stand-in: ``--show``, ``--store [FILE]``, ``--restore [FILE]``, nothing.

It is a shell script that needs root whatever it is asked for, asks before it overwrites a stored file, stores the
minimum of the GPU's clock and not its maximum, and restores from lines of ``path:value``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import tx2_tree as tree
from tx2_faults import read
from tx2_link import taken, tell
from tx2_physics import MODES

_STORED = (
    *(tree.CPU / f"cpu{core}/online" for core in range(6)),
    *(tree.CPU / f"cpu{core}/cpufreq/scaling_min_freq" for core in range(6)),
    *(tree.CPU / f"cpu{core}/cpuidle/state{state}/disable" for core in range(6) for state in range(2)),
    tree.MIN_FREQ,
    tree.GPU / "railgate_enable",
    tree.EMC / "mrq_rate_locked",
)


def main(folder: Path) -> int:
    root, words = folder / "root", sys.argv[1:]
    actions = ("--show", "--store", "--restore", "--fan")
    action = words[0] if words else ""
    if action and action not in actions:
        tell(f"Unknown option: {action}\nMaximize jetson performance by setting static max frequency", to=sys.stderr)
        return 0
    if action == "--show":
        tell("SOC family:tegra186  Machine:quill")
    if read(folder).get("no_root"):
        tell(f"Error: Run this script({sys.argv[0]}) as a root user")
        return 1
    file = Path(words[1]) if len(words) > 1 else Path(os.environ.get("HOME", "/")) / "l4t_dfs.conf"
    if action == "--store":
        return _store(root, file)
    if action == "--restore":
        return _restore(root, file)
    if action == "--show":
        _show(root)
    else:
        _maximize(root)
        taken(folder)
    return 0


def _store(root: Path, file: Path) -> int:
    if file.exists():
        tell(f"File {file} already exists. Can I overwrite it? Y/N:")
        if sys.stdin.readline().strip() not in ("y", "Y"):
            tell(f"Error: file {file} already exists!")
            return 1
    file.write_text("".join(f"/{path}:{_text(root, path)}\n" for path in _STORED))
    return 0


def _restore(root: Path, file: Path) -> int:
    if not file.exists():
        tell(f"Error: {file} file not found !")
        return 1
    for line in file.read_text().split():
        path, _, value = line.partition(":")
        (root / path.lstrip("/")).write_text(f"{value}\n")
    taken(root.parent)
    return 0


def _show(root: Path) -> None:
    tell(f"Online CPUs: {_text(root, tree.CPU / 'online')}")
    for core in range(6):
        folder = tree.CPU / f"cpu{core}"
        clocks = [_text(root, folder / f"cpufreq/scaling_{which}_freq") for which in ("min", "max", "cur")]
        idle = " ".join(f"{name}={1 - int(_text(root, folder / f'cpuidle/state{number}/disable'))}"
                        for number, name in enumerate(("WFI", "c7")))  # fmt: skip
        tell(
            f"cpu{core}: Online={_text(root, folder / 'online')} "
            f"Governor={_text(root, folder / 'cpufreq/scaling_governor')} "
            f"MinFreq={clocks[0]} MaxFreq={clocks[1]} CurrentFreq={clocks[2]} IdleStates: {idle} "
        )
    gpu = [_text(root, path) for path in (tree.MIN_FREQ, tree.MAX_FREQ, tree.CUR_FREQ)]
    tell(f"GPU MinFreq={gpu[0]} MaxFreq={gpu[1]} CurrentFreq={gpu[2]}")
    emc = [_text(root, tree.EMC / name) for name in ("min_rate", "max_rate", "rate", "mrq_rate_locked")]
    tell(f"EMC MinFreq={emc[0]} MaxFreq={emc[1]} CurrentFreq={emc[2]} FreqOverride={emc[3]}")
    tell("Can't access Fan!")
    tell(f"NV Power Mode: {MODES[int(_text(root, tree.STATUS).split()[0].removeprefix('pmode:'))].name}")


def _maximize(root: Path) -> None:
    for core in range(6):
        clocks = tree.CPU / f"cpu{core}/cpufreq"
        (root / clocks / "scaling_min_freq").write_text((root / clocks / "scaling_max_freq").read_text())
    (root / tree.GPU / "railgate_enable").write_text("0\n")
    (root / tree.MIN_FREQ).write_text((root / tree.MAX_FREQ).read_text())
    (root / tree.EMC / "mrq_rate_locked").write_text("1\n")


def _text(root: Path, path: Path) -> str:
    return (root / path).read_text().strip()
