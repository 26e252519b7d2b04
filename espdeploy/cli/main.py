"""The command line's frame: which commands there are, and how every error ends.

Nothing heavy is imported here: each command imports what it needs when it runs.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from espdeploy import __version__
from espdeploy.cli import (
    bench,
    build,
    bundle,
    cache,
    calibrate,
    compare,
    convert,
    devices,
    doctor,
    evaluate,
    explain,
    export,
    leash,
    models,
    parse,
    predict,
    profile,
    quickstart,
    report,
    sensitivity,
    sweep,
    weights,
)
from espdeploy.cli.output import Output
from espdeploy.cli.remote import elsewhere, run_elsewhere
from espdeploy.errors import EspdeployError, InputFileError, InternalError, Interrupted, MissingCapability, UsageError

app = typer.Typer(
    name="espdeploy",
    help="Take a network to an edge device and measure it there, with figures that hold up.",
    epilog="Start with: espdeploy quickstart",
    no_args_is_help=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)

_COMMANDS = (
    ("Look", "models", models.models),
    ("Look", "devices", devices.devices),
    ("Make", "export", export.export),
    ("Make", "calibrate", calibrate.calibrate),
    ("Make", "convert", convert.convert),
    ("Make", "build", build.build),
    ("Make", "bundle", bundle.bundle),
    ("Measure", "bench", bench.bench),
    ("Measure", "eval", evaluate.evaluate),
    ("Measure", "predict", predict.predict),
    ("Measure", "sensitivity", sensitivity.sensitivity),
    ("Measure", "sweep", sweep.sweep),
    ("Measure", "profile", profile.profile),
    ("Measure", "run-bundle", bundle.run_bundle),
    ("Decide", "import", bundle.import_results),
    ("Decide", "parse", parse.parse),
    ("Decide", "explain", explain.explain),
    ("Decide", "report", report.report),
    ("Decide", "compare", compare.compare),
    ("Start here", "quickstart", quickstart.quickstart),
)


_NAME_CHARS = 80  # of a name too long for a file; the user knows it


def _interruptible(function: Callable[..., None]) -> Callable[..., None]:
    """Ctrl-C as our own error, before Typer ends the process with nothing said."""

    @functools.wraps(function)
    def command(*arguments: object, **options: object) -> None:
        try:
            function(*arguments, **options)
        except KeyboardInterrupt as error:
            raise _interrupted() from error

    return command


for _panel, _name, _function in _COMMANDS:
    app.command(_name, rich_help_panel=_panel)(_interruptible(_function))


def _group(
    name: str, purpose: str | None, commands: dict[str, Callable[..., None]], alone: Callable[..., None] | None = None
) -> typer.Typer:
    """Commands under one name, which alone shows their help, or does what ``alone`` does."""
    group = typer.Typer(name=name, help=purpose)

    def show_help(context: typer.Context) -> None:
        if context.invoked_subcommand is None:
            typer.echo(context.get_help())

    group.callback(invoke_without_command=True)(_interruptible(alone or show_help))
    for command, function in commands.items():
        group.command(command)(_interruptible(function))
    return group


_DOCTOR: dict[str, Callable[..., None]] = {"engine": doctor.engine}
app.add_typer(_group("doctor", doctor.doctor.__doc__, _DOCTOR, alone=doctor.doctor), rich_help_panel="Look")
_WEIGHTS: dict[str, Callable[..., None]] = {"list": weights.list_weights, "fetch": weights.fetch_weights}
app.add_typer(_group("weights", "Released weights: list them, fetch one.", _WEIGHTS), rich_help_panel="Look")
_CACHE: dict[str, Callable[..., None]] = {"list": cache.list_cache, "prune": cache.prune_cache}
app.add_typer(_group("cache", "What is kept here: list it, make room.", _CACHE), rich_help_panel="Make")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"espdeploy {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", callback=_print_version, is_eager=True)
    ] = False,
    _debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with an error (any position).")] = False,
    _host: Annotated[
        str | None,
        typer.Option("--host", metavar="USER@HOST", help="Run the command on that machine over SSH (any position)."),
    ] = None,
    _container: Annotated[
        str | None, typer.Option("--container", metavar="IMAGE", help="With --host: in this container there.")
    ] = None,
    _remote: Annotated[
        str | None,
        typer.Option("--remote-espdeploy", metavar="PATH", help="With --host: where espdeploy lies there."),
    ] = None,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; the codes are listed in the README."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [item for item in given if item != "--debug"]
    stop = _Stop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup and background jobs of scripts want it
            signal.signal(number, stop)
    if arguments is None and not debug and not sys.warnoptions:
        warnings.simplefilter("ignore")  # standard error is for our own messages, not for libraries' notes on theirs
    logging.getLogger("PIL").setLevel(logging.CRITICAL)  # it warns of files that our own error names
    _prepare_streams()
    try:
        _check_surroundings(given)
        leash.put_on()
        _put_clocks_back()
        where = elsewhere(given)
        if where is not None and where.whole:
            return run_elsewhere(where)
        rest = list(where.arguments) if where is not None else given
        code = app(args=rest, prog_name="espdeploy", standalone_mode=False, obj=where)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has gone; there is nobody to tell
        _give_up_stdout()
        return 0
    except BaseException as error:
        if isinstance(error, SystemExit) and not stop.asked:
            return _ended_by(error)
        if stop.asked and not isinstance(error, Interrupted):  # a library that was at work made another error of it
            error = _interrupted(error)
        return _fail(error, as_json="--json" in given, debug=debug)
    if stop.asked:  # what could be kept was, and was shown
        return Interrupted.exit_code
    return code if isinstance(code, int) else 0


def _ended_by(error: SystemExit) -> int:
    """Rich ends the process with 1, "the answer is no", where only the reader of our output has gone."""
    if not isinstance(error.__context__, BrokenPipeError):
        raise error
    _give_up_stdout()
    return 0


@dataclass
class _Stop:
    """What Ctrl-C, SIGTERM and a lost connection do: end as an interruption, and remember that one was asked for."""

    asked: bool = False

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        self.asked = True
        raise KeyboardInterrupt


def _put_clocks_back() -> None:
    """What an espdeploy that was killed left changed on this device is put back first, and said."""
    from espdeploy.pipeline.machine import journal_folder

    folder = journal_folder()
    if not folder.is_dir():
        return
    from espdeploy.devices.clocks import recover
    from espdeploy.pipeline.machine import system_root

    for line in recover(folder, root=system_root()):
        Output(as_json=True).note(line)  # standard output belongs to the command


def _prepare_streams() -> None:
    """Standard streams that a script has closed lead nowhere; else the next file opened would take their place.

    What their encoding lacks is written with escapes, as are names of files that are not valid text.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
        elif stream is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))


