"""The only place that starts processes: logged, timed, and ended as a whole group."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from espdeploy.errors import MissingCapability, ToolFailed

_log = logging.getLogger(__name__)
_TAIL_LINES = 3


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
) -> Completed:
    """Run ``argv`` without a shell and return its output.

    Raises:
        MissingCapability: the program is not on this machine, or may not be run.
        ToolFailed: it took longer than ``timeout_s``, or failed while ``check`` is set.
    """
    command = shlex.join(argv)
    _log.info("running %s", command)
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
            env=None if env is None else {**os.environ, **env},
        )
    except (FileNotFoundError, PermissionError) as error:
        raise MissingCapability(
            f"cannot start {argv[0]}: {error.strerror}", do=f"install {argv[0]}, or put it on PATH"
        ) from error
    try:
        stdout, stderr = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise ToolFailed(f"{command} did not end within {timeout_s:g} s") from error
    finally:
        _end_group(process)
    done = Completed(argv=tuple(argv), returncode=process.returncode, stdout=stdout, stderr=stderr)
    if check and done.returncode != 0:
        raise ToolFailed(f"{command} failed with exit code {done.returncode}", why=tail(done))
    return done


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


def _end_group(process: subprocess.Popen[str]) -> None:
    """End the process and every child it started; a process that has ended already is left alone."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
