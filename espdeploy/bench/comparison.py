"""Two measurements side by side: how large the difference is, and whether it stands out of the noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from espdeploy.bench import statistics
from espdeploy.errors import InternalError
from espdeploy.records import Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LATENCY_TRACE = "latency_ms"
#: fewest records on each side before the variation between runs is judged from them
MIN_RUNS = 3
_RESAMPLES = 2000
_NUMBERS_IN_ALL = 20_000_000
_INTERVAL_PCT = (2.5, 97.5)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One figure of a record: its unit, which way is better, and how it is read off.

    ``of_times`` says that it is the median of the raw times.
    """

    name: str
    unit: str
    lower_is_better: bool
    value: Callable[[Record], float | None]
    of_times: bool = False


#: what is compared, in the order in which it is shown
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            name="latency", unit="ms", lower_is_better=True, value=lambda record: record.latency_ms.p50, of_times=True
        ),
        Metric(
            name="gpu_latency",
            unit="ms",
            lower_is_better=True,
            value=lambda record: None if record.gpu_latency_ms is None else record.gpu_latency_ms.p50,
        ),
        Metric(name="latency_p95", unit="ms", lower_is_better=True, value=lambda record: record.latency_ms.p95),
        Metric(name="fps", unit="1/s", lower_is_better=False, value=lambda record: record.fps),
        Metric(
            name="power",
            unit="W",
            lower_is_better=True,
            value=lambda record: None if record.power is None else record.power.mean_w,
        ),
        Metric(
            name="energy",
            unit="J",
            lower_is_better=True,
            value=lambda record: None if record.power is None else record.power.energy_per_inference_j,
        ),
        Metric(
            name="memory",
            unit="MB",
            lower_is_better=True,
            value=lambda record: record.utilization.process_rss_mb,
        ),
        Metric(
            name="accuracy",
            unit="%",
            lower_is_better=False,
            value=lambda record: None if record.accuracy is None else record.accuracy.value,
        ),
        Metric(
            name="size",
            unit="MB",
            lower_is_better=True,
            value=lambda record: record.model.size_mb,
        ),
    )
}


@dataclass(frozen=True, kw_only=True)
class Change:
    """From ``base`` to ``new``. ``significant`` is None where nothing is known of the noise.

    ``change_pct`` is (new - base) / base; ``ci95_pct`` its 95 % interval.
    """

    metric: str
    unit: str
    base: float | None
    new: float | None
    change_pct: float | None
    ci95_pct: tuple[float, float] | None
    significant: bool | None
    worse: bool | None


def compare(metric: Metric, base: Sequence[Record], new: Sequence[Record], *, seed: int = 0) -> Change:
    """The change of one figure between two sets of records of the same measurement.

    The figure of a side is the median over its records. With three records or more on both sides the interval comes
    from resampling records, so that it holds the variation from run to run; else, for the latency, from resampling
    the raw times of the single runs (in blocks where neighbours resemble each other), which cannot know that variation.

    Raises:
        InternalError: a side has no records.
    """
    if not base or not new:
        raise InternalError("a comparison needs records on both sides")
    values = [_known(metric, side) for side in (base, new)]
    if not all(values):
        first, second = (_median(side) if side else None for side in values)
        return _change(metric, first, second, ci95_pct=None)
    ratios = _ratios(metric, base, new, values, seed=seed)
    return _change(metric, _median(values[0]), _median(values[1]), ci95_pct=_interval_pct(ratios))


def _known(metric: Metric, side: Sequence[Record]) -> list[float]:
    return [value for value in (metric.value(record) for record in side) if value is not None]


def _ratios(
    metric: Metric, base: Sequence[Record], new: Sequence[Record], values: Sequence[list[float]], *, seed: int
) -> Floats | None:
    """Resampled ratios new / base; None where there is nothing to resample."""
    import numpy as np

    random = np.random.default_rng(seed)
    if min(len(side) for side in values) >= MIN_RUNS:
        first, second = (_resampled_medians(np.asarray(side), 1, random) for side in values)
    elif metric.of_times:
        first, second = (_of_runs(side, random) for side in (base, new))
    else:
        return None
    count = min(first.size, second.size)
    return second[:count] / first[:count]


def _of_runs(side: Sequence[Record], random: np.random.Generator) -> Floats:
    """Resampled medians of the latency of one or two runs, averaged over the runs."""
    import numpy as np

    drawn = []
    for record in side:
        times = [value for value in record.traces[LATENCY_TRACE].values if value is not None]
        drawn.append(_resampled_medians(np.asarray(times), statistics.block_length_for(times), random))
    count = min(item.size for item in drawn)
    mean: Floats = np.mean([item[:count] for item in drawn], axis=0)
    return mean


def _resampled_medians(values: Floats, block_length: int, random: np.random.Generator) -> Floats:
    """Medians of moving-block bootstrap samples; fewer of them for very long series, to bound the work."""
    import numpy as np

    n = values.size
    length = min(block_length, n)
    resamples = max(200, min(_RESAMPLES, _NUMBERS_IN_ALL // n))
    blocks = -(-n // length)
    medians = np.empty(resamples)
    for index in range(resamples):
        starts = random.integers(0, n - length + 1, blocks)
        picked = (starts[:, None] + np.arange(length)).ravel()[:n]
        medians[index] = np.median(values[picked])
    return medians


def _interval_pct(ratios: Floats | None) -> tuple[float, float] | None:
    import numpy as np

    if ratios is None:
        return None
    low, high = (np.percentile(ratios, _INTERVAL_PCT) - 1) * 100
    return float(low), float(high)


def _median(values: Sequence[float]) -> float:
    from statistics import median

    return float(median(values))


def _change(metric: Metric, base: float | None, new: float | None, *, ci95_pct: tuple[float, float] | None) -> Change:
    change_pct = None if base is None or new is None or base == 0 else (new - base) / base * 100
    significant = None if ci95_pct is None else not ci95_pct[0] <= 0 <= ci95_pct[1]
    worse = None if change_pct is None else (change_pct > 0) == metric.lower_is_better and change_pct != 0
    return Change(
        metric=metric.name,
        unit=metric.unit,
        base=base,
        new=new,
        change_pct=change_pct,
        ci95_pct=ci95_pct,
        significant=significant,
        worse=worse,
    )
