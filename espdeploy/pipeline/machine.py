"""The file system that the machine is looked at through: its own, or a stand-in's for tests."""

from __future__ import annotations

import os
from pathlib import Path

from espdeploy.errors import UsageError

#: names the folder of a stand-in board; whatever is measured there is marked as simulated
SYSTEM_ROOT = "ESPDEPLOY_SYSTEM_ROOT"
#: names the folder for what must outlive a command, such as how clocks are put back
STATE = "ESPDEPLOY_STATE"


def system_root() -> Path:
    """``/``, or the folder that ``ESPDEPLOY_SYSTEM_ROOT`` names in its place.

    Raises:
        UsageError: it names no folder.
    """
    named = os.environ.get(SYSTEM_ROOT)
    if not named:
        return Path("/")
    root = Path(named).resolve()
    if not root.is_dir():
        raise UsageError(f"{SYSTEM_ROOT}={named} is not a folder", do=f"unset {SYSTEM_ROOT}")
    return root


def is_simulated() -> bool:
    """Whether a stand-in takes this machine's place: no figure is real then."""
    return system_root() != Path("/")


def journal_folder() -> Path:
    """Where it stands how clocks are put back after a command that died, found again by the next one.

    One place for the whole machine where it may be written (clocks need root), since the next command may be started in
    another folder; else the user's own. ``ESPDEPLOY_STATE`` names another, for example one that outlives a container.
    """
    named = os.environ.get(STATE)
    if named:
        return Path(named) / "clocks"
    shared = system_root() / "var/lib"
    if os.access(shared, os.W_OK):
        return shared / "espdeploy/clocks"
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local/state") / "espdeploy/clocks"
