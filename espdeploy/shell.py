"""Processes that run to their end: logged, timed, and ended as a whole group (those that run beside us: child.py)."""

from __future__ import annotations

import codecs
import contextlib
import ctypes
import io
import logging
import os
import selectors
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from espdeploy.errors import MissingCapability, ToolFailed

_log = logging.getLogger(__name__)
_TAIL_LINES = 3
_PIECE_BYTES = 1 << 16
#: how often a process that prints nothing is asked whether it still runs
_LOOK_S = 0.2


@dataclass(frozen=True, kw_only=True)
class Completed:
    """What a finished process left behind."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str


def run(
    argv: Sequence[str],
    *,
    timeout_s: float,
    check: bool = True,
    env: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] | None = None,
    on_error_line: Callable[[str], None] | None = None,
    stdin: IO[bytes] | None = None,
    heartbeat_s: float | None = None,
) -> Completed:
    """Run ``argv`` without a shell and return its output.

    Args:
        argv: the program and its arguments.
        timeout_s: after so many seconds the process and all it started are ended.
        check: whether an exit code other than 0 is an error.
        env: variables added to this process's own.
        on_line: called with each line of either stream as it appears, without its end, in this thread. An exception
            that it raises ends the process, and is the caller's.
        on_error_line: the same for standard error alone; ``on_line`` then has standard output alone.
        stdin: an open file that it reads; None: nothing.
        heartbeat_s: write an empty line to it so often while it runs, and nothing else: it can tell that we are there.

    Raises:
        MissingCapability: the program is not on this machine, or cannot be run here.
        ToolFailed: it took longer than ``timeout_s``, or failed while ``check`` is set.
    """
    command = shlex.join(argv)
    _log.info("running %s", command)
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE if heartbeat_s is not None else stdin or subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env=None if env is None else {**os.environ, **env},
        )
    except OSError as error:  # not there, no permission, built for another processor
        raise MissingCapability(
            f"cannot start {argv[0]}: {error.strerror}", do=f"install {argv[0]}, or put it on PATH"
        ) from error
    try:
        with _heartbeat(process, heartbeat_s):
            take = on_line or _nobody
            stdout, stderr = _communicate(process, timeout_s, take, on_error_line or take)
    except subprocess.TimeoutExpired as error:
        raise ToolFailed(f"{command} did not end within {timeout_s:g} s") from error
    finally:
        _end_group(process)
    done = Completed(argv=tuple(argv), returncode=process.returncode, stdout=stdout, stderr=stderr)
    if check and done.returncode != 0:
        raise ToolFailed(f"{command} failed with exit code {done.returncode}", why=tail(done))
    return done


@contextlib.contextmanager
def _heartbeat(process: subprocess.Popen[bytes], every_s: float | None) -> Iterator[None]:
    """Empty lines to the process's input while the block lasts, from a thread: a full pipe must not block us."""
    if every_s is None or process.stdin is None:
        yield
        return
    done = threading.Event()
    pipe = process.stdin

    def beat() -> None:
        with contextlib.suppress(OSError, ValueError):  # it ended, or the pipe was closed below
            while not done.wait(every_s):
                pipe.write(b"\n")
                pipe.flush()

    threading.Thread(target=beat, name="espdeploy-heartbeat", daemon=True).start()
    try:
        yield
    finally:
        done.set()
        with contextlib.suppress(OSError, ValueError):
            pipe.close()


