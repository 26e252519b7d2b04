"""From what was seen of a tensor to ``amax``, the |x| that symmetric INT8 maps to 127; what is larger is clipped.

For a tensor that was never anything but 0 every algorithm gives 0.0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from espdeploy.errors import UsageError, nearest
from espdeploy.quantize import kl
from espdeploy.quantize.sketch import Sketch

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: where ``percentile`` clips, in percent of all values
PERCENTILE_PCT = 99.99
#: bins of the histogram that ``entropy`` looks at
_ENTROPY_BINS = 2048
#: the largest INT8 value
_LARGEST = 127
#: clipping values that ``mse`` looks at together, so that temporaries stay in a processor's cache
_TOGETHER = 256


def amax(sketch: Sketch, method: str) -> float:
    """``amax`` of a tensor by the algorithm of this name.

    Raises:
        UsageError: there is no such algorithm.
    """
    if method not in METHODS:
        raise UsageError(f"there is no calibration method {method}", do=nearest(method, METHODS))
    return METHODS[method](sketch)


def minmax(sketch: Sketch) -> float:
    """The greatest |x|: nothing is clipped."""
    return sketch.amax


def percentile(sketch: Sketch, pct: float = PERCENTILE_PCT) -> float:
    """The |x| that ``pct`` percent of all values, zeros among them, do not exceed; interpolated within its bin.

    Where that is 0, since there is hardly anything else, it is the greatest |x|: a range of 0 would clip all the rest.

    Raises:
        UsageError: ``pct`` is not above 0 and at most 100.
    """
    if not 0 < pct <= 100:
        raise UsageError(f"{pct:g} is no percentile", do="give one above 0 and up to 100, such as 99.99")
    rank = sketch.count * pct / 100 - sketch.zeros
    if rank <= 0:
        return sketch.amax
    counts = _without_zeros(sketch)
    filled = np.cumsum(counts)
    index = min(int(np.searchsorted(filled, rank)), sketch.used_bins - 1)
    within = (rank - (filled[index] - counts[index])) / counts[index]
    return min(float(index + within) * sketch.bin_width, sketch.amax)


def entropy(sketch: Sketch) -> float:
    """The clipping value that keeps most information: :mod:`espdeploy.quantize.kl` over 2048 bins from 0 to max |x|.

    The upper edge of the last bin kept; among equals the largest.

    What fell in the first bin is left out. It holds the zeros of ReLU and what PReLU shrinks to nearly 0, a quarter to
    two thirds of all values and no information about the range, and outweighs the loss at the clipped end. TensorRT
    discards that bin too, as full of noise (NVIDIA's calibration notes for MLPerf Inference v0.5). For ESPNet on
    CamVid with the inputs of convolutions in INT8, counting it costs 27 points of mIOU, leaving out only exact zeros
    just as much, and leaving out the bin 1.8.
    """
    if not sketch.amax:
        return 0.0
    counts = _rebinned(sketch, _ENTROPY_BINS)
    counts[0] = 0
    reversed_divergences = kl.divergences(counts)[::-1]
    kept = _ENTROPY_BINS - int(np.argmin(reversed_divergences))
    return sketch.amax * kept / _ENTROPY_BINS


def mse(sketch: Sketch) -> float:
    """The clipping value with the least expected squared error of quantization, to a bin of the sketch.

    Values count as spread evenly over their bin.
    """
    if not sketch.amax:
        return 0.0
    errors = squared_errors(sketch)
    return min((1 + int(np.argmin(errors))) * sketch.bin_width, sketch.amax)


def squared_errors(sketch: Sketch) -> NDArray[np.float64]:
    """Sum of the squared errors, in units of bin_width**2, for clipping at the upper edge of each used bin.

    With step s = amax / 127, x >= 0 becomes s times the number of thresholds t_k = (k - 1/2) s, k = 1..127, below it.
    Written out, the sum over all x of (x - q(x))**2 is

        sum of x**2  -  2 s * sum over k of E(t_k),    E(t) = sum over x > t of (x - t).

    E is the sum of the tail counts beyond t, so one cumulative sum gives it at every edge, and a parabola within a bin.
    """
    used = sketch.used_bins
    counts = _without_zeros(sketch)[:used].astype(np.float64)
    beyond = np.append(np.cumsum(counts[::-1])[::-1], 0.0)
    excess = np.append(np.cumsum((beyond[:-1] + beyond[1:])[::-1])[::-1] / 2, 0.0)
    edges = np.arange(used)
    squares = float(counts @ (edges * (edges + 1.0) + 1 / 3))
    step = np.arange(1, used + 1) / _LARGEST
    halves = np.arange(1, _LARGEST + 1) - 0.5
    gained = np.empty(used)
    for first in range(0, used, _TOGETHER):
        thresholds = step[first : first + _TOGETHER, None] * halves
        index = thresholds.astype(np.intp)
        within = thresholds - index
        values = excess[index] - within * (beyond[index] - within * counts[index] / 2)
        gained[first : first + _TOGETHER] = values.sum(axis=1)
    return squares - 2 * step * gained


#: every algorithm by the name that the command line knows it by
METHODS: Mapping[str, Callable[[Sketch], float]] = MappingProxyType(
    {"minmax": minmax, "entropy": entropy, "percentile": percentile, "mse": mse}
)


def _without_zeros(sketch: Sketch) -> NDArray[np.int64]:
    counts: NDArray[np.int64] = sketch.counts.copy()
    counts[0] -= sketch.zeros
    return counts


def _rebinned(sketch: Sketch, bins: int) -> NDArray[np.float64]:
    """The histogram over ``bins`` equal bins from 0 to max |x|, counts spread evenly over the bin they were in."""
    used = sketch.used_bins
    edges = np.arange(used + 1.0)
    edges[-1] = sketch.amax / sketch.bin_width
    below = np.append(0.0, np.cumsum(sketch.counts[:used]))
    return np.diff(np.interp(np.linspace(0, edges[-1], bins + 1), edges, below))
