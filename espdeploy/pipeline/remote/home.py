"""What a command makes on the other side comes to the place that was named on this one: whole, or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from espdeploy import store, units
from espdeploy.artifacts import atomic_path, check_replaceable
from espdeploy.devices.ssh import Remote
from espdeploy.errors import InputFileError, MissingCapability, ToolFailed
from espdeploy.protocols import Progress
from espdeploy.shell import tail

_RESULTS, _OUTPUT = ("--results",), ("-o", "--output")
#: commands whose -o names a folder
_FOLDERS = ("profile", "predict")
_BYTES_PER_BLOCK = 1024
_SUM = re.compile(r"(\\?)([0-9a-f]{64})[ *]+(\S.*)", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r"}


@dataclass(frozen=True, kw_only=True)
class Home:
    """Where on this side a command's files belong; None: it makes none of that kind.

    ``output`` is what ``-o`` names, a folder where ``in_folder``; there it has the same name, below a folder of ours.
    """

    records: Path | None = None
    profiles: Path | None = None
    output: Path | None = None
    in_folder: bool = False

    @property
    def anything(self) -> bool:
        """Whether there is something to bring home."""
        return (self.records or self.profiles or self.output) is not None

    @property
    def name(self) -> str:
        """The output's name, on both sides."""
        return "" if self.output is None else self.output.name or self.output.resolve().name or "output"


def home_of(arguments: Sequence[str]) -> Home:
    """What a command line makes, and where it belongs; a dry run makes nothing."""
    command, rest = arguments[0] if arguments else "", arguments[1:]
    if "--dry-run" in rest:
        return Home()
    results, _ = _without(rest, _RESULTS)
    output, others = _without(rest, _OUTPUT)
    if command == "bench":
        return Home(records=Path(results or "results"))
    if command == "run-bundle":
        bundle = next((item for item in others if not item.startswith("-")), "bundle")
        return Home(output=Path(output or f"{Path(bundle).stem}.results.tar"))
    profiles = Path(results or "results") if command == "profile" else None
    output = output or ("profile" if command == "profile" else None)
    return Home(profiles=profiles, output=Path(output) if output else None, in_folder=command in _FOLDERS)


def check_home(home: Home) -> None:
    """Refuse places that nothing can be written to, before anything slow.

    Raises:
        UsageError: the output is a folder or a device.
        MissingCapability: a place cannot be made or written.
    """
    for results in filter(None, (home.records, home.profiles)):
        store.probe_writable(results)
    if home.output is not None:
        check_replaceable(home.output / "file" if home.in_folder else home.output)


def redirected(arguments: Sequence[str], home: Home, folder: str) -> list[str]:
    """The arguments with everything that is made going below ``folder`` there."""
    kept = list(arguments)
    if home.records is not None or home.profiles is not None:
        kept = [*_without(kept, _RESULTS)[1], "--results", folder]
    if home.output is not None:
        kept = [*_without(kept, _OUTPUT)[1], "-o", output_there(home, folder)]
    return kept


def output_there(home: Home, folder: str) -> str:
    """The output's path on the other side."""
    return f"{folder}/o/{home.name}"


def bring_home(remote: Remote, home: Home, folder: str, progress: Progress) -> tuple[Path, ...]:
    """Every file that the command made below ``folder`` there, its SHA-256 compared; returns the files here.

    Raises:
        ToolFailed: one did not arrive whole.
        InputFileError: one that should be a record is none.
        MissingCapability: the connection broke, or there is no room here.
    """
    found: list[Path] = []
    if home.records is not None:
        found += _records(remote, folder, home.records)
    if home.profiles is not None:
        sums = {name: sha for name, sha in _sums(remote, folder).items() if _is_profile(name)}
        found += _files(remote, folder, sums, {name: home.profiles / name for name in sums}, progress)
    if home.output is not None:
        below = f"{folder}/o"
        sums = _sums(remote, below)
        places = {name: _place(home, home.output, name) for name in sums}
        wanted = {name: place for name, place in places.items() if place is not None}
        found = [*_files(remote, below, sums, wanted, progress), *found]
    return tuple(found)


