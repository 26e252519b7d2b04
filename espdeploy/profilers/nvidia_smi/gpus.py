"""What the rows of each GPU add up to."""

from __future__ import annotations

from dataclasses import dataclass, field

from espdeploy.readings.nvidia_smi import GpuRow

#: a damaged file must not bring GPUs without end
_MOST_GPUS = 1024


@dataclass
class Tally:
    """Number, sum and greatest of some values."""

    count: int = 0
    total: float = 0.0
    max: float | None = None

    def add(self, value: float | None) -> None:
        """Count a value; None is not counted."""
        if value is not None:
            self.count += 1
            self.total += value
            self.max = value if self.max is None else max(self.max, value)

    @property
    def mean(self) -> float | None:
        """None where there was no value."""
        return self.total / self.count if self.count else None


@dataclass
class Gpu:
    """One GPU over all its rows; ``index`` is the number that tells it from the others."""

    name: str | None
    gpu: int | None
    index: int | None
    samples: int = 0
    power_w: Tally = field(default_factory=Tally)
    util_pct: Tally = field(default_factory=Tally)
    sm_clock_mhz: Tally = field(default_factory=Tally)
    memory_used_mb: Tally = field(default_factory=Tally)
    temp_c: Tally = field(default_factory=Tally)

    def add(self, row: GpuRow) -> None:
        """Count a row."""
        self.samples += 1
        self.power_w.add(row.power_w)
        self.util_pct.add(row.util_pct)
        self.sm_clock_mhz.add(row.sm_clock_mhz)
        self.memory_used_mb.add(row.memory_used_mb)
        self.temp_c.add(row.temp_c)


class Gpus:
    """The GPUs of a table, in the order in which they first appear."""

    def __init__(self) -> None:
        self.samples = 0
        self.first_timestamp: str | None = None
        self.last_timestamp: str | None = None
        self.repeated_times = 0
        self._found: dict[tuple[str, ...], Gpu] = {}

    def add(self, row: GpuRow) -> None:
        """Count a row at its GPU."""
        self.samples += 1
        if row.timestamp is not None:
            self.first_timestamp = self.first_timestamp or row.timestamp
            self.repeated_times += row.timestamp == self.last_timestamp and not row.identity
            self.last_timestamp = row.timestamp
        if row.identity not in self._found and len(self._found) < _MOST_GPUS:
            self._found[row.identity] = Gpu(name=row.name, gpu=row.gpu, index=row.index)
        if row.identity in self._found:
            self._found[row.identity].add(row)

    def unknown(self) -> list[str]:
        """What no row of any GPU tells."""
        gpus = self._found.values()
        told = {
            "power": [gpu.power_w.mean for gpu in gpus],
            "load": [gpu.util_pct.mean for gpu in gpus],
            "the SM clock": [gpu.sm_clock_mhz.mean for gpu in gpus],
        }
        return [name for name, means in told.items() if means and all(mean is None for mean in means)]

    def document(self) -> list[dict[str, object]]:
        """The entry of each GPU. Units: W, percent, MHz, MB of 10^6 bytes, °C."""
        indices = [gpu.index for gpu in self._found.values()]
        numbered = len(set(indices)) == len(indices)  # each process sees its own GPU as 0: then the other column tells
        return [
            {
                "index": gpu.index if numbered or gpu.gpu is None else gpu.gpu,
                "name": gpu.name,
                "samples": gpu.samples,
                "power_w": {"mean": gpu.power_w.mean, "max": gpu.power_w.max},
                "util_pct": {"mean": gpu.util_pct.mean},
                "sm_clock_mhz": {"mean": gpu.sm_clock_mhz.mean},
                "memory_used_mb": {"mean": gpu.memory_used_mb.mean, "max": gpu.memory_used_mb.max},
                "temp_c": {"mean": gpu.temp_c.mean, "max": gpu.temp_c.max},
            }
            for gpu in self._found.values()
        ]
