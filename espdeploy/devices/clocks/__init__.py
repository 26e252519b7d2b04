"""The clocks of a device: set for a measurement, and put back on every way out of it.

Every command asks :func:`recover` as it starts, so nothing else is imported before it is used.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from espdeploy.devices.clocks.checks import check_clocks
    from espdeploy.devices.clocks.frequencies import parse_frequencies
    from espdeploy.devices.clocks.planning import plan_steps, resolve_frequencies
    from espdeploy.devices.clocks.session import ClockSession, clock_session
    from espdeploy.devices.clocks.values import ALL, ClockCheck, Frequency, GpuLock, PlannedStep, PowerModeSet

__all__ = [
    "ALL",
    "ClockCheck",
    "ClockSession",
    "Frequency",
    "GpuLock",
    "PlannedStep",
    "PowerModeSet",
    "check_clocks",
    "clock_session",
    "parse_frequencies",
    "plan_steps",
    "recover",
    "resolve_frequencies",
]

_MODULES = {
    "checks": ("check_clocks",),
    "frequencies": ("parse_frequencies",),
    "planning": ("plan_steps", "resolve_frequencies"),
    "session": ("ClockSession", "clock_session"),
    "values": ("ALL", "ClockCheck", "Frequency", "GpuLock", "PlannedStep", "PowerModeSet"),
}


def recover(folder: Path, *, root: Path = Path("/"), library: Any = None) -> list[str]:
    """Put back what an espdeploy left changed that was killed, or that lost power; says so, line by line.

    Looks into one folder where there is nothing to do. Never raises for what it finds: a line that begins with ``NOT``
    tells what could not be put back, with the command that does, and the journal stays. Of an espdeploy that still
    runs nothing is touched. After a reboot only the power mode is left to put back.

    Args:
        folder: where sessions keep their journal.
        root: the machine's file system.
        library: nvidia-ml-py or its stand-in; None: the one that is installed.
    """
    try:
        if not any(folder.glob("clocks-*.json")):
            return []
    except OSError:  # a folder of another user's
        return []
    from espdeploy.devices.clocks.keeper import put_back_left

    return put_back_left(folder, root=root, library=library)


def __getattr__(name: str) -> object:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
