"""What ``bench`` is asked for, and what it answers with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from espdeploy.pipeline.measuring.targets import TargetRequest
from espdeploy.records import Record
from espdeploy.specs import BenchSpec


@dataclass(frozen=True, kw_only=True)
class BenchRequest:
    """What is to be measured, how, and the command line that asks for it.

    ``frequencies`` is the text of ``--freq`` (``624,824,all``); with ``freq_strict`` only exact steps count.
    """

    target: TargetRequest
    spec: BenchSpec
    frequencies: str | None = None
    freq_strict: bool = False
    power_mode: str | None = None
    power_source: str | None = None
    cross_check: bool = False
    data: Path | None = None
    labels: Path | None = None
    command: str | None = None
    cell: str | None = None  # of the suite that it belongs to


@dataclass(frozen=True, kw_only=True)
class Benched:
    """The record and the file that holds it."""

    record: Record
    path: Path


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a dry run: what would be done, and the command where one would be started."""

    what: str
    command: str = ""