def _communicate(
    process: subprocess.Popen[bytes],
    timeout_s: float,
    on_line: Callable[[str], None],
    on_error_line: Callable[[str], None],
) -> tuple[str, str]:
    """Read both streams to their ends, line by line; wait for the process."""
    deadline_s = time.monotonic() + timeout_s
    pipes = ((process.stdout, on_line), (process.stderr, on_error_line))
    streams = {pipe: _Stream(take) for pipe, take in pipes if pipe is not None}
    with selectors.DefaultSelector() as selector:
        for pipe in streams:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            ended = process.poll() is not None
            ready = selector.select(0 if ended else min(_LOOK_S, _left_s(process, deadline_s)))
            if ended and not ready:  # what it wrote has been read; a child that outlives it holds the pipe
                _kill_group(process)
                break
            for key, _ in ready:
                piece = os.read(key.fd, _PIECE_BYTES)
                streams[key.fileobj].take(piece)  # type: ignore[index]  # registered above: one of the pipes
                if not piece:
                    selector.unregister(key.fileobj)
    process.wait(_left_s(process, deadline_s))
    stdout, stderr = (stream.finish() for stream in streams.values())
    return stdout, stderr


def _left_s(process: subprocess.Popen[bytes], deadline_s: float) -> float:
    """Seconds until the deadline.

    Raises:
        subprocess.TimeoutExpired: none is left.
    """
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise subprocess.TimeoutExpired(process.args, 0)
    return left_s


def _nobody(line: str) -> None:
    """For callers that do not follow the output."""


class _Stream:
    """Bytes become text and lines; damaged bytes become replacement characters."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._decoder = io.IncrementalNewlineDecoder(decoder, translate=True)
        self._pieces: list[str] = []
        self._rest: list[str] = []  # of a line whose end has not come yet

    def take(self, piece: bytes) -> None:
        """The next bytes; none at the stream's end."""
        text = self._decoder.decode(piece, final=not piece)
        self._pieces.append(text)
        first, *more = text.split("\n")
        self._rest.append(first)
        for line in more:
            self._on_line("".join(self._rest))
            self._rest = [line]

    def finish(self) -> str:
        """Everything that came, the last line said even where no line end closed it."""
        if "".join(self._rest):
            self._on_line("".join(self._rest))
        self._rest = []
        return "".join(self._pieces)


@contextlib.contextmanager
def captured_output() -> Iterator[Callable[[], str]]:
    """Keep what libraries print inside the block, Python and C++ alike, off standard output and error.

    Yields a function that returns what was printed so far. Import the library before the block: one that sets up
    its log handlers inside would keep a stream that is gone afterwards.
    """
    with tempfile.TemporaryFile() as sink, contextlib.ExitStack() as stack:
        for name, descriptor in (("stdout", 1), ("stderr", 2)):
            _redirect(stack, name, descriptor, sink.fileno())

        def text() -> str:
            _flush()
            sink.seek(0)
            return sink.read().decode(errors="replace")

        yield text


def _redirect(stack: contextlib.ExitStack, name: str, descriptor: int, target: int) -> None:
    """Send a standard stream to ``target`` until ``stack`` ends: the descriptor and, where apart, the object."""
    _flush()
    saved = os.dup(descriptor)
    stack.callback(os.close, saved)
    stack.callback(os.dup2, saved, descriptor)
    stack.callback(_flush)  # callbacks run last first: what C++ still buffers must not reach the real stream
    os.dup2(target, descriptor)
    if not _writes_to(getattr(sys, name), descriptor):
        replacement = stack.enter_context(os.fdopen(os.dup(target), "w", errors="replace"))
        swap = contextlib.redirect_stdout if name == "stdout" else contextlib.redirect_stderr
        stack.enter_context(swap(replacement))


def _writes_to(stream: object, descriptor: int) -> bool:
    """Whether a Python stream ends in ``descriptor``; a notebook's or a test's does not."""
    fileno = getattr(stream, "fileno", None)
    try:
        return fileno is not None and fileno() == descriptor
    except (OSError, ValueError):
        return False


def _flush() -> None:
    """Empty Python's and C's output buffers."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            stream.flush()
    ctypes.CDLL(None).fflush(None)


def tail(done: Completed) -> str:
    """The last lines that the process printed, errors first."""
    text = done.stderr.strip() or done.stdout.strip()
    return " | ".join(text.splitlines()[-_TAIL_LINES:])


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End the process and every child it started; a process that has ended already is left alone."""
    if process.poll() is None:
        _kill_group(process)
        process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
