"""Ctrl-C, SIGTERM and a lost connection, as exceptions that unwind a session, and never into its putting back."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: a terminal that closes sends SIGHUP twice, an impatient user Ctrl-C: what comes this soon after says nothing new
_SAME_WISH_S = 1.0

_Handler = Callable[[int, FrameType | None], object] | int | None


class StopGate:
    """Handlers of the three signals while clocks are changed.

    Open, a signal does what the handler before did, or raises KeyboardInterrupt where that would have ended the process
    on the spot. Shut, it waits; it is sent again once the gate is away, unless an exception is on its way already.
    Signals that were ignored (nohup) stay so. Only the main thread gets signals: elsewhere nothing is installed, and
    the journal alone remains.
    """

    def __init__(self) -> None:
        self._before: dict[int, _Handler] = {}
        self._shut = False
        self._last_s = -_SAME_WISH_S
        self._waiting: int | None = None

    def install(self) -> None:
        """Take the signals over."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _NUMBERS:
            before = signal.getsignal(number)
            if before is not signal.SIG_IGN and before is not None:  # None: of a library in C, which knows better
                self._before[number] = before
                signal.signal(number, self)

    def shut(self) -> None:
        """From here on signals wait."""
        self._shut = True

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Signals wait while the block runs, as for a tool that would be left half done, and come when it has ended."""
        shut, self._shut = self._shut, True
        try:
            yield
        finally:
            self._shut = shut
        if self._waiting is not None and not shut:
            number, self._waiting = self._waiting, None
            self(number, None)

    def remove(self, *, unwinding: bool) -> None:
        """Give the signals back; one that waited is sent again, unless the stack unwinds for one already."""
        for number, before in self._before.items():
            if signal.getsignal(number) is self:
                signal.signal(number, before)
        self._before.clear()
        if self._waiting is not None and not unwinding:
            signal.raise_signal(self._waiting)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Of the interpreter alone."""
        now_s = time.monotonic()
        if self._shut or now_s - self._last_s < _SAME_WISH_S:
            self._waiting = number
            return
        self._last_s = now_s
        before = self._before.get(number)
        if callable(before):
            before(number, frame)
        else:
            raise KeyboardInterrupt(signal.Signals(number).name)
