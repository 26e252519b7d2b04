"""What a whole log adds up to."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Tally:
    """Number, sum, least and greatest of a reading's values."""

    count: int = 0
    total: float = 0.0
    min: float | None = None
    max: float | None = None

    def add(self, value: float, times: int = 1) -> None:
        """Count a value that came so many times."""
        self.count += times
        self.total += value * times
        if self.min is None or value < self.min:
            self.min = value
        if self.max is None or value > self.max:
            self.max = value

    def merge(self, other: Tally) -> None:
        """Count the values of another tally too."""
        self.count += other.count
        self.total += other.total
        self.min = min((each for each in (self.min, other.min) if each is not None), default=None)
        self.max = max((each for each in (self.max, other.max) if each is not None), default=None)

    @property
    def mean(self) -> float | None:
        """None where there was no value."""
        return self.total / self.count if self.count else None


@dataclass
class Log:
    """Tallies over all samples of a log; readings that no line held have none.

    ``cpu_util_pct`` is over the samples' own means of the cores online. ``restarts`` counts how often the mean of the
    rails began anew, ``repeated`` the lines that equal the one before, ``rejoined`` the samples put together from
    several lines, ``skipped`` the lines that gave nothing. ``left_out`` are zones and rails that measure nothing, with
    what they print; ``words`` are the names in the lines. Memory is in MB of 10^6 bytes, times are the board's own.
    """

    samples: int = 0
    skipped: int = 0
    repeated: int = 0
    rejoined: int = 0
    restarts: int = 0
    gpu_util_pct: Tally = field(default_factory=Tally)
    gpu_freq_mhz: Tally = field(default_factory=Tally)
    emc_util_pct: Tally = field(default_factory=Tally)
    emc_freq_mhz: Tally = field(default_factory=Tally)
    cpu_util_pct: Tally = field(default_factory=Tally)
    cores_online: Tally = field(default_factory=Tally)
    cores_listed: int = 0
    ram_used_mb: Tally = field(default_factory=Tally)
    ram_total_mb: float | None = None
    swap_used_mb: Tally = field(default_factory=Tally)
    rails_mw: dict[str, Tally] = field(default_factory=dict)
    temps_c: dict[str, Tally] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    words: set[str] = field(default_factory=set)
    first_timestamp: str | None = None
    last_timestamp: str | None = None
