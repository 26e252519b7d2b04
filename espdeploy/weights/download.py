"""Fetch a file whole, or go on where an attempt ended; it gets its name only once its SHA-256 is right."""

from __future__ import annotations

import re
import time
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from espdeploy import __version__, units
from espdeploy.artifacts import sha256_of
from espdeploy.errors import EspdeployError, InputFileError, MissingCapability
from espdeploy.protocols import Progress, no_progress
from espdeploy.weights import server
from espdeploy.weights.part import Part, open_part
from espdeploy.weights.remote import Fetched, Job, Limits, RemoteFile

_PIECE_BYTES = 1 << 16
_PARTIAL_CONTENT = 206
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_BYTES_PER_KB = 1000


def fetch(file: RemoteFile, folder: Path, *, progress: Progress = no_progress, limits: Limits | None = None) -> Fetched:
    """Bring ``file`` into ``folder``; nothing is asked of the network where it stands there already.

    Args:
        file: what to fetch.
        folder: made where it is missing. What came of a broken download stays there as ``.NAME.part``.
        progress: told the kilobytes.
        limits: None is the default ones.

    Raises:
        InputFileError: the address holds another file or none, leads to a page, or the file came cut short.
        MissingCapability: the server cannot be reached or stops sending, or the folder cannot be written.
    """
    job = Job(file=file, final=folder / file.name, limits=limits or Limits())
    if file.stands_at(job.final):
        return Fetched(path=job.final, cached=True, resumed_from_bytes=0, received_bytes=0)
    with open_part(job) as part:
        start_bytes = part.size_bytes if file.stands_at(part.path) else _transfer(job, part, progress)
        received_bytes = part.size_bytes - start_bytes
        _check(job, part, resumed=start_bytes > 0)
        part.finish(job.final)
    return Fetched(path=job.final, cached=False, resumed_from_bytes=start_bytes, received_bytes=received_bytes)


def _transfer(job: Job, part: Part, progress: Progress) -> int:
    """Fill the part file; the number of bytes that were there before and are used."""
    validator = part.validator(job.file.url)
    if validator is not None and part.size_bytes < job.file.size_bytes:
        try:
            return _request(job, part, progress, go_on=validator)
        except server.RangeRefused:
            pass  # the server's file is shorter than what is here: another one
    try:
        return _request(job, part, progress, go_on=None)
    except server.RangeRefused as error:  # no range was asked for: the server is at fault
        raise _another(job, "its server answers with a range that was not asked for") from error


def _request(job: Job, part: Part, progress: Progress, *, go_on: str | None) -> int:
    headers = {"User-Agent": f"espdeploy/{__version__}"}
    if go_on is not None:
        headers |= {"Range": f"bytes={part.size_bytes}-", "If-Range": go_on}
    deadline_s = time.monotonic() + job.limits.total_s
    with server.answer(job, headers) as response:
        start_bytes = _start(job, part, response)
        _copy(job, part, response, progress=progress, deadline_s=deadline_s)
    return start_bytes


def _start(job: Job, part: Part, response: HTTPResponse) -> int:
    """Where the answer begins: behind what is here (206), or at the front, which forgets what is here (200).

    Raises:
        RangeRefused: the answer is another range than was asked for.
        InputFileError: the server's file has another size than the released one.
    """
    if response.status == _PARTIAL_CONTENT:
        start, total = _range_of(response)
        _check_total(job, total)
        if start != part.size_bytes or not start:
            raise server.RangeRefused
        return start
    length = response.headers.get("Content-Length", "")
    _check_total(job, int(length) if length.isdecimal() else None)
    part.restart(job.file.url, _validator(response))
    return 0


def _range_of(response: HTTPResponse) -> tuple[int, int | None]:
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match is None:
        raise server.RangeRefused
    return int(match[1]), None if match[2] == "*" else int(match[2])


def _check_total(job: Job, total_bytes: int | None) -> None:
    if total_bytes is not None and total_bytes != job.file.size_bytes:
        raise _another(job, f"it has {total_bytes:,} bytes, the released file {job.file.size_bytes:,}")


def _validator(response: HTTPResponse) -> str | None:
    """What If-Range may carry: a strong entity tag, else a date; a weak tag promises nothing byte by byte."""
    tag = response.headers.get("ETag")
    if tag is None:
        return response.headers.get("Last-Modified")
    return None if tag.startswith("W/") else tag


def _copy(job: Job, part: Part, response: HTTPResponse, *, progress: Progress, deadline_s: float) -> None:
    """From the connection to the disk, up to the file's size."""
    size_bytes, at_front = job.file.size_bytes, part.size_bytes == 0
    text = f"fetching {job.file.name} (kB)"
    progress(part.size_bytes // _BYTES_PER_KB, size_bytes // _BYTES_PER_KB, text)
    while piece := _read(job, part, response):
        if at_front and server.is_page(piece):
            raise server.page_instead(job)
        at_front = False
        if part.size_bytes + len(piece) > size_bytes:
            part.discard()
            raise _another(job, f"it goes on after {size_bytes:,} bytes, where the released file ends")
        part.append(piece)
        progress(part.size_bytes // _BYTES_PER_KB, size_bytes // _BYTES_PER_KB, text)
        if time.monotonic() > deadline_s:
            raise _stopped(job, part, f"{job.limits.total_s:g} s have passed")
    if part.size_bytes < size_bytes:
        raise _cut_short(job, part)


def _read(job: Job, part: Part, response: HTTPResponse) -> bytes:
    """What has come, without waiting for a full piece: a server that drips is noticed at once."""
    try:
        return response.read1(_PIECE_BYTES)
    except TimeoutError as error:
        raise _stopped(job, part, f"nothing has come for {job.limits.silence_s:g} s") from error
    except (OSError, HTTPException, ValueError) as error:  # http.client raises ValueError at a damaged chunk length
        raise _cut_short(job, part) from error


def _check(job: Job, part: Part, *, resumed: bool) -> None:
    sha256 = sha256_of(part.path)
    if sha256 == job.file.sha256:
        return
    part.discard()
    if resumed:
        raise InputFileError(
            f"{job.file.name} did not come whole: its two parts give SHA-256 {sha256}, not {job.file.sha256}",
            why="the file at its address changed between two attempts; both parts were removed",
            do="run the same command again: it starts from the beginning",
        )
    raise _another(job, f"its SHA-256 is {sha256}, the released file's {job.file.sha256}")


def _another(job: Job, why: str) -> InputFileError:
    return InputFileError(
        f"{job.file.url} is not the released {job.file.name}, and was not kept",
        why=why,
        do=f"find the file with SHA-256 {job.file.sha256} elsewhere, and save it as {job.final}",
    )


def _cut_short(job: Job, part: Part) -> InputFileError:
    return InputFileError(
        f"{job.file.name} came cut short: {_progress_mb(job, part)}",
        why="the connection ended before the file did",
        do=_again(job, part),
    )


def _stopped(job: Job, part: Part, why: str) -> EspdeployError:
    return MissingCapability(
        f"{job.file.name} did not come in time: {_progress_mb(job, part)}", why=why, do=_again(job, part)
    )


def _progress_mb(job: Job, part: Part) -> str:
    here, whole = units.mb_from_bytes(part.size_bytes), units.mb_from_bytes(job.file.size_bytes)
    return f"{here:.2f} of {whole:.2f} MB"


def _again(job: Job, part: Part) -> str:
    goes_on = part.validator(job.file.url) is not None
    return f"run the same command again: it {'goes on from there' if goes_on else 'starts from the beginning'}"
