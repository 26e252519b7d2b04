"""``espdeploy report``: the records of a folder as one page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from espdeploy import __version__
from espdeploy.artifacts import check_replaceable, utc_now, write_atomic
from espdeploy.report.html import render
from espdeploy.store import read_folder


@dataclass(frozen=True, kw_only=True)
class WrittenReport:
    """The page, how many records it shows, and what it leaves out with the reasons."""

    path: Path
    records: int
    left_out: dict[str, str]


def write_report(folder: Path, output: Path | None) -> WrittenReport:
    """Draw every readable record of ``folder`` (or one record file) into ``output``.

    Raises:
        InputFileError: no record can be read there.
        UsageError, MissingCapability: the page cannot be written there.
    """
    stored = read_folder(folder)
    final = output or (folder if folder.is_dir() else folder.parent) / "report.html"
    check_replaceable(final)
    now = utc_now()
    page = render(stored.records, stored.left_out, generated=now, espdeploy_version=__version__)
    write_atomic(final, page.encode())
    left_out = {str(item.path): item.reason for item in stored.left_out}
    return WrittenReport(path=final, records=len(stored.records), left_out=left_out)