def texts_here(home: Home, folder: str) -> dict[str, str]:
    """The places of what is made there, and what they are called here, for what the other side tells."""
    found = {} if home.output is None else {output_there(home, folder): str(home.output)}
    return found if home.profiles is None else {**found, folder: str(home.profiles)}


def _is_profile(name: str) -> bool:
    return name.endswith(store.PROFILE_SUFFIX) and "/" not in name


def _place(home: Home, output: Path, name: str) -> Path | None:
    """Where a file that lies there under ``name`` belongs here; None for what is none of ours.

    Beside an output may lie what begins with its whole name, as an engine's passport does.
    """
    first, *rest = PurePosixPath(name).parts
    if ".." in rest:
        return None
    if home.in_folder:
        return output.joinpath(*rest) if first == home.name and rest else None
    if rest or not (first == home.name or first.startswith(f"{home.name}.")):
        return None
    return output.with_name(first)


def _files(
    remote: Remote, folder: str, sums: dict[str, str], places: dict[str, Path], progress: Progress
) -> list[Path]:
    """Fetch files; all of them stand under their names at the end, or none does."""
    if not places:
        return []
    _check_room(remote, folder, next(iter(places.values())))
    with contextlib.ExitStack() as stack:
        for name, place in places.items():
            progress(0, None, f"fetching {place.name} from {remote.host}")
            part = stack.enter_context(atomic_path(place))
            if remote.get(f"{folder}/{name}", part) != sums[name]:
                raise ToolFailed(f"{name} did not arrive whole from {remote.host}", do="run the same command again")
    return list(places.values())


def _check_room(remote: Remote, folder: str, place: Path) -> None:
    """Refuse before the transfer what has no room here."""
    told = remote.script(f"du -sk -- {shlex.quote(folder)}").stdout.split()
    needed = int(told[0]) * _BYTES_PER_BLOCK if told and told[0].isdecimal() else 0
    above = next(parent for parent in place.absolute().parents if parent.is_dir())
    free = shutil.disk_usage(above).free
    if needed > free:
        raise MissingCapability(
            f"no room for {place} here: it takes {units.mb_from_bytes(needed):.1f} MB, "
            f"and {above} has {units.mb_from_bytes(free):.1f} MB left"
        )


def _sums(remote: Remote, folder: str) -> dict[str, str]:
    """The plain files below a folder there, hidden ones aside, each with its SHA-256."""
    listing = f"cd {shlex.quote(folder)} 2>/dev/null && find . -type f ! -name '.*' -exec sha256sum -- {{}} +"
    done = remote.script(listing, timeout_s=600)
    return dict(_named(done.stdout))


def _named(listed: str) -> Iterator[tuple[str, str]]:
    for match in filter(None, map(_SUM.fullmatch, listed.split("\n"))):
        name = re.sub(r"\\(.)", lambda code: _ESCAPED.get(code[1], code[1]), match[3]) if match[1] else match[3]
        yield name.removeprefix("./"), match[2]


def _records(remote: Remote, folder: str, here: Path) -> Iterator[Path]:
    """Every record of the folder there, its content read before it is stored here."""
    for name, digest in _sums(remote, folder).items():
        if not name.endswith(".json") or "/" in name:
            continue
        done = remote.script(f"cat -- {shlex.quote(f'{folder}/{name}')}", timeout_s=600)
        content = done.stdout.encode()
        if hashlib.sha256(content).hexdigest() != digest:
            raise ToolFailed(
                f"{name} did not arrive whole from {remote.host}", why=tail(done), do="run the same command again"
            )
        try:
            record = store.decode(content)
        except InputFileError as error:
            raise InputFileError(f"{name} from {remote.host} is no record", why=error.what, do=error.do) from error
        yield store.append(record, here)


def _without(arguments: Sequence[str], names: Sequence[str]) -> tuple[str | None, list[str]]:
    """The value of an option, the last one given, and all other arguments."""
    value: str | None = None
    rest: list[str] = []
    waiting = False
    for item in arguments:
        name, equals, text = item.partition("=")
        short = next((name for name in names if not name.startswith("--") and item.startswith(name)), None)
        if waiting:
            value, waiting = item, False
        elif item in names:
            waiting = True
        elif name in names and equals and name.startswith("--"):
            value = text
        elif short is not None:
            value = item.removeprefix(short)
        else:
            rest.append(item)
    return value, rest
