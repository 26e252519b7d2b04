"""Whatever happens in between, what was there is put back: by this process, or by the next espdeploy."""

from __future__ import annotations

import atexit
import logging
import os
from pathlib import Path

from espdeploy.devices.clocks import nvml
from espdeploy.devices.clocks.journal import Entry, Journal, is_alive, same_boot
from espdeploy.devices.clocks.locks import MachineLock, held_by_another, holder
from espdeploy.devices.clocks.restore import Outcome, put_back
from espdeploy.devices.clocks.signals import StopGate
from espdeploy.devices.clocks.values import ClocksBefore
from espdeploy.errors import EspdeployError, InputFileError, MissingCapability

_log = logging.getLogger(__name__)


class Keeper:
    """The lock, the journal and the putting back of one session.

    Args:
        journal: where is written down what was there.
        root: the machine's file system.
        device: a file or folder of the device that two espdeploys would contend for; None: the journal's lock alone.
        library: nvidia-ml-py or its stand-in.
    """

    def __init__(self, journal: Journal, *, root: Path, device: Path | None, library: nvml.Library) -> None:
        self._journal = journal
        self._root = root
        self._device = device
        self._library = library
        self._lock = MachineLock()
        self._before: ClocksBefore | None = None
        self._pid = os.getpid()
        self._began = False
        self._ended = False
        self.gate = StopGate()

    def begin(self) -> None:
        """Hold the machine's clocks; what a dead espdeploy left is put back first.

        Raises:
            MissingCapability: another espdeploy holds them, or the journal's folder cannot be written.
            MissingCapability, ToolFailed: what was left cannot be put back.
            InputFileError: the journal is damaged.
        """
        _take(self._lock, self._journal, self._device)
        entry = self._journal.read()
        if entry is not None:
            if _is_anothers(entry):  # on a file system without locks
                raise held_by_another(entry.owner.pid)
            outcome = _put_back_of(self._journal, entry, self._library)
            if outcome.failed:
                raise outcome.error()
        self._journal.sweep()
        atexit.register(self._at_exit)
        self._began = True

    def remember(self, before: ClocksBefore) -> None:
        """Have what is there on disk, so that it may be changed now.

        Raises:
            MissingCapability, InputFileError: it cannot be written; then nothing may be changed.
        """
        self._before = self._journal.remember(before)

    def end(self, unwinding: BaseException | None) -> None:
        """Put back what was changed, once; signals wait meanwhile.

        Args:
            unwinding: the error that ends the session, where one does.

        Raises:
            MissingCapability, ToolFailed: something could not be put back; the journal stays for the next command.
        """
        self.gate.shut()
        if self._ended or os.getpid() != self._pid:  # a forked child ends, and the clocks are its parent's
            return
        self._ended = True
        atexit.unregister(self._at_exit)
        try:
            self._put_back(unwinding)
        finally:
            self._lock.free()
            self.gate.remove(unwinding=unwinding is not None)

    def _put_back(self, unwinding: BaseException | None) -> None:
        before = self._before
        if before is None:  # nothing was changed; a signal may have come just after the journal was written
            entry = self._journal.read() if self._began else None
            if entry is None:
                return
            before = entry.before
        outcome = put_back(before, self._root, library=self._library)
        if not outcome.failed:
            self._journal.forget()
            return
        error = outcome.error()
        if unwinding is not None:  # which may be all that the user is told
            _log.error("%s\ndo: %s", error.what, error.do)
        raise error from unwinding

    def _at_exit(self) -> None:
        """For an exception that came between two instructions, where no block of the session could see it."""
        try:
            self.end(None)
        except EspdeployError as error:
            _log.error("%s\ndo: %s", error.what, error.do)  # nobody is left who would debug it


def put_back_left(folder: Path, *, root: Path, library: nvml.Library) -> list[str]:
    """What :func:`espdeploy.devices.clocks.recover` does where it finds a journal; says what was done, line by line."""
    journal = Journal(folder, root)
    lock = MachineLock()
    try:
        return _recovered(journal, lock, library)
    except InputFileError as error:
        return [f"NOT put back: {error.what}: {error.why}; {error.do}"]
    except (MissingCapability, OSError) as error:
        if holder(journal.lock_path, None) is not None:  # another user's, and at work
            return []
        return [f"NOT put back: {error}; sudo espdeploy doctor does"]
    finally:
        lock.free()


def _recovered(journal: Journal, lock: MachineLock, library: nvml.Library) -> list[str]:
    entry = journal.read()
    if entry is None or _is_anothers(entry):
        return []
    device = _device_of(entry, journal.root)
    taken = lock.take(journal.lock_path, device)
    entry = journal.read()  # another command may have put it back, and begun anew, until we held the lock
    if entry is None or _is_anothers(entry):
        return []
    if not taken:
        return [f"NOT put back yet: a child of process {holder(journal.lock_path, device)} holds the clocks' lock"]
    return _told(entry, _put_back_of(journal, entry, library))


def _is_anothers(entry: Entry) -> bool:
    """Whether the process that wrote it runs, and is not this one: then it is not for us to put back."""
    return is_alive(entry.owner) and entry.owner.pid != os.getpid()


def _device_of(entry: Entry, root: Path) -> Path | None:
    """The GPU's folder, where the journal names it."""
    limits = (root / path.lstrip("/") for path in entry.before.files if path.endswith("/max_freq"))
    return next((path.parent for path in limits), None)


def _take(lock: MachineLock, journal: Journal, device: Path | None) -> None:
    try:
        taken = lock.take(journal.lock_path, device)
    except OSError as error:
        raise MissingCapability(
            f"cannot write the clock journal's folder {journal.folder}: {error.strerror or error}",
            do="make room, or make the folder writable: no clock is changed without a journal",
        ) from error
    if not taken:
        raise held_by_another(holder(journal.lock_path, device))


def _put_back_of(journal: Journal, entry: Entry, library: nvml.Library) -> Outcome:
    """With the lock held: put back what a session left whose process has ended."""
    rebooted = not same_boot(entry.owner, journal.root)
    outcome = put_back(entry.before, journal.root, after_reboot=rebooted, library=library)
    if not outcome.failed:
        journal.forget()
    return outcome


def _told(entry: Entry, outcome: Outcome) -> list[str]:
    if not outcome.done and not outcome.failed:  # it had just been put back, or nothing had been changed yet
        return []
    whose = f"espdeploy (process {entry.owner.pid}, {entry.since}) ended without putting its clocks back"
    told = [f"{whose}; done now:", *outcome.done] if outcome.done else []
    if outcome.failed:
        error = outcome.error()
        told.append(f"NOT put back after {whose}: {error.what}; by hand: {error.do}")
    return told
