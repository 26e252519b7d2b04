"""The command line's frame: which commands there are, and how every error ends.

Nothing heavy is imported here: each command imports what it needs when it runs.
"""

from __future__ import annotations

import functools
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Annotated

import typer

from espdeploy import __version__
from espdeploy.cli import (
    bench,
    build,
    devices,
    doctor,
    evaluate,
    export,
    models,
    predict,
    quickstart,
    report,
)
from espdeploy.cli.output import Output
from espdeploy.errors import EspdeployError, InternalError, Interrupted, MissingCapability, UsageError

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
    ("Look", "doctor", doctor.doctor),
    ("Make", "export", export.export),
    ("Make", "build", build.build),
    ("Measure", "bench", bench.bench),
    ("Measure", "eval", evaluate.evaluate),
    ("Measure", "predict", predict.predict),
    ("Decide", "report", report.report),
    ("Start here", "quickstart", quickstart.quickstart),
)


def _interruptible(function: Callable[..., None]) -> Callable[..., None]:
    """Ctrl-C as our own error, before Typer ends the process with nothing said."""

    @functools.wraps(function)
    def command(*arguments: object, **options: object) -> None:
        try:
            function(*arguments, **options)
        except KeyboardInterrupt as error:
            raise Interrupted("interrupted; nothing was stored", do="run the same command again") from error

    return command


for _panel, _name, _function in _COMMANDS:
    app.command(_name, rich_help_panel=_panel)(_interruptible(_function))


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
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; the codes are listed in the README."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [item for item in given if item != "--debug"]
    signal.signal(signal.SIGTERM, _end_as_interrupt)
    logging.getLogger("PIL").setLevel(logging.CRITICAL)  # it warns of files that our own error names
    try:
        code = app(args=given, prog_name="espdeploy", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has gone; there is nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except BaseException as error:
        if isinstance(error, SystemExit):
            raise
        return _fail(error, as_json="--json" in given, debug=debug)
    return code if isinstance(code, int) else 0


def _end_as_interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _fail(error: BaseException, *, as_json: bool, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    known = _as_ours(error)
    Output(as_json=as_json).error(known)
    return known.exit_code


def _as_ours(error: BaseException) -> EspdeployError:
    """Every failure as one of our errors, so that each has a text, a next step and an exit code."""
    if isinstance(error, EspdeployError):
        return error
    if isinstance(error, (KeyboardInterrupt, typer.Abort)):
        return Interrupted("interrupted", do="run the same command again")
    # Typer brings its own copy of Click or uses the installed one, depending on its release: known by its method
    message = getattr(error, "format_message", None)
    if callable(message):
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "espdeploy"
        return UsageError(str(message()), do=f"{command} --help")
    if isinstance(error, MemoryError):
        return MissingCapability("not enough memory", do="choose a smaller --size or --batch, or close programs")
    return InternalError(
        f"{type(error).__name__}: {error}",
        why="a fault of espdeploy itself",
        do="run the same command with --debug and report what it prints",
    )
