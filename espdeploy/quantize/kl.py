"""How much information clipping at each bin of a histogram loses, as TensorRT's entropy calibration counts it.

Source: S. Migacz, "8-bit Inference with TensorRT", NVIDIA GTC 2017, the pages on entropy calibration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: levels of |x| that INT8 tells apart, and the fewest bins that are kept
LEVELS = 128


def divergences(counts: NDArray[np.floating]) -> NDArray[np.float64]:
    """Kullback-Leibler divergence for each number of bins kept, from :data:`LEVELS` to all of them.

    ``counts`` (n,) is a histogram of |x| over n >= :data:`LEVELS` bins, the last one not empty; the result is
    (n - LEVELS + 1,). For i bins kept, the reference P is the first i counts with all counts beyond them added to the
    last. The candidate Q shares the first i counts, without what lies beyond, among :data:`LEVELS` runs of bins as
    equal as whole bins allow, and spreads each run's sum evenly over those of its bins that hold anything. The
    divergence is infinite where P has something in a bin and Q has nothing.

    Every sum over bins is a difference of cumulative sums, since Q is the same in all bins of a run: the cost for each
    i is that of :data:`LEVELS` runs, whatever the number of bins.
    """
    kept = np.arange(LEVELS, counts.size + 1)
    # run j of i bins starts at the first whole bin from j * i / LEVELS on
    starts = (np.arange(LEVELS + 1)[:, None] * kept + LEVELS - 1) // LEVELS
    inside, filled, self_information = (_cumulative(each) for each in (counts, counts > 0, _x_log_x(counts)))
    sums = np.diff(inside[starts], axis=0)
    even = sums / np.maximum(np.diff(filled[starts], axis=0), 1)
    log_even = np.log(even, out=np.zeros_like(even), where=even > 0)
    kept_total = inside[kept]
    beyond = inside[-1] - kept_total
    last = counts[kept - 1]
    p_log_p = self_information[kept - 1] + _x_log_x(last + beyond)
    p_log_q = np.einsum("ji,ji->i", sums, log_even) + beyond * log_even[-1]
    share = np.log(kept_total / inside[-1], out=np.zeros_like(kept_total), where=kept_total > 0)
    result: NDArray[np.float64] = (p_log_p - p_log_q) / inside[-1] + share
    result[(last == 0) & (beyond > 0)] = np.inf
    return result


def _cumulative(values: NDArray[np.generic]) -> NDArray[np.float64]:
    """Sums of the first 0, 1, ... all values."""
    sums = np.zeros(values.size + 1)
    np.cumsum(values, out=sums[1:])
    return sums


def _x_log_x(values: NDArray[np.floating]) -> NDArray[np.float64]:
    logarithms = np.log(values, out=np.zeros(values.shape), where=values > 0)
    product: NDArray[np.float64] = values * logarithms
    return product
