"""``espdeploy report``: the records and profiles of a folder as one page."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from espdeploy import __version__, store
from espdeploy.artifacts import check_replaceable, utc_now, write_atomic
from espdeploy.errors import InputFileError
from espdeploy.pipeline.measuring import frequencies
from espdeploy.records import Record
from espdeploy.report import profiles, sweeps
from espdeploy.report.html import render
from espdeploy.report.profiles import ProfileDocument


@dataclass(frozen=True, kw_only=True)
class WrittenReport:
    """The page, how many records and profiles it shows, and what it leaves out with the reasons."""

    path: Path
    records: int
    profiles: int
    left_out: dict[str, str]


def write_report(folder: Path, output: Path | None) -> WrittenReport:
    """Draw every readable record and profile of ``folder`` (or one record file) into ``output``.

    Raises:
        InputFileError: no record can be read there.
        UsageError, MissingCapability: the page cannot be written there.
    """
    stored = store.read_folder(folder)
    beside, without = _profiles(folder)
    final = output or (folder if folder.is_dir() else folder.parent) / "report.html"
    check_replaceable(final)
    left_out = (*stored.left_out, *without)
    page = render(
        with_sensitivity(stored.records),
        left_out,
        generated=utc_now(),
        espdeploy_version=__version__,
        profiles=beside,
    )
    write_atomic(final, page.encode())
    return WrittenReport(
        path=final,
        records=len(stored.records),
        profiles=len(beside),
        left_out={str(item.path): item.reason for item in left_out},
    )


def with_sensitivity(records: Sequence[Record]) -> list[Record]:
    """The records; those of several requests that differ in GPU frequency alone get what they say together."""
    found = list(records)
    for indices in sweeps.apart(records):
        shared = frequencies.over([records[index] for index in indices])
        for index in indices:
            found[index] = dataclasses.replace(records[index], frequency_sensitivity=shared)
    return found


def _profiles(folder: Path) -> tuple[list[ProfileDocument], list[store.LeftOut]]:
    read = store.read_profiles(folder, max_bytes=profiles.MAX_BYTES)
    found, left_out = [], list(read.left_out)
    for path, content in read.files:
        try:
            found.append(profiles.decode(content, file=path.name))
        except InputFileError as error:
            why = f"{error.what} ({error.why})" if error.why else error.what
            left_out.append(store.LeftOut(path=path, reason=why))
    return found, left_out
