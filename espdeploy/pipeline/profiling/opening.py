"""A tool's output opened: a file, a pipe or standard input, of any size, and the tool that wrote it."""

from __future__ import annotations

import io
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from espdeploy.errors import InputFileError
from espdeploy.profilers.kinds import HEAD_CHARS, MESSAGES, Recognised, recognised
from espdeploy.profilers.nsys.document import is_sqlite

STDIN = "-"
#: a job's log may hold other things first: so much of its begin is looked through, and of its end, where tables stand
_BEGIN_BYTES, _END_BYTES = 1 << 20, 1 << 18
_OVERLAP = 1 << 12
_UTF16 = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}  # PowerShell's > writes it
_NOT_TEXT = (
    (b"\x1f\x8b", "compressed", "gunzip -c {name} | espdeploy parse -"),
    (b"\x28\xb5\x2f\xfd", "compressed", "zstd -dc {name} | espdeploy parse -"),
    (b"PK\x03\x04", "an archive", "unpack it, and give the files in it"),
    (b"NVR\0", "a recording of ncu", "ncu --import {name} --page raw --csv | espdeploy parse -"),
)
#: tables of the database that nvprof -o writes; nsys' exports have others
_NVPROF_TABLES = (b"CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL", b"StringTable")


@dataclass(frozen=True, kw_only=True)
class Found:
    """The tool that wrote a file, or wrote into it, and the byte from which on it did; ``beside`` are others there."""

    what: Recognised
    start: int
    beside: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A file that can be read from any place; ``name`` is how the user named it, ``head`` its first bytes."""

    name: str
    path: Path
    size: int
    head: bytes

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a database."""
        return is_sqlite(self.head)

    @property
    def _encoding(self) -> str:
        return _UTF16.get(self.head[:2], "utf-8")

    @contextmanager
    def text(self, start: int = 0) -> Iterator[IO[str]]:
        """The text from a byte on; what is no text of its encoding is replaced."""
        with self.path.open("rb") as raw:
            raw.seek(start)
            with io.TextIOWrapper(raw, encoding=self._encoding, errors="replace") as text:
                yield text

    def found(self, kind: str | None = None) -> Found | None:
        """The tool that wrote it, or ``kind`` where it did; None for no tool that is known.

        A program that ran under a profiler comes first in a log, and its figures count for less. What stands at the end
        alone may have begun before.
        """
        step = HEAD_CHARS - _OVERLAP
        last = range(max(self.size - _END_BYTES, 0) // 2 * 2, self.size, step)
        ends = self._found_in([0, *last], kind)
        if ends is not None and ends.start == 0:
            return ends
        begin = range(0, min(self.size, _BEGIN_BYTES), step)
        return self._found_in([*begin, *last], kind if ends is None else ends.what.kind)

    @property
    def end(self) -> str:
        """The text at its end: where a tool tells how it ended."""
        return self._part(max(self.size - HEAD_CHARS, 0) // 2 * 2)

    def _found_in(self, starts: Iterable[int], kind: str | None) -> Found | None:
        best: Found | None = None
        for start in dict.fromkeys(starts):
            found = recognised(self._part(start))
            for what in found:
                if kind in (None, what.kind) and (best is None or what.rank < best.what.rank):
                    beside = tuple(other.kind for other in found if other is not what and other.rank < MESSAGES)
                    best = Found(what=what, start=start, beside=beside)
            if best is not None and best.what.rank == 0:
                return best
        return best

    def _part(self, start: int) -> str:
        with self.path.open("rb") as raw:
            raw.seek(start)
            return raw.read(HEAD_CHARS).decode(self._encoding, errors="replace")


@contextmanager
def opened(name: str) -> Iterator[Opened]:
    """Open a file, or what comes from a pipe or standard input (``-``), which is kept on disk while it is read.

    Raises:
        InputFileError: it is missing, a folder, empty, not readable, or of a kind that must be unpacked first.
    """
    if name == STDIN:
        if sys.stdin.isatty():
            raise InputFileError("standard input is a terminal", do="TOOL … 2>&1 | espdeploy parse -")
        with _kept(sys.stdin.buffer) as path:
            yield _checked("standard input", path)
        return
    path = Path(name)
    if stat.S_ISREG(_mode(name)):
        yield _checked(name, path)
        return
    with path.open("rb") as pipe, _kept(pipe) as kept:
        yield _checked(name, kept)


def _mode(name: str) -> int:
    """What a path is, if it is a file or a pipe that may be read."""
    path = Path(name)
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            path.open("rb").close()
    except (FileNotFoundError, NotADirectoryError):
        raise InputFileError(f"{name}: no such file", do="check the path") from None
    except PermissionError:
        raise InputFileError(f"{name}: may not be read", do=f"sudo chown $USER {name}, where sudo wrote it") from None
    if stat.S_ISDIR(mode):
        raise InputFileError(f"{name} is a folder", do=f"give the files in it: espdeploy parse {name.rstrip('/')}/*")
    if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
        raise InputFileError(f"{name} is no file", do="give what a tool wrote: a file, or - for standard input")
    return mode


@contextmanager
def _kept(source: IO[bytes]) -> Iterator[Path]:
    with tempfile.NamedTemporaryFile(prefix="espdeploy-parse-") as copy:
        shutil.copyfileobj(source, copy, 1 << 20)
        copy.flush()
        yield Path(copy.name)


def _checked(name: str, path: Path) -> Opened:
    with path.open("rb") as raw:
        head = raw.read(HEAD_CHARS)
    if not head:
        raise InputFileError(
            f"{name} is empty", why="nvprof and ncu write to standard error", do="record it with: TOOL … > FILE 2>&1"
        )
    for magic, what, do in _NOT_TEXT:
        if head.startswith(magic):
            raise InputFileError(f"{name} is {what}", do=do.format(name=name))
    if is_sqlite(head) and all(table in head for table in _NVPROF_TABLES):
        raise InputFileError(
            f"{name} is a recording of nvprof",
            do=f"nvprof --import-profile {name} --print-gpu-summary --csv --log-file FILE; espdeploy parse FILE",
        )
    return Opened(name=name, path=path, size=path.stat().st_size, head=head[:16])
