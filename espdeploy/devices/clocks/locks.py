"""One espdeploy at a time holds the clocks of a machine: locks that the kernel frees when their holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

from espdeploy.devices.clocks.journal import started_ticks
from espdeploy.devices.files import text_of
from espdeploy.errors import MissingCapability

_CHILD_S = 3.0
_LOOK_S = 0.02


class MachineLock:
    """A lock on a file of ours beside the journal, and on a file or folder of the device itself.

    The second is the same whoever runs espdeploy, wherever their journal lies. A place that does not know locks, or
    may not be opened, holds nobody off.
    """

    def __init__(self) -> None:
        self._descriptors: list[int] = []

    def take(self, path: Path, device: Path | None) -> bool:
        """Take both locks; False where another process holds one of them.

        One that is held while the process that took it has ended is waited for a moment: a child that was just being
        started has the lock too, until it turns into its program.

        Raises:
            OSError: the first cannot be made.
        """
        deadline_s = time.monotonic() + _CHILD_S
        while not self._take_now(path, device):
            taker = holder(path, device)
            if (taker is not None and started_ticks(taker) is not None) or time.monotonic() > deadline_s:
                return False
            time.sleep(_LOOK_S)
        return True

    def _take_now(self, path: Path, device: Path | None) -> bool:
        path.parent.mkdir(parents=True, exist_ok=True)
        own = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        self._descriptors.append(own)
        free = _lock(own)
        if free and device is not None:
            with contextlib.suppress(OSError):
                self._descriptors.append(os.open(device, os.O_RDONLY))
                free = _lock(self._descriptors[-1])
        if not free:
            self.free()
            return False
        return True

    def free(self) -> None:
        """Let go of what is held."""
        while self._descriptors:
            os.close(self._descriptors.pop())


def holder(path: Path, device: Path | None) -> int | None:
    """The process that took one of the locks, by the kernel's list of locks; None where that does not tell."""
    exact, alike = set(), set()
    for place in (path, device):
        with contextlib.suppress(OSError):
            stat = place.stat() if place is not None else None
            if stat is not None:
                exact.add(f"{os.major(stat.st_dev):02x}:{os.minor(stat.st_dev):02x}:{stat.st_ino}")
                alike.add(str(stat.st_ino))
    takers = []
    for line in (text_of(Path("/proc/locks")) or "").splitlines():
        words = line.split()  # 1: FLOCK ADVISORY WRITE 708 08:02:395134 0 EOF; the number is 0 in another container
        if len(words) > 5 and words[1] == "FLOCK" and words[5].rpartition(":")[2] in alike and int(words[4]) > 0:
            takers.append((words[5] not in exact, int(words[4])))
    return min(takers, default=(False, None))[1]  # layered file systems show the lock under another device


def held_by_another(pid: int | None) -> MissingCapability:
    """The refusal to measure beside another espdeploy."""
    if pid == os.getpid():
        return MissingCapability(
            "this process holds the clocks of this machine already", do="end the one session before the next begins"
        )
    named = "another espdeploy" if pid is None else f"process {pid}"
    return MissingCapability(
        f"{named} holds the clocks of this machine",
        why="two measurements at once would disturb each other, and each other's clocks",
        do="wait until it ends" if pid is None else f"wait until it ends (ps -fp {pid}), or end it: kill {pid}",
    )


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True
