"""Records on disk: one JSON file per measurement, and a reader that says what it left out and why."""

from __future__ import annotations

import re
import secrets
import shlex
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import msgspec

from espdeploy.artifacts import atomic_path, write_atomic
from espdeploy.errors import InputFileError, InternalError, MissingCapability
from espdeploy.records import SCHEMA, Record

#: a record with 100,000 raw times takes about 6 MB; nothing that bench writes comes near this
MAX_RECORD_BYTES = 256 * 1_000_000
_UNSAFE = re.compile(r"[^A-Za-z0-9.]+")
_STARTED_CHARS, _MODEL_CHARS, _DEVICE_CHARS, _ID_CHARS = 20, 60, 40, 40
#: profiles stand beside records: their names end so, and they are none
PROFILE_SUFFIX = ".profile.json"
_HOW_TO_MAKE_SOME = "espdeploy bench --model espnet --results DIR writes one"


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A file of the results folder that was not read, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What a results folder holds: records from the oldest to the newest, and the files that were left out."""

    records: tuple[Record, ...]
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True, kw_only=True)
class SideFiles:
    """Other files of a results folder, with their content, and those that were left out."""

    files: tuple[tuple[Path, bytes], ...]
    left_out: tuple[LeftOut, ...]


class ResultsUnwritable(MissingCapability):
    """The results folder takes no record.

    ``records`` are those of the command, the last of which is not in it but in the file ``rescued``; None: nowhere.
    """

    records: tuple[Record, ...] = ()
    rescued: Path | None = None


@dataclass(frozen=True, kw_only=True)
class _Head:
    """The part of a record that every schema has."""

    schema: int


def encode(record: Record) -> bytes:
    """The record as indented JSON, which :func:`decode` reads back as an equal record.

    NaN and infinity become null where the record allows a value to be unknown. Text that is not valid
    Unicode (a file name in another encoding) is written with escapes.

    Raises:
        InternalError: a number that the record needs is NaN or infinite.
    """
    try:
        content = msgspec.json.encode(record)
    except UnicodeEncodeError:
        content = msgspec.json.encode(without_surrogates(msgspec.to_builtins(record)))
    try:
        msgspec.json.decode(content, type=Record)
    except msgspec.ValidationError as error:
        raise InternalError(
            f"the record of {record.model.name} cannot be stored: {error}",
            why="a number that every record needs is NaN or infinite",
            do="report this with the command that you ran",
        ) from error
    return msgspec.json.format(content, indent=2) + b"\n"


def decode(content: bytes) -> Record:
    """Read one record.

    Raises:
        InputFileError: the bytes are cut short, no record, or a record of a newer schema.
    """
    try:
        head = msgspec.json.decode(content, type=_Head)
        _check_schema(head.schema)
        return msgspec.json.decode(content, type=Record)
    except msgspec.ValidationError as error:
        raise InputFileError("not a record of espdeploy", why=str(error), do=_HOW_TO_MAKE_SOME) from error
    except msgspec.DecodeError as error:
        raise InputFileError(_why_undecodable(content, error), why=str(error), do=_HOW_TO_MAKE_SOME) from error
    except RecursionError as error:
        raise InputFileError("not a record of espdeploy", why="nested too deeply", do=_HOW_TO_MAKE_SOME) from error
    except UnicodeDecodeError as error:
        raise InputFileError("not JSON text", why=str(error), do=_HOW_TO_MAKE_SOME) from error


def append(record: Record, folder: Path) -> Path:
    """Store ``record`` in ``folder`` under a name of its own and return the file; nothing is ever overwritten.

    Raises:
        ResultsUnwritable: the folder cannot be made or written.
        InternalError: as :func:`encode`.
    """
    content = encode(record)
    final = _free_name(folder, _stem(record))
    try:
        write_atomic(final, content)
    except MissingCapability as error:
        raise _unwritable(folder, error.what) from error
    return final


def keep(record: Record, folder: Path) -> Path:
    """As :func:`append`, for a record that is nowhere else: where the folder takes it no more, a temporary one does.

    Raises:
        ResultsUnwritable: ``folder`` did not take it; says where it lies instead, or that it is lost.
        InternalError: as :func:`encode`.
    """
    try:
        return append(record, folder)
    except ResultsUnwritable as error:
        rescued = _rescued(record)
        if rescued is None:
            why, do = "and the folder for temporary files did not take it either", f"make room in {folder}, and repeat"
        else:
            why = f"it is kept in {rescued}"
            do = f"make room, then: {shlex.join(['mv', str(rescued), f'{folder}/'])}"
        lost = ResultsUnwritable(f"the record cannot be stored in {folder}", why=f"{error.why}; {why}", do=do)
        lost.records, lost.rescued = (record,), rescued
        raise lost from error


def _rescued(record: Record) -> Path | None:
    """The record in a fresh folder below the system's temporary one; None where that has no room either."""
    folder: Path | None = None
    try:
        folder = Path(tempfile.mkdtemp(prefix="espdeploy-rescued-"))
        return append(record, folder)
    except (OSError, MissingCapability):
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        return None


