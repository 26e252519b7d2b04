"""A command that was started over SSH ends when the other side is gone, and puts clocks back on its way out.

Without a terminal a lost connection sends no signal. So the side that started it writes to its input every few seconds;
when that ends or stays silent, it gets the signal that a lost connection should have sent.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading

#: how many seconds of silence mean that nobody is there any more
VARIABLE = "ESPDEPLOY_LEASH_S"


def put_on() -> None:
    """Watch the input, where the variable asks for it."""
    try:
        silence_s = float(os.environ.get(VARIABLE, "0"))
    except ValueError:
        return
    if silence_s > 0 and sys.stdin is not None:
        threading.Thread(
            target=_watch, args=(sys.stdin.fileno(), silence_s), name="espdeploy-leash", daemon=True
        ).start()


def _watch(descriptor: int, silence_s: float) -> None:
    with contextlib.suppress(OSError, ValueError):
        while select.select([descriptor], [], [], silence_s)[0] and os.read(descriptor, 4096):
            pass
    os.kill(os.getpid(), signal.SIGHUP)
