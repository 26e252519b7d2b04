"""One measurement at a time on a machine: a second one waits, and says for whom."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from espdeploy.artifacts import utc_now
from espdeploy.devices.clocks.journal import machine_id
from espdeploy.pipeline.machine import journal_folder, system_root
from espdeploy.protocols import Progress
from espdeploy.records import Finding

_LOOK_S = 0.2
_COMMAND_CHARS, _NOTE_BYTES = 200, 4096


@contextlib.contextmanager
def alone(command: str | None, progress: Progress) -> Iterator[tuple[Finding, ...]]:
    """Nothing else of espdeploy is measured on this machine while the block lasts; one that is, is waited for.

    The lock lies in the machine's state folder, one for each machine that shares it. It belongs to the open file, so
    that the kernel frees it when its holder dies. Yields what every record has to say where no lock could be had.
    """
    path = journal_folder().parent / f"measuring-{_key(system_root())}.lock"
    with contextlib.ExitStack() as stack:
        doubts: tuple[Finding, ...] = ()
        try:
            descriptor = _opened(path)
            stack.callback(os.close, descriptor)
            _take(descriptor, progress)
            stack.callback(_free, descriptor)
            _sign(descriptor, command)
        except OSError as error:
            doubts = (_doubt(path, error),)
        yield doubts


def _key(root: Path) -> str:
    """What tells this machine, or its stand-in, from others with the same home folder."""
    return hashlib.sha256(f"{machine_id(root)} {root}".encode()).hexdigest()[:12]


def _opened(path: Path) -> int:
    """The lock's file; another user's can be locked too, if not signed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except PermissionError:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)


def _take(descriptor: int, progress: Progress) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(0, None, _told(descriptor))
            time.sleep(_LOOK_S)
        else:
            return


def _sign(descriptor: int, command: str | None) -> None:
    """Who holds it, for those that wait."""
    named = (command or "espdeploy")[:_COMMAND_CHARS]
    note = json.dumps({"pid": os.getpid(), "command": named, "since": utc_now()}).encode()
    with contextlib.suppress(OSError):  # a full disk, or another user's file: they wait all the same
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, note, 0)


def _free(descriptor: int) -> None:
    """Let go, also where a child that was forked has the file open still."""
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
    fcntl.flock(descriptor, fcntl.LOCK_UN)


def _told(descriptor: int) -> str:
    """In one line who is waited for; a comma would end the stage's name."""
    try:
        note: dict[str, Any] = json.loads(os.pread(descriptor, _NOTE_BYTES, 0))
        text = f"waiting for process {note['pid']} that measures here since {note['since']}: {note['command']}"
    except (OSError, ValueError, KeyError, TypeError):
        text = "waiting for another espdeploy that measures here"
    return text.replace(", ", ",")


def _doubt(path: Path, error: OSError) -> Finding:
    return Finding(
        code="not_alone",
        severity="warning",
        text="another espdeploy may have measured here at the same time: "
        f"no lock in {path.parent} ({error.strerror or error})",
        do="set ESPDEPLOY_STATE to a folder that can be written",
    )
