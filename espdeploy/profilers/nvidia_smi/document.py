"""Rows of nvidia-smi with the keys of ``espdeploy parse``."""

from __future__ import annotations

import re
from typing import IO

from espdeploy.profilers.nvidia_smi.gpus import Gpus
from espdeploy.profilers.nvidia_smi.records import records
from espdeploy.readings.nvidia_smi import GpuRow, Header, guess_header, read_header, read_row, split_cells

KIND = "nvidia-smi"
#: how much of a file its kind is told by
HEAD_CHARS = 1 << 16
_HEAD_LINES = 50
_MOST_ERRORS = 20
#: what the tool says instead of a table: its words, a code of ours, and what mends it
_FAILURES = (
    ("NVIDIA-SMI has failed because", "no_driver", "load or reinstall NVIDIA's driver; after a kernel update, restart"),
    ("Failed to initialize NVML: Driver/library", "driver_mismatch", "restart: the driver was updated meanwhile"),
    ("Failed to initialize NVML", "no_nvml", "in a container: start it with --gpus all (or --runtime nvidia)"),
    ("No devices were found", "no_gpu", "sudo dmesg | grep NVRM says why the driver found none"),
    ("Unable to determine the device handle", "gpu_lost", "restart the machine; sudo dmesg | grep Xid says why"),
    ("is not a valid field to query", "unknown_field", "nvidia-smi --help-query-gpu lists the fields"),
)
_ROW = re.compile(r"(?:[^,\n]{1,80}, ){0,40}-?\d+(?:\.\d+)? (?:W|%|MiB|MHz)(?:,|\s*$)")


def recognise(head: str) -> str | None:
    """``table``, ``rows`` (a table without its header) or ``failure``, told by a file's first characters; else None."""
    lines = head.lstrip("\ufeff").splitlines()[:_HEAD_LINES]
    if any(_header_of(line) for line in lines):
        return "table"
    if any(_ROW.match(line) for line in lines):
        return "rows"
    return "failure" if any(_failure_in(line) for line in lines) else None


def parse(stream: IO[str]) -> dict[str, object] | None:
    """What a table tells, with the keys of ``parse``; None where it is none of the tool's.

    ``samples`` counts the rows that could be read, those of all GPUs. Units: W, percent, MHz. What was not asked of the
    tool, or what the GPU did not tell, is None.
    """
    head = stream.read(HEAD_CHARS)
    if recognise(head) is None:
        return None
    reader = _Reader()
    for record in records(head.lstrip("\ufeff"), stream):
        reader.take(record)
    return reader.document()


class _Reader:
    def __init__(self) -> None:
        self._gpus = Gpus()
        self._header: Header | None = None
        self._guessed = False
        self._skipped = 0
        self._errors: list[dict[str, str]] = []

    def take(self, record: str) -> None:
        """The next record: a header, also that of a second run, a row, or a message."""
        if not record.strip():
            return
        cells = split_cells(record) or []
        header = read_header(cells)
        if header is not None:
            self._header, self._guessed = header, False
            return
        row = self._row(cells)
        if row is not None:
            self._gpus.add(row)
        elif not self._failed(record):
            self._skipped += 1

    def document(self) -> dict[str, object]:
        """All that was read."""
        return {
            "kind": KIND,
            "samples": self._gpus.samples,
            "skipped_lines": self._skipped,
            "gpus": self._gpus.document(),
            "first_timestamp": self._gpus.first_timestamp,
            "last_timestamp": self._gpus.last_timestamp,
            "errors": self._errors,
            "notes": self._notes(),
        }

    def _row(self, cells: list[str]) -> GpuRow | None:
        if self._header is None:
            self._header = guess_header(cells)
            self._guessed = self._header is not None
        return read_row(cells, self._header) if self._header else None

    def _failed(self, record: str) -> bool:
        failure = _failure_in(record)
        if failure is not None and len(self._errors) < _MOST_ERRORS:
            self._errors.append({"code": failure[1], "text": record.strip()[:400], "do": failure[2]})
        return failure is not None

    def _notes(self) -> list[str]:
        said = []
        if self._guessed:
            said.append("the table has no header: power, load and memory are taken by their units, clocks cannot be")
        if self._gpus.repeated_times:
            said.append(
                f"{self._gpus.repeated_times} rows have the time of the row before, and nothing tells GPUs apart: "
                "the figures may be of several GPUs; add index to --query-gpu"
            )
        unknown = self._gpus.unknown()
        if unknown:
            said.append(f"no row tells {', '.join(unknown)}: not asked for, or not available on this GPU")
        return said


def _header_of(line: str) -> Header | None:
    cells = split_cells(line)
    return read_header(cells) if cells and len(cells) > 1 else None


def _failure_in(text: str) -> tuple[str, str, str] | None:
    return next((each for each in _FAILURES if each[0] in text), None)
