"""Small files of /sys that are read many times a second, and what becomes of a reading that fails."""

from __future__ import annotations

import errno
import os
import weakref
from collections.abc import Callable
from pathlib import Path

from espdeploy.errors import ToolFailed
from espdeploy.protocols import Clock
from espdeploy.units import NS_PER_S

_LONGEST_BYTES = 64
#: how long a source may answer nothing before the run ends
SILENT_S = 3.0
#: the device or its driver is gone, and will not come back under this name
_GONE = (errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.EACCES, errno.EPERM)


class Attribute:
    """A file that holds one whole number, kept open: a reading costs two system calls and no path is walked.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open()

    def number(self) -> int:
        """The number that it holds now.

        Raises:
            OSError: it cannot be read.
            ValueError: it holds something else.
        """
        if os.fstat(self._file).st_nlink == 0:  # a driver that was bound anew has a new file under the old name
            self._close()
            self._open()
        return int(os.pread(self._file, _LONGEST_BYTES, 0))

    def _open(self) -> None:
        self._file = os.open(self.path, os.O_RDONLY)
        self._close = weakref.finalize(self, os.close, self._file)


class Watched:
    """A number that a running monitor reads: one failed reading is None, a source that went away is an error.

    Args:
        read: the reading.
        what: what is read, for the error.
        clock: how long it has been silent.
    """

    def __init__(self, read: Callable[[], float], *, what: str, clock: Clock) -> None:
        self._read = read
        self._what = what
        self._clock = clock
        self._silent_since_ns: int | None = None

    def value(self) -> float | None:
        """The number now; None where this one reading failed.

        Raises:
            ToolFailed: the source is gone, or has been silent for 3 s.
        """
        try:
            value = self._read()
        except (OSError, ValueError) as error:
            self._bear(error)
            return None
        self._silent_since_ns = None
        return value

    def _bear(self, error: OSError | ValueError) -> None:
        now_ns = self._clock.now_ns()
        if self._silent_since_ns is None:
            self._silent_since_ns = now_ns
        is_gone = isinstance(error, OSError) and error.errno in _GONE
        if is_gone or now_ns - self._silent_since_ns >= SILENT_S * NS_PER_S:
            raise ToolFailed(f"{self._what} went away during the run", why=str(error), do="espdeploy doctor") from error


def number_or_none(attribute: Attribute) -> int | None:
    """The number now, of a sensor that may be switched off with what it belongs to."""
    try:
        return attribute.number()
    except (OSError, ValueError):
        return None


def text_of(path: Path) -> str | None:
    """The file's text without outer blanks; None where it is absent, unreadable or empty."""
    try:
        return path.read_bytes().replace(b"\0", b" ").decode("utf-8", errors="replace").strip() or None
    except OSError:
        return None


def below(root: Path, path: str) -> Path:
    """An absolute path of the device's facts, below another root."""
    return root / path.lstrip("/")


def channel_name(text: str) -> str:
    """A rail's or zone's own name as part of a channel's: without blanks."""
    return "_".join(text.split())