def replace(record: Record, path: Path) -> None:
    """Store ``record`` in the place of an earlier state of the same measurement, whole or not at all.

    Raises:
        MissingCapability: the file cannot be written; the earlier state stays.
        InternalError: the file holds another measurement, or as :func:`encode`.
    """
    if decode(_content(path)).id != record.id:
        raise InternalError(f"{path} holds another measurement than {record.id}")
    write_atomic(path, encode(record))


def probe_writable(folder: Path) -> None:
    """Make ``folder`` and write a file into it, so that a long benchmark does not end in a full or locked one.

    Raises:
        ResultsUnwritable: the folder cannot be made or written.
    """
    probe = folder / f".probe-{secrets.token_hex(4)}"
    try:
        with atomic_path(probe) as temporary:
            temporary.write_bytes(b"espdeploy")
        probe.unlink()
    except (MissingCapability, OSError) as error:
        raise _unwritable(folder, str(error)) from error


def read_folder(folder: Path) -> Stored:
    """Every record of a results folder (its ``*.json`` files; not hidden ones, sub-folders, profiles), or of one file.

    Raises:
        InputFileError: the folder is missing or cannot be read, or holds no record at all.
    """
    records: list[tuple[Path, Record]] = []
    left_out: list[LeftOut] = []
    for path in _candidates(folder):
        try:
            record = decode(_content(path))
        except InputFileError as error:
            left_out.append(LeftOut(path=path, reason=f"{error.what} ({error.why})" if error.why else error.what))
            continue
        twin = next((other for other, seen in records if seen.id == record.id and seen == record), None)
        if twin is None:
            records.append((path, record))
        else:
            left_out.append(LeftOut(path=path, reason=f"the same measurement as {twin.name}"))
    if not records:
        raise _no_records(folder, left_out)
    ordered = sorted((record for _, record in records), key=lambda record: (record.started, record.id))
    return Stored(records=tuple(ordered), left_out=tuple(left_out))


def read_profiles(folder: Path, *, max_bytes: int) -> SideFiles:
    """The profiles of a results folder as bytes, by name; none where ``folder`` is a file."""
    files: list[tuple[Path, bytes]] = []
    left_out: list[LeftOut] = []
    for path in _named(folder, profiles=True) if folder.is_dir() else []:
        try:
            files.append((path, _content(path, max_bytes, "a profile")))
        except InputFileError as error:
            left_out.append(LeftOut(path=path, reason=error.what))
    return SideFiles(files=tuple(files), left_out=tuple(left_out))


def _check_schema(schema: int) -> None:
    if schema > SCHEMA:
        raise InputFileError(
            f"a record of schema {schema}",
            why=f"this espdeploy reads schemas up to {SCHEMA}",
            do="pip install --upgrade espdeploy",
        )
    if schema < 1:
        raise InputFileError("not a record of espdeploy", why=f"schema {schema} does not exist", do=_HOW_TO_MAKE_SOME)


