"""What must be known before a log's figures are believed."""

from __future__ import annotations

from espdeploy.profilers.tegrastats.boards import GPU_RAILS, TOTAL_RAILS
from espdeploy.profilers.tegrastats.values import Log
from espdeploy.records import Finding

#: share of lines that equal the one before, from which on a log was not written once
_REPEATED_PCT = 10.0
_FEWEST_LINES = 20


def findings(log: Log) -> list[Finding]:
    """What is wrong with the log, or changes what its figures mean."""
    return [found for found in (_swapped(log), _negative(log), _restarted(log), _repeated(log)) if found is not None]


def notes(log: Log) -> list[str]:
    """What was left out or is not there, and why."""
    said = [f"{name} ({printed}) is left out: {_why_left_out(name)}" for name, printed in sorted(log.left_out.items())]
    if log.samples and not log.rails_mw:
        said.append("the log holds no power rails, so it tells no power")
    if log.samples and not log.gpu_util_pct.count:
        said.append("the log holds no GPU load: some releases print none, others only for root")
    if log.samples and not log.gpu_freq_mhz.count:
        said.append("the log holds no GPU clock: run tegrastats as root to have it")
    told = log.gpu_util_pct.count
    if 0 < told < log.samples:
        said.append(f"{told:,} of {log.samples:,} samples tell the GPU's load: its mean is of these")
    if log.rejoined:
        said.append(f"{log.rejoined} samples were put together from several lines each")
    if not log.samples:
        said.append("no line of the log is whole, so nothing was counted")
    return said


def _why_left_out(name: str) -> str:
    if name.upper() == "PMIC":
        return "its sensor prints a constant"
    return "its zone is powered off" if name != "NC" else "no rail is connected there"


def _swapped(log: Log) -> Finding | None:
    total, total_mw = _rail(log, TOTAL_RAILS)
    gpu, gpu_mw = _rail(log, GPU_RAILS)
    if total_mw is None or gpu_mw is None or gpu_mw <= total_mw:
        return None
    return Finding(
        code="rail_labels_swapped",
        severity="warning",
        text=f"{gpu} reads {gpu_mw:.0f} mW and {total}, which feeds it, {total_mw:.0f} mW: the labels of the rails are "
        "swapped on this carrier",
        do="take the rails' names from the carrier's maker; the figures belong to other rails than they are named for",
    )


def _negative(log: Log) -> Finding | None:
    negative = {name: rail.min for name, rail in log.rails_mw.items() if rail.min is not None and rail.min < 0}
    if not negative:
        return None
    told = ", ".join(f"{name} down to {least:.0f} mW" for name, least in negative.items())
    return Finding(
        code="negative_power",
        severity="info",
        text=f"{told}: the sensor's offset at low current; the values are used as they are",
        do="compare loaded with idle means, where the offset cancels",
    )


def _restarted(log: Log) -> Finding | None:
    if not log.restarts:
        return None
    return Finding(
        code="several_runs",
        severity="info",
        text=f"tegrastats was started {log.restarts + 1} times in this log; the figures are over all of it",
        do="split the log where the second number of a rail jumps onto the first, if the runs are to be told apart",
    )


def _repeated(log: Log) -> Finding | None:
    share_pct = 100 * log.repeated / max(log.samples, 1)
    if log.samples < _FEWEST_LINES or share_pct < _REPEATED_PCT:
        return None
    return Finding(
        code="repeated_lines",
        severity="warning",
        text=f"{log.repeated} lines ({share_pct:.0f} %) equal the line before: the log was written twice, or its "
        "sensors are slower than its lines",
        do="count its samples as fewer than they are; record with one tegrastats and a longer --interval",
    )


def _rail(log: Log, names: tuple[str, ...]) -> tuple[str, float | None]:
    """The first of the rails that the log has, and its mean."""
    return next(((name, log.rails_mw[name].mean) for name in names if name in log.rails_mw), ("", None))