def _check_surroundings(given: Sequence[str]) -> None:
    """Refuse what would otherwise be read as something else: an empty argument, a folder that was removed."""
    empty = next((item for item in given if not item or (item.startswith("--") and item.endswith("="))), None)
    if empty is not None:
        raise UsageError(
            f"{empty[:-1]} is given an empty value" if empty else "an empty argument is given",
            why="an empty path or name would be taken for another; a shell variable may not be set",
            do="give the value, or leave the option away",
        )
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise UsageError("the current folder was removed", do="go to a folder that exists: cd ~") from error


def _interrupted(ended_as: BaseException | None = None) -> Interrupted:
    kept = "files that were complete before stay, and none is half-written"
    why = f"it ended as: {ended_as.what}" if isinstance(ended_as, EspdeployError) else kept
    return Interrupted("interrupted", why=why, do="run the same command again")


def _fail(error: BaseException, *, as_json: bool, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    known = _as_ours(error)
    try:
        Output(as_json=as_json).error(known)
        sys.stdout.flush()
    except OSError:  # it cannot be told there; the exit code tells it, and standard error if that is open
        _give_up_stdout()
        with contextlib.suppress(OSError):
            Output(as_json=False).error(known)
    return known.exit_code


def _give_up_stdout() -> None:
    """What standard output still holds cannot be written; Python would try, and complain, when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _as_ours(error: BaseException) -> EspdeployError:
    """Every failure as one of our errors, so that each has a text, a next step and an exit code."""
    if isinstance(error, EspdeployError):
        return error
    if isinstance(error, (KeyboardInterrupt, typer.Abort)):
        return _interrupted()
    # Typer brings its own copy of Click or uses the installed one, depending on its release: known by its method
    message = getattr(error, "format_message", None)
    if callable(message):
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "espdeploy"
        return UsageError(str(message()), do=f"{command} --help")
    return _of_the_system(error) or InternalError(
        f"{type(error).__name__}: {error}",
        why="a fault of espdeploy itself",
        do="run the same command with --debug and report what it prints",
    )


def _of_the_system(error: BaseException) -> EspdeployError | None:
    """What memory, disk and names of files set limits to; None for anything else."""
    if isinstance(error, MemoryError):
        return MissingCapability(
            "not enough memory", do="choose a smaller --size, --batch or --trials, or close programs"
        )
    if not isinstance(error, OSError):
        return None
    if error.errno in (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT):
        return MissingCapability(
            f"cannot write: {error.strerror}", do="make room there, or send the output and -o somewhere else"
        )
    if error.errno in (errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES, errno.EPERM):
        return InputFileError(f"cannot use {_shortened(error.filename)}: {error.strerror}", do="check the path")
    return None


def _shortened(name: object) -> str:
    text = str(name)
    return text if len(text) <= _NAME_CHARS else f"{text[:_NAME_CHARS]}…"
