"""``--host``: files that exist here travel, the command runs there, what it makes comes back whole and checked."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from espdeploy.devices.ssh import Remote
from espdeploy.errors import EspdeployError, Interrupted, MissingCapability, ToolFailed
from espdeploy.pipeline.engine_files.passport import passport_path
from espdeploy.pipeline.remote.home import Home, bring_home, check_home, home_of, redirected, texts_here
from espdeploy.pipeline.remote.there import There
from espdeploy.protocols import Progress, no_progress
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


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Where the other side's output goes as it comes."""

    output: Callable[[str], None]
    messages: Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Ran:
    """A command that ended there, and the files that came back."""

    returncode: int
    stdout: str
    files: tuple[Path, ...] = ()


def run_there(remote: Remote, there: There, arguments: Sequence[str], *, lines: Lines, progress: Progress) -> Ran:
    """Run a command on the other side as it was given here.

    Every argument that names a file here is sent there first (an engine with its passport); folders, and names that
    exist only there, stay as they are. Records, and what ``-o`` names, come to where they were meant to be here, and
    what the other side tells of them names that place.

    Raises:
        UsageError: the output cannot be a file here.
        MissingCapability: the connection failed or broke, or there is no room here.
        ToolFailed, InputFileError: a file or a record did not arrive whole.
    """
    home = home_of(arguments)
    check_home(home)
    sent, folders = _sent(remote, arguments, progress)
    if not home.anything:
        plain = _start(remote, there.argv(sent, env=_ENV, folders=folders), lines)
        return Ran(returncode=plain.returncode, stdout=plain.stdout)
    folder = remote.make_folder()
    if home.output is not None:
        remote.script(f"mkdir -- {shlex.quote(folder)}/o")
    names = texts_here(home, folder)
    argv = there.argv(redirected(sent, home, folder), env=_ENV, folders=[*folders, folder])
    done: Completed | None = None
    try:
        done = _start(remote, argv, _renamed(lines, names), ended=f"{folder}/{_ENDED}")
        files = bring_home(remote, home, folder, progress)
    except (MissingCapability, ToolFailed, KeyboardInterrupt) as error:
        large = done is not None and home.output is not None  # nobody waits for it twice
        kept = _stays(remote, folder) if large else _saved(remote, there, folder, home)
        raise _cut_off(error, kept) from error
    except OSError:  # whoever read our output has gone: the record is kept all the same
        _saved(remote, there, folder, home)
        raise
    if done.returncode == 0 and not files:
        made = "measured, and its record" if home.records else "did it, and what it made"
        raise ToolFailed(f"{remote.host} {made} is not there", do="run the same command again")
    remote.remove(folder)
    return Ran(returncode=done.returncode, stdout=_here(done.stdout, names), files=files)


def _renamed(lines: Lines, names: dict[str, str]) -> Lines:
    """Lines that name what is made by its place here."""
    return Lines(
        output=lambda line: lines.output(_here(line, names)), messages=lambda line: lines.messages(_here(line, names))
    )


def _here(text: str, names: dict[str, str]) -> str:
    """A text of the other side with the places here, as they stand in lines and in JSON."""
    for there, here in names.items():
        text = text.replace(_in_json(there), _in_json(here)).replace(there, here)
    return text


def _in_json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


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


def _saved(remote: Remote, there: There, folder: str, home: Home) -> tuple[str, str]:
    """Bring home what was complete on the other side when the command was cut off; what became of it, and what to do
    where it could not be brought."""
    wait = f"n=0; while [ ! -e {shlex.quote(folder)}/{_ENDED} ] && [ $n -lt {_END_S} ]; do sleep 1; n=$((n+1)); done"
    try:
        remote.script(wait)  # it ends by itself when our end of its input is gone
        remote.run(there.argv(["--version"], env={}), timeout_s=_END_S)  # any command puts back what a killed one left
        files = bring_home(remote, home, folder, no_progress)
        remote.remove(folder)
    except EspdeployError:
        return _stays(remote, folder)
    if files:
        return f"what was complete is here: {', '.join(map(str, files))}", ""
    return f"no {'record' if home.records else 'file'} was complete", ""


def _stays(remote: Remote, folder: str) -> tuple[str, str]:
    """Where it lies on the other side, and what brings it here."""
    copy = shlex.join(["scp", "-r", f"{remote.host}:{folder}", "."])
    return f"what was complete stays on {remote.host}, in {folder}", f"when that is mended: {copy}"


def _cut_off(error: BaseException, kept: tuple[str, str]) -> EspdeployError:
    """What ended the command on this side, with what became of its files."""
    told, do = kept
    if isinstance(error, EspdeployError):
        return type(error)(error.what, why=f"{error.why}; {told}" if error.why else told, do=do or error.do)
    return Interrupted("interrupted", why=told, do=do or "run the same command again")


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
