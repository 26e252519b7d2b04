"""What can go wrong with the stand-in, by name; a file in its folder holds those that are on now."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FAULTS = {
    "no_root": (
        "clocks and modes may not be set: whoever writes to min_freq, max_freq and the other settings gets "
        "PermissionError, root too (they are links to sealed memory files; only os.access says yes to root, and to no "
        "one whom the program `unprivileged` in bin runs); debugfs is gone, nvpmodel and jetson_clocks refuse, "
        "tegrastats shows no clocks, nvprof counts nothing"
    ),
    "clock_does_not_stick": "so many seconds (True: 0.2) after a write, min_freq and max_freq are the mode's again",
    "clock_ignored": "min_freq and max_freq keep what is written, and the clock runs as it likes up to the mode's cap",
    "throttling": "the clock is lowered above so many °C (True: 40)",
    "competitor": "somebody else's process takes this share (True: 0.3) of the GPU all the time",
    "telemetry_stops": "tegrastats runs on and prints nothing more",
    "telemetry_dies": "tegrastats ends with exit code 1",
    "telemetry_floods": "tegrastats prints without pause",
    "telemetry_garbage": "of tegrastats' lines every other one is damaged: cut off, two in one, another locale, bytes",
    "telemetry_unknown_rails": "tegrastats names rails that no TX2 has",
    "trtexec_hang": "trtexec loads the GPU and never ends",
    "trtexec_crash": "trtexec dies of SIGSEGV halfway through its inferences",
    "dropped_connection": (
        "the process id of an sshd that listens: halfway through its inferences trtexec kills that sshd's session "
        "which it runs in"
    ),
    "full_disk": "trtexec cannot write more than 1000 bytes: half engines, with its error; half JSONs, without any",
}


def write(folder: Path, faults: dict[str, Any]) -> None:
    """Whole at once: tools and board may read at any time."""
    unknown = set(faults) - set(FAULTS)
    if unknown:
        raise ValueError(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}")
    new = folder / "faults.new"
    new.write_text(json.dumps(faults))
    new.replace(folder / "faults.json")


def read(folder: Path) -> dict[str, Any]:
    """Those that are on, with their values."""
    found: dict[str, Any] = json.loads((folder / "faults.json").read_text())
    return found


class Watched:
    """The faults that are on now, read again whenever the file is another one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: tuple[int, int] | None = None
        self._faults: dict[str, Any] = {}

    def now(self) -> dict[str, Any]:
        status = (self._folder / "faults.json").stat()
        if self._seen != (status.st_ino, status.st_mtime_ns):
            self._seen, self._faults = (status.st_ino, status.st_mtime_ns), read(self._folder)
        return self._faults

    def value(self, name: str, usual: float) -> float | None:
        """The figure that goes with a fault, ``usual`` where none was given; None where it is off."""
        found = self.now().get(name)
        return None if found is None or found is False else usual if found is True else float(found)
