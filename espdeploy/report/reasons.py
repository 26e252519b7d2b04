"""Why a value is missing: what the record's notes say, else what is known of such values."""

from __future__ import annotations

from espdeploy.records import Record
from espdeploy.report.text import plural, shorten

_REASON_CHARS = 240


def noted(record: Record, words: tuple[str, ...], default: str) -> str:
    """The first note that holds one of ``words``, or ``default``."""
    for note in record.notes:
        if any(word in note.lower() for word in words):
            return shorten(note, _REASON_CHARS)
    return default


def power(record: Record) -> str:
    """Why there is no power."""
    return noted(record, ("power", "energy", "rapl", "watt"), "no power sensor could be read")


def gpu(record: Record) -> str:
    """Why there is no GPU figure."""
    absent = "the record names no GPU" if record.device.gpu is None else "no monitor that reads the GPU was available"
    return noted(record, ("gpu",), absent)


def gpu_times(record: Record) -> str:
    """Why there are no times from the GPU itself."""
    absent = "the record names no GPU" if record.device.gpu is None else "the runtime gives no times of the GPU"
    return noted(record, ("gpu_latency", "gpu time"), absent)


def throttled(record: Record) -> str:
    """Why nobody knows whether the device throttled."""
    return noted(record, ("throttl",), "throttling cannot be read here")


def percentile(record: Record, share_pct: int) -> str:
    """Why a percentile is not given."""
    if record.trials * (100 - share_pct) < 1000:
        return f"of {plural(record.trials, 'trial')} fewer than 10 lie beyond p{share_pct}"
    return f"the record holds no p{share_pct}"


def model(record: Record) -> str:
    """Why a network's size is unknown."""
    return noted(record, ("param", "macs", "operation"), "the engine carries no description of its network")


def utilization(record: Record) -> str:
    """Why there are no utilisation samples."""
    words = ("utili", "monitor", "sampl", "cpu_pct", "psutil")
    return noted(record, words, "no sample fell into the measured phase, or no monitor was available")
