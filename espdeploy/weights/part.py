"""A file that is still coming: kept between attempts, with what tells that the server's file is still the same one."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from espdeploy.errors import MissingCapability
from espdeploy.weights.remote import Job


class _Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where the bytes are from; ``validator`` is what If-Range takes (RFC 9110, section 13.1.5)."""

    url: str
    validator: str


class Part:
    """The bytes that came so far, open for writing and locked against a second process."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._origin = path.with_name(path.name + ".json")

    @property
    def size_bytes(self) -> int:
        """How much came so far."""
        return os.fstat(self._descriptor).st_size

    def validator(self, url: str) -> str | None:
        """What the server said of the file that these bytes are from; None where one cannot go on from them."""
        try:
            origin = msgspec.json.decode(self._origin.read_bytes(), type=_Origin)
        except (OSError, msgspec.MsgspecError):
            return None
        return origin.validator if origin.url == url and self.size_bytes else None

    def restart(self, url: str, validator: str | None) -> None:
        """Forget what came, and note which file comes now."""
        with writing(self.path):
            os.ftruncate(self._descriptor, 0)
            if validator is None:
                self._origin.unlink(missing_ok=True)
            else:
                self._origin.write_bytes(msgspec.json.encode(_Origin(url=url, validator=validator)))

    def append(self, piece: bytes) -> None:
        """Write at the end; the whole piece or an error."""
        with writing(self.path):
            os.lseek(self._descriptor, 0, os.SEEK_END)
            view = memoryview(piece)
            while view:
                view = view[os.write(self._descriptor, view) :]

    def finish(self, final: Path) -> None:
        """Put the bytes on disk and under their final name."""
        with writing(final):
            os.fsync(self._descriptor)
            self.path.replace(final)
            self._origin.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove it: it can never become the file."""
        self.path.unlink(missing_ok=True)
        self._origin.unlink(missing_ok=True)


@contextlib.contextmanager
def open_part(job: Job) -> Iterator[Part]:
    """The part file of a job, made where there is none; an empty one does not stay behind.

    Raises:
        MissingCapability: the folder cannot be written, or another process is fetching the same file.
    """
    path = job.final.with_name(f".{job.final.name}.part")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _lock(path, descriptor)
        part = Part(path, descriptor)
        try:
            yield part
        finally:
            if not part.size_bytes:
                part.discard()
    finally:
        os.close(descriptor)


def _lock(path: Path, descriptor: int) -> None:
    busy = MissingCapability(
        f"{path.parent} is receiving this file already",
        why="another espdeploy is fetching it",
        do="wait for the other one to end, then run the same command again",
    )
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        same = os.path.samestat(os.fstat(descriptor), path.stat())
    except (BlockingIOError, FileNotFoundError) as error:
        raise busy from error
    if not same:  # the other one ended between our opening and our locking, and the name is free again
        raise busy


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Failures to write as the error that says where.

    Raises:
        MissingCapability: no room, no permission, or something else in the way.
    """
    try:
        yield
    except OSError as error:
        raise MissingCapability(
            f"cannot write {path}: {error.strerror or error}",
            do="make room or check the folder's permissions, or set XDG_CACHE_HOME to another folder",
        ) from error
