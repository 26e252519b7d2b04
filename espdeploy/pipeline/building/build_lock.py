"""One build of an engine at a time: a second process waits for the first, and then finds its engine."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from espdeploy.errors import MissingCapability
from espdeploy.pipeline.engine_files.cache import engine_cache
from espdeploy.protocols import Clock, Progress, SystemClock
from espdeploy.units import NS_PER_S

#: INT8 with the search of a mixed engine can take this long on a small board
_LONGEST_S = 3600.0
_LOOK_S = 0.1
#: file systems without locks (some NFS and FUSE): the files are still written whole, only work may be done twice
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


@dataclass(frozen=True, kw_only=True)
class Owner:
    """Who holds a lock: its process (0: it did not say), and the machine that runs it."""

    pid: int = 0
    host: str = ""

    @property
    def named(self) -> str:
        """As it is told: the process alone where it is one of this machine."""
        if not self.pid:
            return "another process"
        return f"process {self.pid}" + ("" if self.host == socket.gethostname() else f" on {self.host}")


def lock_path(engine: Path) -> Path:
    """``net.engine`` is built under ``.net.engine.lock``."""
    return engine.with_name(f".{engine.name}.lock")


@contextlib.contextmanager
def building(
    engine: Path, progress: Progress, *, timeout_s: float = _LONGEST_S, clock: Clock | None = None
) -> Iterator[bool]:
    """Be the only process that builds ``engine`` while the block lasts; others wait until it ends.

    The lock belongs to the open file (flock), so that the kernel frees it when its holder dies, by SIGKILL too: the
    file that stays behind then is taken over.

    Args:
        engine: where the engine will stand; the lock lies beside it.
        progress: told who is waited for.
        timeout_s: how long to wait.
        clock: what measures that.

    Yields:
        Whether another process was waited for: then the engine may be there now.

    Raises:
        MissingCapability: the place cannot be written, or the other process takes longer than ``timeout_s``.
    """
    descriptor, waited = _acquired(engine, progress, timeout_s, clock or SystemClock())
    try:
        _sign(descriptor)
        yield waited
    finally:
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), lock_path(engine).stat()):
                lock_path(
                    engine
                ).unlink()  # while it is held: whoever waits sees that its file is gone, and starts anew
        os.close(descriptor)


def holder(engine: Path) -> Owner | None:
    """Who is building ``engine`` now; None where nobody is, also where one died over it."""
    try:
        descriptor = os.open(lock_path(engine), os.O_RDWR | os.O_NOFOLLOW)  # NFS locks only what may be written
    except OSError:
        return None
    try:
        return None if _lock(descriptor) else _signed(descriptor)
    finally:
        os.close(descriptor)


def _acquired(engine: Path, progress: Progress, timeout_s: float, clock: Clock) -> tuple[int, bool]:
    """The locked file, and whether it had to be waited for."""
    started_ns = clock.now_ns()
    waited = False
    while True:
        descriptor = _opened(engine)
        free = _lock(descriptor)
        if free and _is_at(descriptor, lock_path(engine)):
            return descriptor, waited
        owner = _signed(descriptor)
        os.close(descriptor)
        waited = True
        if free:  # its holder ended just now, and took the file away
            continue
        waited_s = (clock.now_ns() - started_ns) / NS_PER_S
        if waited_s > timeout_s:
            raise _too_long(engine, owner, waited_s)
        progress(0, None, f"waiting for {owner.named} that builds the same engine, {waited_s:.0f} s")
        clock.sleep_s(_LOOK_S)


def _opened(engine: Path) -> int:
    path = lock_path(engine)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        cached = engine.parent == engine_cache()
        raise MissingCapability(
            f"cannot write {engine}: {error.strerror or error}",
            do="set ESPDEPLOY_CACHE to a folder that can be written, or make room"
            if cached
            else "choose another place with -o, or make room and check the folder's permissions",
        ) from error


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the open file still has its name: the one who held it may have ended, and removed it, in between."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _sign(descriptor: int) -> None:
    """Say who holds the lock; on a full disk nobody knows, and it holds all the same."""
    content = msgspec.json.encode(Owner(pid=os.getpid(), host=socket.gethostname()))
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, content, 0)


def _signed(descriptor: int) -> Owner:
    try:
        return msgspec.json.decode(os.pread(descriptor, 1000, 0), type=Owner)
    except (OSError, msgspec.MsgspecError):  # between its opening and its signing, or on a full disk
        return Owner()


def _too_long(engine: Path, owner: Owner, waited_s: float) -> MissingCapability:
    end_it = f"end it (kill {owner.pid})" if owner.pid else "end it"
    return MissingCapability(
        f"{owner.named} is still building {engine} after {waited_s:.0f} s",
        why="only one process builds an engine at a time",
        do=f"wait for it to end, or {end_it}, then run the same command again",
    )
