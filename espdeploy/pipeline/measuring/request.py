"""What ``bench`` is asked for, and what it answers with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from espdeploy.errors import UsageError
from espdeploy.pipeline.measuring.targets import TargetRequest
from espdeploy.records import Record
from espdeploy.specs import BenchSpec
from espdeploy.units import MS_PER_S


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
    """The record and the file that holds it; ``stopped``: the user wants nothing more to be begun after it."""

    record: Record
    path: Path
    stopped: bool = False


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a dry run: what would be done, and the command where one would be started."""

    what: str
    command: str = ""


def check_possible_spec(spec: BenchSpec) -> None:
    """Refuse times and counts that are none, from the command line or from a suite.

    Raises:
        UsageError: not a number, below nothing, or no trial at all.
    """
    if spec.trials < 1:
        raise UsageError(f"{spec.trials} trials measure nothing", do="ask for one at least: --trials 200")
    for option, seconds in (
        ("--duration-s", spec.duration_min_s),
        ("--warmup-s", spec.warmup_min_s),
        ("--warmup-max-s", spec.warmup_max_s),
        ("--idle-s", spec.idle_s),
    ):
        if not math.isfinite(seconds) or seconds < 0:
            raise UsageError(f"{option} {seconds:g} is no time", do=f"give seconds, such as {option} 2")
    if not math.isfinite(spec.sample_period_s) or spec.sample_period_s <= 0:
        raise UsageError(
            f"--sample-ms {spec.sample_period_s * MS_PER_S:g} is no period", do="give milliseconds: --sample-ms 100"
        )
