"""A process that runs beside us, such as a board's telemetry tool: its lines as they come, and its end with ours."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from espdeploy.errors import MissingCapability

if TYPE_CHECKING:
    from typing_extensions import Self

_log = logging.getLogger(__name__)
_PIECE_BYTES = 1 << 16
_LONGEST_LINE_BYTES = 1 << 16
_TAIL_LINES = 10
_TAIL_CHARS = 400
#: how often a child that prints nothing is looked at
_LOOK_S = 0.25
_SOON_S = 0.01
_JOIN_WITHIN_S = 2.0
#: Runs before the program, in its place: it asks Linux to be killed when the thread that started it is gone
#: (PR_SET_PDEATHSIG), tells through a pipe if the program cannot be started, and becomes the program. A process of its
#: own, because between fork and exec of a process with threads no Python may run.
_LAUNCH = """
import ctypes, os, signal, sys
parent, pipe, program = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
os.set_inheritable(pipe, False)
try:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
except (OSError, AttributeError):
    pass
if os.getppid() == parent:
    try:
        os.execv(program, sys.argv[4:])
    except OSError as error:
        os.write(pipe, error.strerror.encode())
os._exit(127)
"""


class Child:
    """A running process. Its standard output and error arrive together, line by line, in a thread of their own.

    Whatever it prints, memory stays bounded: the last lines are kept, and a line is cut at 64 KiB. The process and all
    that it started end with :meth:`stop` or with this interpreter; on Linux the process itself ends even when this
    interpreter is killed.
    """

    def __init__(self, argv: Sequence[str], *, on_line: Callable[[str], None], env: Mapping[str, str] | None) -> None:
        self._argv = tuple(argv)
        self._on_line = on_line
        self._env = None if env is None else {**os.environ, **env}
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._owner = os.getpid()
        self._process: subprocess.Popen[bytes] | None = None
        self._started = threading.Event()
        self._stopping = threading.Event()
        self._ending = threading.Lock()
        self._failure: Exception | None = None
        self._cpu_ns = 0
        self._thread = threading.Thread(target=self._run, name=f"espdeploy-{Path(argv[0]).name}", daemon=True)

    @classmethod
    def start(
        cls, argv: Sequence[str], *, on_line: Callable[[str], None], env: Mapping[str, str] | None = None
    ) -> Self:
        """Start a program.

        Args:
            argv: the program and its arguments; no shell.
            on_line: called with each whole line, without its end, in the reading thread. What it raises ends the
                process and is kept in :attr:`failure`.
            env: variables added to this process's own.

        Raises:
            MissingCapability: there is no such program, or it cannot be started.
        """
        child = cls(argv, on_line=on_line, env=env)
        _log.info("starting %s", shlex.join(argv))
        child._thread.start()
        child._started.wait()
        if child._process is None:
            raise MissingCapability(
                f"cannot start {argv[0]}: {child._failure}", do=f"install {argv[0]}, or put it on PATH"
            ) from child._failure
        _LIVING.add(child)
        return child

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.returncode is None

    @property
    def returncode(self) -> int | None:
        """Its exit code, minus the signal's number where a signal ended it; None while it runs."""
        process = self._process
        if process is None or process.returncode is not None:
            return None if process is None else process.returncode
        try:  # left unreaped, so that its number cannot become another process's before its group was ended
            ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:  # reaped in this very moment by stop(), or the child of the process that forked us
            return process.returncode
        if ended is None:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

    @property
    def tail(self) -> tuple[str, ...]:
        """The last lines that it printed."""
        return tuple(self._tail)

    @property
    def failure(self) -> Exception | None:
        """What ``on_line`` raised."""
        return self._failure

    @property
    def cpu_ns(self) -> int:
        """Processor time that reading it took so far."""
        return self._cpu_ns

    def stop(self, *, timeout_s: float = 2.0) -> None:
        """End it and all that it started: asked first (SIGTERM), killed after ``timeout_s``. May be called again."""
        process = self._process
        if process is None or os.getpid() != self._owner:
            return
        with self._ending:
            if process.returncode is None:
                if self.alive:
                    self._signal(signal.SIGTERM)
                    self._wait(timeout_s)
                self._signal(signal.SIGKILL)  # the rest of its group too
                self._wait(_JOIN_WITHIN_S)
                self._stopping.set()
                with contextlib.suppress(subprocess.TimeoutExpired):  # it runs as another user, and stays
                    process.wait(0 if self.alive else _JOIN_WITHIN_S)
        if threading.current_thread() is not self._thread:
            self._thread.join(_JOIN_WITHIN_S)
        _LIVING.discard(self)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None  # noqa: S101 - asked for by the caller
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _wait(self, timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        while self.alive and time.monotonic() < deadline_s:
            time.sleep(_SOON_S)

    def _run(self) -> None:
        """The reading thread. It starts the process too: Linux ties the process's life to this thread's."""
        try:
            process = self._launched()
        except OSError as error:
            self._failure = OSError(error.strerror or str(error))
            self._started.set()
            return
        self._process = process
        self._started.set()
        assert process.stdout is not None  # noqa: S101 - asked for
        with process.stdout as pipe:
            try:
                for line in self._lines(pipe.fileno()):
                    self._on_line(line)
            except Exception as error:  # kept for the owner, who asks for it
                self._failure = error
                self.stop(timeout_s=0)
                return
            while self.alive and not self._stopping.wait(_LOOK_S):  # it closed its output and lives
                pass

    def _launched(self) -> subprocess.Popen[bytes]:
        """The process, once it is the program.

        Raises:
            OSError: there is no such program, or it cannot be started.
        """
        program = shutil.which(self._argv[0])
        if program is None:
            raise FileNotFoundError(2, "No such program")
        told, tells = os.pipe()
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid()), str(tells), program, *self._argv],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(tells,),
                env=self._env,
            )
        finally:
            os.close(tells)
        with open(told, "rb") as pipe:  # noqa: PTH123 - a descriptor; it ends when the program begins
            refusal = pipe.read().decode(errors="replace")
        if refusal:
            process.communicate()
            raise OSError(8, refusal)
        return process

    def _lines(self, descriptor: int) -> Iterator[str]:
        """Whole lines until the output ends, or the process has ended and all it wrote is read."""
        rest, too_long = b"", False
        before_ns = time.thread_time_ns()
        while not self._stopping.is_set():
            self._cpu_ns = time.thread_time_ns() - before_ns
            ended = not self.alive
            if not select.select([descriptor], [], [], 0 if ended else _LOOK_S)[0]:
                if ended:
                    break
                continue
            piece = os.read(descriptor, _PIECE_BYTES)
            if not piece:
                break
            *whole, rest = (rest + piece).split(b"\n")
            for raw in whole:
                if not too_long:
                    yield self._kept(raw)
                too_long = False
            if len(rest) > _LONGEST_LINE_BYTES:
                if not too_long:
                    yield self._kept(rest[:_LONGEST_LINE_BYTES])
                rest, too_long = b"", True
        if rest and not too_long:
            self._kept(rest)  # a line without its end is no whole one

    def _kept(self, raw: bytes) -> str:
        line = raw.decode(errors="replace").rstrip("\r")
        self._tail.append(line[:_TAIL_CHARS])
        return line


_LIVING: weakref.WeakSet[Child] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """No child outlives the interpreter."""
    for child in list(_LIVING):
        child.stop(timeout_s=1.0)
