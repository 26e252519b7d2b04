"""A log of tegrastats with the keys of ``espdeploy parse``."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import IO

from espdeploy.profilers.tegrastats.boards import device_hint
from espdeploy.profilers.tegrastats.findings import findings, notes
from espdeploy.profilers.tegrastats.log import read_log
from espdeploy.profilers.tegrastats.values import Log, Tally

KIND = "tegrastats"
#: how much of a file its kind is told by
HEAD_CHARS = 1 << 16
_LINE = re.compile(r"(?<![A-Za-z_])RAM \d+/\d+MB \(lfb |\b(?:GR3D2?|EMC)_FREQ (?:\d+%|@\[?\d)")


def recognise(head: str) -> str | None:
    """``log``, told by a file's first characters; None for anything else."""
    return "log" if _LINE.search(head) else None


def parse(stream: IO[str]) -> dict[str, object] | None:
    """What a log tells, with the keys of ``parse``; None where no line of it is the tool's.

    Rails are means of the instantaneous values; memory is in MB of 10^6 bytes (the tool prints MiB). Units: percent,
    MHz, MB, mW, °C. A reading that the log does not hold is None, and a rail or zone that it does not hold is absent.
    """
    head = stream.read(HEAD_CHARS)
    if recognise(head) is None:
        return None
    return of_log(read_log(_Rejoined(head, stream)))


def of_log(log: Log) -> dict[str, object]:
    """A log that was read."""
    return {
        "kind": KIND,
        "samples": log.samples,
        "skipped_lines": log.skipped,
        "device_hint": device_hint(log),
        "gpu": {"util_pct": _mean_max(log.gpu_util_pct), "freq_mhz": _mean_max(log.gpu_freq_mhz)},
        "cpu": {"util_pct": _mean(log.cpu_util_pct), "cores_online": _mean(log.cores_online)},
        "emc": {"util_pct": _mean_max(log.emc_util_pct), "freq_mhz": _mean_max(log.emc_freq_mhz)},
        "ram_mb": {
            "used_mean": log.ram_used_mb.mean,
            "used_max": log.ram_used_mb.max,
            "total": log.ram_total_mb,
        },
        "swap_mb": {"used_mean": log.swap_used_mb.mean, "used_max": log.swap_used_mb.max},
        "rails_mw": {name: _mean_max(rail) for name, rail in log.rails_mw.items()},
        "temps_c": {name: _mean_max(zone) for name, zone in log.temps_c.items()},
        "first_timestamp": log.first_timestamp,
        "last_timestamp": log.last_timestamp,
        "findings": [asdict(found) for found in findings(log)],
        "notes": notes(log),
    }


def _mean(tally: Tally) -> dict[str, float | None]:
    return {"mean": tally.mean}


def _mean_max(tally: Tally) -> dict[str, float | None]:
    return {"mean": tally.mean, "max": tally.max}


class _Rejoined:
    """A stream whose head was read already, whole again."""

    def __init__(self, head: str, rest: IO[str]) -> None:
        self._head = head
        self._rest = rest

    def read(self, size: int, /) -> str:
        head, self._head = self._head, ""
        return head or self._rest.read(size)
