"""One vocabulary for what profilers count: nvprof's names, definitions, units and ranges, whatever tool counted.

The table (:mod:`vocabulary`) maps each tool's names. Its source for ncu's is the comparison of metrics in the Nsight
Compute CLI guide (2020.3, 2022.3 and 2024.1 agree); where it is not followed, the entry says why. Definitions are those
of the metrics reference in nvprof's guide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from espdeploy.profilers.values import Kernel, Reading
from espdeploy.profilers.vocabulary import TABLE, Metric, Quotient, Source

TIME, CALLS = "time", "calls"
_ROUNDED_PCT = 100.5
_FEW = 3


@dataclass(frozen=True, kw_only=True)
class KernelValue:
    """What one kernel's launches have on average, at least and at most, in the unit of the metric."""

    kernel: str
    value: float
    calls: int
    min: float | None = None
    max: float | None = None


@dataclass(frozen=True, kw_only=True)
class StandardMetric:
    """One metric over the kernels that have it, those of most weight first.

    ``mean`` is weighted as ``weighted_by`` says: by each kernel's time, or by its calls where a time is unknown. It is
    None where no kernel has a value, and ``notes`` say why. ``left_out`` are kernels without the accesses counted.
    """

    name: str
    unit: str
    description: str
    mean: float | None
    weighted_by: str
    per_kernel: tuple[KernelValue, ...]
    tools: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def document(self) -> dict[str, object]:
        """As ``parse`` prints it: the unit stands in the keys (``_pct``, ``_gb_per_s``)."""
        suffix = {"%": "pct", "GB/s": "gb_per_s"}[self.unit]
        return {
            f"mean_{suffix}": self.mean,
            "weighted_by": self.weighted_by,
            "per_kernel": [
                {
                    "name": one.kernel,
                    "calls": one.calls,
                    f"mean_{suffix}": one.value,
                    f"min_{suffix}": one.min,
                    f"max_{suffix}": one.max,
                }
                for one in self.per_kernel
            ],
            "counters": list(self.tools),
            "left_out": len(self.left_out),
            "notes": list(self.notes),
        }


def standard(
    readings: Iterable[Reading], kernels: Iterable[Kernel] = (), counted_in: Iterable[Kernel] = ()
) -> dict[str, StandardMetric]:
    """The metrics of the vocabulary that readings hold, by name.

    Args:
        readings: of one tool, or of several files of one run joined on the kernel's name.
        kernels: their times, where known; a metric is weighted by time only if each of its kernels has one.
        counted_in: the kernels with the times of the run that counted, for metrics whose kernels lack others.
    """
    counted = _by_kernel(readings)
    times = _times(kernels), _times(counted_in)
    found = {metric.name: _standard(metric, counted, times) for metric in TABLE}
    return {name: one for name, one in found.items() if one is not None}


_Times = Mapping[str, float]


def _times(kernels: Iterable[Kernel]) -> _Times:
    return {kernel.name: kernel.total_ms for kernel in kernels if kernel.total_ms is not None}


@dataclass(kw_only=True)
class _Counted:
    calls: int
    mean: float
    by_time: float | None = None
    min: float | None = None
    max: float | None = None

    def times(self, scale: float) -> _Counted:
        """The counter itself in another unit: over launches by their times, where these are told."""
        least, most = (None if one is None else one * scale for one in (self.min, self.max))
        mean = self.mean if self.by_time is None else self.by_time
        return _Counted(calls=self.calls, mean=mean * scale, min=least, max=most)

    def join(self, other: Reading, mean: float) -> None:
        """Add what another file tells of more launches; how long these took beside the first ones is not known."""
        calls = max(other.calls, 1)
        self.mean += (mean - self.mean) * calls / (self.calls + calls)
        self.by_time = None
        self.calls += calls
        self.min = min((one for one in (self.min, other.min) if one is not None), default=None)
        self.max = max((one for one in (self.max, other.max) if one is not None), default=None)


_Counters = Mapping[tuple[str, str], _Counted]


def _by_kernel(readings: Iterable[Reading]) -> dict[str, dict[tuple[str, str], _Counted]]:
    """Counters of each kernel by name and unit; what stands in several files is joined by calls."""
    counted: dict[str, dict[tuple[str, str], _Counted]] = {}
    for reading in readings:
        if reading.mean is None or reading.metric not in COUNTERS:
            continue
        of = counted.setdefault(reading.kernel, {})
        held = of.get((reading.metric, reading.unit))
        if held is None:
            of[reading.metric, reading.unit] = _Counted(
                calls=max(reading.calls, 1),
                mean=reading.mean,
                by_time=reading.mean_by_time,
                min=reading.min,
                max=reading.max,
            )
        else:
            held.join(reading, reading.mean)
    return counted