def _why_undecodable(content: bytes, error: msgspec.DecodeError) -> str:
    if not content.strip():
        return "an empty file"
    return "cut short" if "truncated" in str(error) else "not JSON text"


def without_surrogates(value: object) -> object:
    """The same tree with every lone surrogate written as an escape, which UTF-8 can hold."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {without_surrogates(key): without_surrogates(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_surrogates(item) for item in value]
    return value


def _stem(record: Record) -> str:
    parts = (
        _compact_time(record.started),
        _safe(record.model.name, _MODEL_CHARS),
        _safe(record.device.name, _DEVICE_CHARS),
        _safe(record.id, _ID_CHARS),
    )
    return "_".join(parts)


def _safe(text: str, limit: int) -> str:
    """``text`` as part of a file name on any system: ASCII letters, digits, dots and dashes."""
    return _UNSAFE.sub("-", text).strip("-.")[:limit].rstrip("-.") or "unnamed"


def _compact_time(started: str) -> str:
    try:
        moment = datetime.fromisoformat(started.replace("Z", "+00:00"))
        aware = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
        return aware.astimezone(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    except (ValueError, OverflowError):
        return _safe(started, _STARTED_CHARS)


def _free_name(folder: Path, stem: str) -> Path:
    names = (folder / f"{stem}{suffix}.json" for suffix in _suffixes())
    try:
        return next(name for name in names if not name.exists())
    except OSError as error:
        raise _unwritable(folder, error.strerror or str(error)) from error


def _suffixes() -> Iterator[str]:
    yield ""
    while True:
        yield f"-{secrets.token_hex(3)}"


def _unwritable(folder: Path, why: str) -> ResultsUnwritable:
    return ResultsUnwritable(
        f"the results folder {folder} cannot be written",
        why=why,
        do="choose another folder with --results DIR, or make room and check its permissions",
    )


def _candidates(folder: Path) -> list[Path]:
    try:
        if not stat.S_ISDIR(folder.stat().st_mode):
            return [folder]
        return _named(folder, profiles=False)
    except OSError as error:
        raise InputFileError(
            f"cannot read {folder}: {error.strerror or error}",
            do=f"{_bench_into(folder)} makes the folder and a record in it",
        ) from error


def _named(folder: Path, *, profiles: bool) -> list[Path]:
    """The folder's JSON files, hidden ones aside: profiles, or all others."""
    found = [path for path in folder.iterdir() if path.suffix.lower() == ".json" and not path.name.startswith(".")]
    return sorted(path for path in found if path.name.lower().endswith(PROFILE_SUFFIX) == profiles)


def _content(path: Path, max_bytes: int = MAX_RECORD_BYTES, what: str = "a record") -> bytes:
    """The bytes of a plain file of bounded size; a pipe or device with a fitting name is never opened."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputFileError("not a plain file")
        if status.st_size > max_bytes:
            raise InputFileError(f"too large for {what}: {status.st_size:,} bytes")
        return path.read_bytes()
    except OSError as error:
        raise InputFileError(f"cannot be read: {error.strerror or error}") from error


def _no_records(folder: Path, left_out: list[LeftOut]) -> InputFileError:
    reasons = [f"{entry.path.name}: {entry.reason}" for entry in left_out[:2]]
    more = [f"and {len(left_out) - 2} more"] if len(left_out) > 2 else []
    return InputFileError(
        f"no record in {folder}",
        why="; ".join(reasons + more) or _holds_none(folder),
        do=_bench_into(folder if folder.is_dir() else Path("DIR")),
    )


def _holds_none(folder: Path) -> str:
    profiles = folder.is_dir() and _named(folder, profiles=True)
    return "it holds profiles, which stand beside records" if profiles else "it holds no .json file"


def _bench_into(folder: Path) -> str:
    return shlex.join(["espdeploy", "bench", "--model", "espnet", f"--results={folder}"])
