"""From raw times to a summary that claims no more than the number of trials can bear."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from espdeploy.errors import InternalError
from espdeploy.records import Distribution

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: fewest trials for a percentile: at least ten of them lie beyond it
PERCENTILE_MIN_TRIALS = {90: 100, 95: 200, 99: 1000}
#: fewest values for an interval of the mean
INTERVAL_MIN_VALUES = 5
RESAMPLES = 2000
_NUMBERS_AT_ONCE = 1 << 20
_INTERVAL_PCT = (2.5, 97.5)
_CORRELATION_Z = 1.96
_DRIFT_MIN_TRIALS = 15
#: turns a median absolute deviation into a standard deviation of normally distributed values
_MAD_TO_STD = 1.4826


def summarise(times_ms: Sequence[float], *, seed: int = 0) -> Distribution:
    """Mean, spread and percentiles of ``times_ms`` (in ms), and a 95 % interval of the mean.

    Percentiles are NumPy's (linear interpolation); one with fewer than ten trials beyond it is None. The
    standard deviation divides by n - 1 and is None for a single trial. The interval is :func:`mean_interval`.
    No value is left out, however far off.

    Raises:
        InternalError: there are no times, or one of them is not a finite number.
    """
    import numpy as np

    times = _checked(times_ms)
    percentiles = {
        percent: float(np.percentile(times, percent)) if times.size >= fewest else None
        for percent, fewest in PERCENTILE_MIN_TRIALS.items()
    }
    return Distribution(
        mean=_mean(times),
        std=_std(times),
        min=float(times.min()),
        p50=float(np.median(times)),
        p90=percentiles[90],
        p95=percentiles[95],
        p99=percentiles[99],
        max=float(times.max()),
        ci95=mean_interval(times_ms, seed=seed),
    )


def mean_interval(
    values: Sequence[float], *, seed: int = 0, block_length: int | None = None
) -> tuple[float, float] | None:
    """The 95 % interval of the mean by the percentile bootstrap: 2000 resamples, the same ones for a seed.

    Neighbouring times resemble each other where clocks, heat or other load come and go; single draws would
    then give an interval that is too narrow. So blocks of :func:`block_length_for` consecutive values are drawn
    (moving-block bootstrap, Künsch 1989) unless ``block_length`` says otherwise; 1 draws single values.

    None below 5 values: so few have at most 35 different resampled means, no base for a 2.5 % tail.

    Raises:
        InternalError: as :func:`summarise`.
    """
    import numpy as np

    checked = _checked(values)
    if checked.size < INTERVAL_MIN_VALUES:
        return None
    zero = float(checked.min())  # keeps equal values exact in the sums below
    length = block_length_for(values) if block_length is None else block_length
    means = _resampled_means(checked - zero, length=min(max(length, 1), checked.size), seed=seed)
    low, high = np.percentile(means, _INTERVAL_PCT)
    return zero + float(low), zero + float(high)


def block_length_for(values: Sequence[float]) -> int:
    """How many consecutive values to draw together: n^(1/3) where they are autocorrelated, else 1.

    Values count as autocorrelated when the correlation of neighbours leaves the band ±1.96/√n, which
    independent ones leave once in twenty times.
    """
    n = len(values)
    return math.ceil(n ** (1 / 3)) if abs(neighbour_correlation(values)) > _CORRELATION_Z / math.sqrt(n) else 1


def neighbour_correlation(values: Sequence[float]) -> float:
    """The autocorrelation at lag 1, -1..1; 0 for equal values and for fewer than 3."""
    import numpy as np

    checked = _checked(values)
    deviations = checked - _mean(checked)
    total = float(np.dot(deviations, deviations))
    if checked.size < 3 or total == 0:
        return 0.0
    return float(np.dot(deviations[1:], deviations[:-1])) / total


def variation_pct(values: Sequence[float]) -> float | None:
    """The coefficient of variation: standard deviation (n - 1) over mean, in percent; None below 2 values."""
    checked = _checked(values)
    mean, std = _mean(checked), _std(checked)
    return std / mean * 100 if std is not None and mean > 0 else None


def drift_pct(times_ms: Sequence[float]) -> float | None:
    """By how much the median of the last third exceeds that of the first, in percent; None below 15 trials."""
    import numpy as np

    times = _checked(times_ms)
    if times.size < _DRIFT_MIN_TRIALS:
        return None
    third = times.size // 3
    first = float(np.median(times[:third]))
    return (float(np.median(times[-third:])) / first - 1) * 100 if first > 0 else None


def outlier_limit_ms(times_ms: Sequence[float], *, deviations: float, least_pct: float) -> float:
    """The time above which a trial stands out: so many robust standard deviations over the median.

    The deviation is the median absolute one, scaled to a normal distribution's, which outliers do not move.
    The limit is at least ``least_pct`` over the median, so that a very quiet run has no outliers by rounding.
    """
    import numpy as np

    times = _checked(times_ms)
    middle = float(np.median(times))
    spread = float(np.median(np.abs(times - middle))) * _MAD_TO_STD
    return middle + max(deviations * spread, middle * least_pct / 100)


def _checked(values: Sequence[float]) -> Floats:
    import numpy as np

    checked = np.asarray(values, dtype=np.float64)
    if checked.ndim != 1 or checked.size == 0:
        raise InternalError("there are no times to summarise")
    if not np.isfinite(checked).all():
        raise InternalError(f"time {int(np.argmin(np.isfinite(checked)))} is not a finite number")
    return checked


def _mean(values: Floats) -> float:
    """The mean, never outside the values by rounding."""
    zero = float(values.min())
    return min(zero + float((values - zero).mean()), float(values.max()))


def _std(values: Floats) -> float | None:
    """The standard deviation (n - 1), exactly 0 for equal values; None for a single one."""
    import numpy as np

    return float(np.std(values - values.min(), ddof=1)) if values.size > 1 else None


def _resampled_means(values: Floats, *, length: int, seed: int) -> Floats:
    """The mean of each of 2000 resamples of n values, put together from blocks of ``length``.

    Works on sums of blocks and on a few resamples at a time, so memory stays near 16 MB for any n.
    """
    import numpy as np

    n = values.size
    blocks, rest = divmod(n, length)
    sums = _window_sums(values, length)
    rest_sums = _window_sums(values, rest) if rest else None
    generator = np.random.default_rng(seed)
    rows_at_once = max(1, _NUMBERS_AT_ONCE // blocks)
    means = np.empty(RESAMPLES)
    for first in range(0, RESAMPLES, rows_at_once):
        rows = min(rows_at_once, RESAMPLES - first)
        total = sums[generator.integers(0, sums.size, (rows, blocks), dtype=np.uint32)].sum(axis=1)
        if rest_sums is not None:  # the last block is cut so that a resample has exactly n values
            total += rest_sums[generator.integers(0, rest_sums.size, rows, dtype=np.uint32)]
        means[first : first + rows] = total / n
    return means


def _window_sums(values: Floats, length: int) -> Floats:
    """The sum of each run of ``length`` consecutive values."""
    import numpy as np

    if length == 1:
        return values
    sums: Floats = np.lib.stride_tricks.sliding_window_view(values, length).sum(axis=1)
    return sums
