"""The only place that starts processes: logged, timed, and ended as a whole group."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
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
