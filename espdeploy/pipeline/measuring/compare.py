"""``espdeploy compare``: records of two folders, matched and set side by side, with limits on what may get worse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from espdeploy.bench.comparison import METRICS, Change, compare
from espdeploy.errors import InputFileError, UsageError, nearest
from espdeploy.records import Record
from espdeploy.store import read_folder

_Key = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One change of one measurement, and whether it breaks a limit."""

    subject: str
    change: Change
    limit_pct: float | None
    passed: bool

    def document(self) -> dict[str, object]:
        """As ``compare --json`` lists it."""
        return {
            "subject": self.subject,
            "metric": self.change.metric,
            "unit": self.change.unit,
            "base": self.change.base,
            "new": self.change.new,
            "change_pct": self.change.change_pct,
            "ci95_pct": self.change.ci95_pct,
            "significant": self.change.significant,
            "max_regression_pct": self.limit_pct,
            "passed": self.passed,
        }


@dataclass(frozen=True, kw_only=True)
class Compared:
    """All rows, and what could not be matched."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether no limit is broken."""
        return all(row.passed for row in self.rows)


def limits_from(items: Sequence[str]) -> dict[str, float]:
    """``["latency=5%"]`` as ``{"latency": 5.0}``.

    Raises:
        UsageError: not METRIC=PERCENT, or an unknown metric.
    """
    limits: dict[str, float] = {}
    for item in items:
        name, sign, text = item.partition("=")
        if name not in METRICS:
            raise UsageError(f'--max-regression "{item}": no such metric', why=nearest(name, METRICS))
        try:
            limits[name] = float(text.removesuffix("%"))
        except ValueError as error:
            raise UsageError(f'--max-regression "{item}" is not METRIC=PERCENT', do="for example latency=5%") from error
        if not sign or not limits[name] >= 0:
            raise UsageError(f'--max-regression "{item}" needs a percentage from 0 up', do="for example latency=5%")
    return limits


def compare_records(base: Path, new: Path, limits: Mapping[str, float]) -> Compared:
    """Match the records of both sides by what they measured, and compare each match.

    A limit is broken where the figure got worse by more than it allows and the change is not known to be noise.

    Raises:
        InputFileError: a side holds no record, or the sides have no measurement in common.
        UsageError: the same measurement was made by different protocols: such figures are never compared.
    """
    sides = [_by_subject(read_folder(path).records) for path in (base, new)]
    common = [key for key in sides[0] if key in sides[1]]
    if not common:
        raise InputFileError(
            f"{base} and {new} have no measurement in common",
            why=f"one holds {_listed(sides[0])}; the other {_listed(sides[1])}",
            do="compare records of the same model, input, precision, runtime and device",
        )
    for key in common:
        _check_protocols(" ".join(key), sides[0][key], sides[1][key])
    rows = [row for key in common for row in _rows(" ".join(key), sides[0][key], sides[1][key], limits)]
    alone = [" ".join(key) for key in (*sides[0], *sides[1]) if key not in common]
    return Compared(rows=tuple(rows), notes=tuple(f"only on one side: {subject}" for subject in alone))


def _by_subject(records: Sequence[Record]) -> dict[_Key, list[Record]]:
    groups: dict[_Key, list[Record]] = {}
    for record in records:
        groups.setdefault(_subject(record), []).append(record)
    return groups


def _subject(record: Record) -> _Key:
    """What was measured; the versions and the content may differ, for that is what one compares."""
    frequency = record.device.gpu_freq_mhz.set
    return (
        record.model.name,
        "x".join(str(extent) for extent in record.model.input_shape),
        record.engine.precision,
        record.engine.runtime,
        record.device.name,
        *([f"{frequency:g}MHz"] if frequency is not None else []),
        *([record.device.power_mode] if record.device.power_mode is not None else []),
        *(["simulated"] if record.device.simulated else []),
    )


def _check_protocols(subject: str, base: Sequence[Record], new: Sequence[Record]) -> None:
    ids = {record.protocol.id for record in (*base, *new)}
    if len(ids) > 1:
        raise UsageError(
            f"{subject} was measured by different protocols: {', '.join(sorted(ids))}",
            why="threads, batch, transfers, clock or warm-up rule differ, so their figures are never compared",
            do="measure one of them again, as the other was (see protocol in the records)",
        )


def _rows(subject: str, base: Sequence[Record], new: Sequence[Record], limits: Mapping[str, float]) -> list[Row]:
    rows = []
    for metric in METRICS.values():
        change = compare(metric, base, new)
        limit = limits.get(metric.name)
        if change.base is None and change.new is None and limit is None:
            continue
        rows.append(Row(subject=subject, change=change, limit_pct=limit, passed=_within(change, limit)))
    return rows


def _within(change: Change, limit_pct: float | None) -> bool:
    """A figure that is limited but not known on both sides does not pass: nobody measured it."""
    if limit_pct is None:
        return True
    if change.change_pct is None:
        return False
    return not (change.worse and abs(change.change_pct) > limit_pct and change.significant is not False)


def _listed(groups: Mapping[_Key, object]) -> str:
    return ", ".join(" ".join(key) for key in list(groups)[:3]) + (" …" if len(groups) > 3 else "")
