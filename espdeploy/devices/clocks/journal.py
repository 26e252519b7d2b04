"""What was there before the first change, on disk before it is made: what a later espdeploy puts back after a SIGKILL.

One file for each machine (and each stand-in root), in a folder that the pipeline names. It is read with care: whoever
may write that folder may not have root, and espdeploy may.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path

import msgspec

from espdeploy.artifacts import utc_now, write_atomic
from espdeploy.devices.clocks.values import ClocksBefore
from espdeploy.devices.files import text_of
from espdeploy.errors import InputFileError, MissingCapability

_PREFIX = "clocks-"
_VALUE = re.compile(r"[\w.+-]{1,64}")
#: the only files that a journal may name: limits and governors of clocks, cores, caps of the memory controller
_FILE = re.compile(
    r"/sys/(?:[\w.,:@+-]+/)+"
    r"(?:min_freq|max_freq|governor|online|scaling_min_freq|scaling_max_freq|emc_iso_cap|(?<=/nvpmodel_clk_cap/)emc)"
)


@dataclass(frozen=True, kw_only=True)
class Owner:
    """The process that changed the clocks, told from any later one of the same number, and the boot that it ran in."""

    pid: int
    started_ticks: int | None
    pid_namespace: str | None
    boot_id: str | None
    machine: str
    host: str
    root: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The journal's content."""

    schema: int = 1
    owner: Owner
    since: str
    before: ClocksBefore


class Journal:
    """The journal of one machine in one folder."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.root = root
        self.folder = folder
        key = hashlib.sha256(f"{machine_id(root)} {root}".encode()).hexdigest()[:12]
        self.path = folder / f"{_PREFIX}{key}.json"
        self.lock_path = folder / f"{_PREFIX}{key}.lock"

    def read(self) -> Entry | None:
        """What stands there; None where nothing does.

        Raises:
            MissingCapability: it is another user's, and closed.
            InputFileError: it cannot be read, or names what no journal of ours does.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except PermissionError as error:
            raise MissingCapability(
                f"may not read the clock journal {self.path}", do="sudo espdeploy doctor"
            ) from error
        except OSError as error:
            raise self._damaged(error.strerror or str(error)) from error
        try:
            entry = msgspec.json.decode(content, type=Entry)
        except msgspec.MsgspecError as error:
            raise self._damaged(str(error)) from error
        for path, text in entry.before.files.items():
            if ".." in path.split("/") or not _FILE.fullmatch(path) or not _VALUE.fullmatch(text):
                raise self._damaged(f"it would write {text[:40]!r} to {path[:80]}")
        return entry

    def remember(self, before: ClocksBefore) -> ClocksBefore:
        """Write down what is there, on disk when this returns; what was written down earlier stays as it was.

        Returns all that is written down then.

        Raises:
            MissingCapability: the journal cannot be written; nothing may be changed then.
            InputFileError: as :meth:`read`.
        """
        entry = self.read()
        earlier = entry.before if entry is not None else ClocksBefore(files={})
        merged = ClocksBefore(
            files={**before.files, **earlier.files},
            power_mode=earlier.power_mode or before.power_mode,
            nvml_gpu=earlier.nvml_gpu or before.nvml_gpu,
        )
        if entry is None:
            entry = Entry(owner=owner_now(self.root), since=utc_now(), before=merged)
        elif merged == earlier:
            return earlier
        write_atomic(self.path, msgspec.json.encode(dataclasses.replace(entry, before=merged)))
        self._sync_folder()
        return merged

    def forget(self) -> None:
        """Remove it."""
        self.path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what a killed process left half-written; with the lock held."""
        for part in self.folder.glob(f".{self.path.name}.*.part.json"):
            part.unlink(missing_ok=True)

    def _sync_folder(self) -> None:
        """The file's name too is on disk: a power cut may follow."""
        with contextlib.suppress(OSError):
            descriptor = os.open(self.folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _damaged(self, why: str) -> InputFileError:
        return InputFileError(
            f"the clock journal {self.path} cannot be used",
            why=why,
            do=f"reboot the device if its clocks are not as they should be, and remove it: rm {self.path}",
        )


def owner_now(root: Path) -> Owner:
    """This process."""
    return Owner(
        pid=os.getpid(),
        started_ticks=started_ticks(os.getpid()),
        pid_namespace=_pid_namespace(),
        boot_id=boot_id(root),
        machine=machine_id(root),
        host=socket.gethostname(),
        root=str(root),
    )


def is_alive(owner: Owner) -> bool:
    """Whether that very process runs; one in another container cannot be seen and counts as ended."""
    if owner.pid_namespace != _pid_namespace():
        return False
    ticks = started_ticks(owner.pid)
    return ticks is not None and ticks == owner.started_ticks


def same_boot(owner: Owner, root: Path) -> bool:
    """Whether the kernel still runs that the process ran under: what it wrote to /sys is still there then."""
    return owner.boot_id is not None and owner.boot_id == boot_id(root)


def started_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot (field 22 of /proc/PID/stat); None where there is none.

    One that has ended and was not collected yet (state Z or X) is none.
    """
    fields = (text_of(Path(f"/proc/{pid}/stat")) or "").rpartition(")")[2].split()
    return int(fields[19]) if len(fields) > 19 and fields[0] not in "ZX" else None


def boot_id(root: Path) -> str | None:
    """The kernel's name for this boot; a stand-in's own file, or else the machine's that it runs on."""
    place = "proc/sys/kernel/random/boot_id"
    return text_of(root / place) or text_of(Path("/") / place)


def machine_id(root: Path) -> str:
    """What tells this machine from others that share a home folder, the same inside and outside a container of it."""
    serial = text_of(root / "proc/device-tree/serial-number")
    return serial or text_of(root / "etc/machine-id") or socket.gethostname()


def _pid_namespace() -> str | None:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return None
