"""``--host``: files that exist here travel, the command runs there, its records come back whole and checked."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from espdeploy import store
from espdeploy.devices.ssh import Remote
from espdeploy.errors import EspdeployError, InputFileError, Interrupted, MissingCapability, ToolFailed
from espdeploy.pipeline.engine_files.passport import passport_path
from espdeploy.pipeline.remote.there import There
from espdeploy.protocols import Progress
from espdeploy.shell import Completed, tail

#: the other side takes so long a silence for a lost connection, and hears from us several times in it
_SILENCE_S, _HEARTBEAT_S = 15.0, 3.0
_ENV = {"ESPDEPLOY_LEASH_S": f"{_SILENCE_S:g}", "NO_COLOR": "1"}
_DAY_S = 86_400.0
#: how long the other side may take to put its clocks back after it noticed that we are gone, in s
_END_S = 30
_ENDED = ".ended"
_SIGNALLED, _SIGKILL = 128, 9
#: options whose values are no files, even where a file of that name lies here, or files that are made there
_NO_FILES = (
    "--device", "--runtime", "--precision", "--size", "--batch", "--set", "--freq", "--power-mode", "--power-source",
    "--only", "--shapes", "--method", "--results", "--output", "-o", "--trt-cache",
)  # fmt: skip
_SUM = re.compile(r"\\?([0-9a-f]{64})[ *]+(\S.*)")


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Where the other side's output goes as it comes."""

    output: Callable[[str], None]
    messages: Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Ran:
    """A command that ended there, and the records that came back."""

    returncode: int
    stdout: str
    records: tuple[Path, ...] = ()


def run_there(remote: Remote, there: There, arguments: Sequence[str], *, lines: Lines, progress: Progress) -> Ran:
    """Run a command on the other side as it was given here.

    Every argument that names a file here is sent there first (an engine with its passport); folders, and names that
    exist only there, stay as they are. ``--results`` is where records come back to.

    Raises:
        MissingCapability: the connection failed or broke.
        ToolFailed, InputFileError: a file or a record did not arrive whole.
    """
    measures = arguments[:1] == ["bench"] and "--dry-run" not in arguments
    here = Path(_value(arguments, "--results") or "results")
    if measures:
        store.probe_writable(here)
    sent, folders = _sent(remote, arguments, progress)
    if not measures:
        done = _start(remote, there.argv(sent, env=_ENV, folders=folders), lines)
        return Ran(returncode=done.returncode, stdout=done.stdout)
    folder = remote.make_folder()
    argv = there.argv(_with_results(sent, folder), env=_ENV, folders=[*folders, folder])
    try:
        done = _start(remote, argv, lines, ended=f"{folder}/{_ENDED}")
        records = _fetched(remote, folder, here)
    except (MissingCapability, ToolFailed, KeyboardInterrupt) as error:
        raise _cut_off(error, _saved(remote, there, folder, here)) from error
    except OSError:  # whoever read our output has gone: the record is kept all the same
        _saved(remote, there, folder, here)
        raise
    if done.returncode == 0 and not records:
        raise ToolFailed(f"{remote.host} measured, and its record is not there", do="run the same command again")
    remote.remove(folder)
    return Ran(returncode=done.returncode, stdout=done.stdout, records=records)


def _start(remote: Remote, argv: Sequence[str], lines: Lines, *, ended: str | None = None) -> Completed:
    """Run it there to its end, which the file ``ended`` shows even when nobody is connected any more.

    Raises:
        ToolFailed: it was killed there.
    """
    mark = f" : > {shlex.quote(ended)};" if ended else ""
    done = remote.script(
        f"{shlex.join(argv)}; code=$?;{mark} exit $code",
        timeout_s=_DAY_S,
        heartbeat_s=_HEARTBEAT_S,
        on_line=lines.output,
        on_error_line=lines.messages,
    )
    if done.returncode > _SIGNALLED and done.returncode != Interrupted.exit_code:
        number = done.returncode - _SIGNALLED
        raise ToolFailed(
            f"espdeploy was killed on {remote.host} (signal {number})",
            why="the system ends programs so when memory runs out" if number == _SIGKILL else tail(done),
            do=f"ssh {shlex.quote(remote.host)} dmesg | tail shows why; a smaller --size or --batch takes less memory",
        )
    return done