def _standard(metric: Metric, counted: Mapping[str, _Counters], times: tuple[_Times, _Times]) -> StandardMetric | None:
    values, tools, absent, noted = [], dict[str, None](), [], []
    for kernel, counters in counted.items():
        told = _value(metric.sources, counters)
        if told is None:
            continue
        one, tool = told
        tools.setdefault(tool)
        if one.mean == 0 and metric.zero_means and not _accessed(metric, counters):
            absent.append(kernel)
            continue
        values.append(KernelValue(kernel=kernel, value=one.mean, calls=one.calls, min=one.min, max=one.max))
    if not values and not absent:
        return None
    if metric.zero_everywhere and not any(one.value for one in values):
        values, noted = [], [metric.zero_everywhere]
    weigh, weighted_by = _weights(values, times)
    values.sort(key=lambda one: -weigh(one))
    return StandardMetric(
        name=metric.name,
        unit=metric.unit,
        description=metric.description,
        mean=_mean(values, weigh),
        weighted_by=weighted_by,
        per_kernel=tuple(values),
        tools=tuple(tools),
        left_out=tuple(absent),
        notes=(*noted, *_notes(metric, values, absent, times)),
    )


def _value(sources: Sequence[Source | Quotient], counters: _Counters) -> tuple[_Counted, str] | None:
    """A kernel's value and the counter that told it: the first source that is there."""
    for source in sources:
        if isinstance(source, Source):
            one = _counter(source.metric, source.unit, counters)
            if one is not None:
                return one.times(source.scale), source.metric
            continue
        above = _counter(source.above, None, counters)
        below = [_counter(name, None, counters) for name in source.below]
        if above is None or any(one is None or one.mean <= 0 for one in below):
            continue
        value = above.mean * source.scale
        for power, one in zip(source.powers, below, strict=True):
            value /= one.mean**power if one is not None else 1.0
        return _Counted(calls=above.calls, mean=value), f"{source.above} / {' / '.join(source.below)}"
    return None


def _counter(name: str, unit: str | None, counters: _Counters) -> _Counted | None:
    if unit is not None:
        return counters.get((name, unit))
    return next((one for (metric, _), one in counters.items() if metric == name), None)


def _accessed(metric: Metric, counters: _Counters) -> bool:
    """Whether another counter tells that there were accesses, so that zero is a measured one."""
    return any(one.mean > 0 for (name, _), one in counters.items() if name in metric.proofs)


def _weights(values: Sequence[KernelValue], times: tuple[_Times, _Times]) -> tuple[Callable[[KernelValue], float], str]:
    for some in times:
        if values and not _without(values, some):
            return _by(some), TIME
    return (lambda one: float(one.calls)), CALLS


def _by(times: _Times) -> Callable[[KernelValue], float]:
    return lambda one: times[one.kernel]


def _without(values: Sequence[KernelValue], times: _Times) -> int:
    """How many kernels have no time."""
    return sum(1 for one in values if times.get(one.kernel, 0.0) <= 0)


def _mean(values: Sequence[KernelValue], weigh: Callable[[KernelValue], float]) -> float | None:
    total = sum(weigh(one) for one in values)
    return sum(one.value * weigh(one) for one in values) / total if total > 0 else None


def _notes(
    metric: Metric, values: Sequence[KernelValue], absent: Sequence[str], times: tuple[_Times, _Times]
) -> list[str]:
    notes = []
    if absent:
        of = len(values) + len(absent)
        notes.append(f"{len(absent)} of {of} kernels have {metric.zero_means} (0 %): they are left out of the mean")
    if metric.unit == "%" and (above := [one for one in values if one.value > _ROUNDED_PCT]):
        told = ", ".join(f"{one.value:.1f} %" for one in above[:_FEW])
        notes.append(f"{len(above)} kernels are above 100 % ({told}): counters of separate replays are set in relation")
    untimed = _without(values, times[0])
    if times[0] and untimed > 0:
        own = not _without(values, times[1])
        weight, where = ("times of the run that counted", " in the other file") if own else ("calls", "")
        notes.append(f"weighted by {weight}: {untimed} of {len(values)} kernels have no time{where}")
    return notes


def _names(sources: Iterable[Source | Quotient]) -> Iterable[str]:
    for source in sources:
        if isinstance(source, Source):
            yield source.metric
        else:
            yield from (source.above, *source.below)


#: all counters of all tools that a metric is told by, or that prove accesses
COUNTERS = frozenset(name for metric in TABLE for name in (*_names(metric.sources), *metric.proofs))
