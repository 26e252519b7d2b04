"""``--host``: the command that was given, on another machine."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from espdeploy.cli import progress
from espdeploy.cli.output import Output
from espdeploy.errors import UsageError
from espdeploy.protocols import Progress

if TYPE_CHECKING:
    from espdeploy.pipeline.sweeping.run import Runner

#: options that are meant for this side; their values never travel
_OWN = ("--host", "--container", "--remote-espdeploy")
#: commands that are about files of this machine alone
_LOCAL = ("report", "compare", "import", "parse", "explain", "quickstart", "models", "weights")
#: options of bench that are export's, where a network is given by name
_EXPORTED = ("--model", "--weights", "--set", "--size", "--batch")


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """Where a command is to run, and the command without the options that say so."""

    host: str
    container: str | None
    program: str
    arguments: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether the whole command goes there: help is told here, and of a sweep only the cells are measured there."""
        return self.arguments[:1] != ("sweep",) and not {"-h", "--help"} & set(self.arguments)


def elsewhere(given: Sequence[str]) -> Elsewhere | None:
    """Where the command is to run; None: here.

    Raises:
        UsageError: ``--container`` without a host, an option without its value, a command that is about files here.
    """
    values, rest = _split(given)
    if "--host" not in values:
        other = next((name for name in _OWN if name in values), None)
        if other is not None:
            raise UsageError(f"{other} needs the host that it is meant for", do="add --host USER@HOST")
        return None
    if rest[:1] and rest[0] in _LOCAL:
        raise UsageError(f"{rest[0]} reads files of this machine, so --host has no use", do="leave --host away")
    return Elsewhere(
        host=values["--host"],
        container=values.get("--container"),
        program=values.get("--remote-espdeploy", "espdeploy"),
        arguments=tuple(rest),
    )


def run_elsewhere(where: Elsewhere) -> int:
    """Run the command there; its exit code is ours.

    Raises:
        EspdeployError: the host, the connection or espdeploy there is not as needed, or a record did not arrive.
    """
    from espdeploy.devices.ssh import connected
    from espdeploy.pipeline.remote.run import Lines, run_there
    from espdeploy.pipeline.remote.there import There, check_there

    as_json = "--json" in where.arguments
    there = There(program=where.program, container=where.container)
    with progress.shown() as shown:
        shown(0, None, f"connecting to {where.host}")
        with connected(where.host) as remote:
            check_there(remote, there)
            arguments = _with_network(where.arguments, shown)
            lines = Lines(
                output=_nothing if as_json else lambda line: _write(sys.stdout, line),
                messages=lambda line: _tell(where.host, line),
            )
            ran = run_there(remote, there, arguments, lines=lines, progress=shown)
    output = Output(as_json=as_json)
    if as_json:
        sys.stdout.write(ran.stdout)
    for path in ran.files:
        output.note(f"{'record ' if where.arguments[0] == 'bench' else ''}here: {path}")
    return ran.returncode


@contextlib.contextmanager
def cells_elsewhere(where: Elsewhere, results: Path, shown: Progress) -> Iterator[Runner]:
    """What measures cells of a suite there, while the plan and the records stay here.

    Raises:
        EspdeployError: as :func:`run_elsewhere`.
    """
    from espdeploy.devices.ssh import connected
    from espdeploy.pipeline.remote.there import There, check_there
    from espdeploy.pipeline.sweeping.over_ssh import on_host

    there = There(program=where.program, container=where.container)
    shown(0, None, f"connecting to {where.host}")
    with connected(where.host) as remote:
        check_there(remote, there)
        yield on_host(remote, there, results, lambda line: _tell(where.host, line), shown)


def _write(stream: TextIO, line: str) -> None:
    stream.write(f"{line}\n")
    stream.flush()


def _tell(host: str, line: str) -> None:
    """A message from there; where it put a record is no news, for the record comes here."""
    if not line.startswith("record: "):
        _write(sys.stderr, f"{host}: {line}")


def _nothing(line: str) -> None:
    """For a document that is shown whole at the end."""


def _split(given: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Our own options with their values, and everything else in its order."""
    values: dict[str, str] = {}
    rest: list[str] = []
    waiting = None
    for item in given:
        name, equals, value = item.partition("=")
        if waiting is not None:
            values[waiting], waiting = item, None
        elif name in _OWN and equals:
            values[name] = value
        elif item in _OWN:
            waiting = item
        else:
            rest.append(item)
    if waiting is not None:
        raise UsageError(f"{waiting} needs a value", do=f"give {waiting} VALUE")
    return values, rest


def _with_network(arguments: Sequence[str], shown: Progress) -> list[str]:
    """A network by name is exported here, where PyTorch is: the board needs the graph alone."""
    from espdeploy import lazy
    from espdeploy.cli import options
    from espdeploy.pipeline.measuring.targets import TargetRequest, exported
    from espdeploy.recipes import device_profile
    from espdeploy.specs import ImageSize, ModelSpec

    if arguments[:1] != ("bench",) or not lazy.available("torch"):
        return list(arguments)
    taken, rest = _take(arguments, (*_EXPORTED, "--device"))
    name = taken.get("--model", [""])[-1]
    if not name or name.endswith(".onnx"):
        return list(arguments)
    sizes, batches, weights = taken.get("--size"), taken.get("--batch"), taken.get("--weights")
    device = taken.get("--device", ["cpu"])[-1]
    request = TargetRequest(
        profile=device_profile(device),
        model=ModelSpec(
            name=name,
            settings=options.settings_from(taken.get("--set")),
            weights=options.weights_from(Path(weights[-1]) if weights else None),
        ),
        size=ImageSize.parse(sizes[-1]) if sizes else None,
        batch=options.batch_from(batches[-1]) if batches else 1,
    )
    graph = exported(request, shown)
    return [rest[0], str(graph), *rest[1:], "--device", device]


def _take(arguments: Sequence[str], names: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """The values of some options, and everything else."""
    found: dict[str, list[str]] = {}
    rest: list[str] = []
    waiting = None
    for item in arguments:
        name, equals, value = item.partition("=")
        if waiting is not None:
            found.setdefault(waiting, []).append(item)
            waiting = None
        elif name in names and equals:
            found.setdefault(name, []).append(value)
        elif item in names:
            waiting = item
        else:
            rest.append(item)
    return found, rest