def _saved(remote: Remote, there: There, folder: str, here: Path) -> str:
    """Bring home what was complete on the other side when the command was cut off, and say what became of it."""
    wait = f"n=0; while [ ! -e {shlex.quote(folder)}/{_ENDED} ] && [ $n -lt {_END_S} ]; do sleep 1; n=$((n+1)); done"
    try:
        remote.script(wait)  # it ends by itself when our end of its input is gone
        remote.run(there.argv(["--version"], env={}), timeout_s=_END_S)  # any command puts back what a killed one left
        records = _fetched(remote, folder, here)
        remote.remove(folder)
    except EspdeployError:
        return f"what was complete stays there, in {folder}"
    return f"what was complete is here: {', '.join(map(str, records))}" if records else "no record was complete"


def _cut_off(error: BaseException, kept: str) -> EspdeployError:
    """What ended the command on this side, with what became of its records."""
    if isinstance(error, EspdeployError):
        return type(error)(error.what, why=f"{error.why}; {kept}" if error.why else kept, do=error.do)
    return Interrupted("interrupted", why=kept, do="run the same command again")


def _sent(remote: Remote, arguments: Sequence[str], progress: Progress) -> tuple[list[str], list[str]]:
    """The arguments as they are there, and the folders there that files were put in."""
    found, folders = [], []
    for position, argument in enumerate(arguments):
        option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
        before, path = arguments[position - 1] if position else "", Path(value)
        if (option or before) in _NO_FILES or not position or not value or not path.is_file():
            found.append(argument)
            continue
        progress(0, None, f"sending {path.name} to {remote.host}")
        placed = remote.put(path)
        if passport_path(path).is_file():
            _put_beside(remote, passport_path(path), placed)
        folders.append(placed.rpartition("/")[0])
        found.append(f"{option}{equals}{placed}")
    return found, folders


def _put_beside(remote: Remote, path: Path, placed: str) -> None:
    """An engine's passport lies beside it, also there."""
    there = remote.put(path)
    target = shlex.quote(f"{placed.rpartition('/')[0]}/{path.name}")
    done = remote.script(f"cp -- {shlex.quote(there)} {target}")
    if done.returncode != 0:
        raise ToolFailed(f"{path.name} could not be put beside its engine on {remote.host}", why=tail(done))


def _with_results(arguments: Sequence[str], folder: str) -> list[str]:
    """The arguments with the results going to ``folder``."""
    kept, skip = [], False
    for argument in arguments:
        if skip or argument.startswith("--results="):
            skip = False
            continue
        if argument == "--results":
            skip = True
            continue
        kept.append(argument)
    return [*kept, "--results", folder]


def _value(arguments: Sequence[str], option: str) -> str | None:
    for position, argument in enumerate(arguments):
        if argument.startswith(f"{option}="):
            return argument.partition("=")[2]
        if argument == option and position + 1 < len(arguments):
            return arguments[position + 1]
    return None


def _fetched(remote: Remote, folder: str, here: Path) -> tuple[Path, ...]:
    """Every record of the folder there, its SHA-256 compared and its content read before it is stored here.

    Raises:
        ToolFailed: one did not arrive whole.
        InputFileError: one is no record.
    """
    listed = remote.script(f'cd {shlex.quote(folder)} && for f in *.json; do [ -f "$f" ] && sha256sum -- "$f"; done')
    stored = []
    for match in filter(None, map(_SUM.fullmatch, listed.stdout.splitlines())):
        done = remote.script(f"cat -- {shlex.quote(folder)}/{shlex.quote(match[2])}", timeout_s=600)
        content = done.stdout.encode()
        if hashlib.sha256(content).hexdigest() != match[1]:
            raise ToolFailed(
                f"{match[2]} did not arrive whole from {remote.host}", why=tail(done), do="run the same command again"
            )
        try:
            record = store.decode(content)
        except InputFileError as error:
            raise InputFileError(f"{match[2]} from {remote.host} is no record", why=error.what, do=error.do) from error
        stored.append(store.append(record, here))
    return tuple(stored)
