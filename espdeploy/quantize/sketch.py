"""What is kept of a tensor's values over all calibration images: a histogram whose range grows by doubling.

The range always ends at a power of two, so the bins of two sketches nest: each bin of the wider one is a whole number
of bins of the other. Counts are integers and no edge is rounded. Sketches of parts, merged in any order, therefore
equal one sketch of everything exactly. TensorRT's calibrator doubles its range in the same way (NVIDIA's calibration
notes for MLPerf Inference v0.5).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from espdeploy.errors import InternalError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: where the histogram of a new sketch ends, as a power of two: what is less is nothing to any network, and the scale
#: of its bins is still an FP32 number
_FIRST_EXPONENT = -100
#: FP32 numbers end at 2**128
_LAST_FP32_EXPONENT = 128
_MOST_BINS = 1 << 20
#: values looked at together: temporaries of so many stay in a processor's cache
_PIECE = 1 << 16


class Sketch:
    """The values of one tensor, over any number of updates: least and greatest, zeros, histogram of |x|.

    Args:
        bins: bins between 0 and ``2**exponent``, a power of two.

    Raises:
        InternalError: ``bins`` is no power of two from 2 to 2**20.
    """

    def __init__(self, *, bins: int = 4096) -> None:
        if not 2 <= bins <= _MOST_BINS or bins & (bins - 1):
            raise InternalError(f"a sketch has a power of two of bins, from 2 to {_MOST_BINS}, not {bins}")
        #: (bins,): finite values with |x| in [index * bin_width, (index + 1) * bin_width); zeros are in the first
        self.counts: NDArray[np.int64] = np.zeros(bins, np.int64)
        #: the histogram ends at 2**exponent, the first power of two above every |x|, and never below 2**-100
        self.exponent = _FIRST_EXPONENT
        #: the least finite value; infinity while there is none
        self.lowest = math.inf
        #: the greatest finite value; -infinity while there is none
        self.highest = -math.inf
        #: how many finite values there were
        self.count = 0
        #: how many of them were exactly 0
        self.zeros = 0
        #: how many values were NaN or infinite; they are in nothing else here
        self.not_finite = 0

    @property
    def amax(self) -> float:
        """The greatest finite |x|, exactly; 0 while there is none."""
        return max(-self.lowest, self.highest) if self.count else 0.0

    @property
    def bin_width(self) -> float:
        """What one bin spans, a power of two."""
        return math.ldexp(1.0, self.exponent) / self.counts.size

    @property
    def used_bins(self) -> int:
        """Bins up to the one with the greatest |x|: more than half of them, unless all values are below 2**-101."""
        return int(self.amax / self.bin_width) + 1 if self.count else 0

    @property
    def constant(self) -> bool:
        """Whether there were values and all of them the same."""
        return self.lowest == self.highest

    def update(self, values: NDArray[Any]) -> None:
        """Count every value of an array of any shape, of FP16, FP32, FP64 or whole numbers.

        The array is walked in the order in which it lies in memory, in pieces; beside it this takes about 2 MB.
        """
        single = values.dtype in (np.float16, np.float32) and self.exponent <= _LAST_FP32_EXPONENT
        pieces = np.nditer(
            values,
            flags=["external_loop", "buffered", "zerosize_ok"],
            op_dtypes=[np.dtype(np.float32 if single else np.float64)],
            order="K",
            buffersize=_PIECE,
        )
        for piece in cast("Iterable[NDArray[Any]]", pieces):  # the stubs say tuple, which several arrays would give
            self._count(piece)

    def merge(self, other: Sketch) -> None:
        """Take in what another sketch of the same tensor saw; ``other`` stays as it is.

        Raises:
            InternalError: the other one has another number of bins.
        """
        if other.counts.size != self.counts.size:
            raise InternalError(f"sketches of {self.counts.size} and {other.counts.size} bins cannot be merged")
        self._grow_to(other.exponent)
        self.counts = self.counts + _folded(other.counts, self.exponent - other.exponent)
        self.lowest, self.highest = min(self.lowest, other.lowest), max(self.highest, other.highest)
        self.count += other.count
        self.zeros += other.zeros
        self.not_finite += other.not_finite

    def _count(self, piece: NDArray[np.floating[Any]]) -> None:
        if not piece.size:
            return
        # + 0.0 makes 0.0 of -0.0: which of two equal zeros is the least must not depend on the order of updates
        lowest, highest = float(piece.min()) + 0.0, float(piece.max()) + 0.0
        if not (math.isfinite(lowest) and math.isfinite(highest)):
            finite = piece[np.isfinite(piece)]
            self.not_finite += piece.size - finite.size
            self._count(finite)
            return
        self.lowest, self.highest = min(self.lowest, lowest), max(self.highest, highest)
        self.count += piece.size
        self.zeros += int(np.count_nonzero(piece == 0))
        if self.amax:
            self._grow_to(math.frexp(self.amax)[1])
        # scaling by a power of two rounds nothing, and the conversion cuts off: exactly the bin
        scaled = np.multiply(piece, piece.dtype.type(1 / self.bin_width))
        np.abs(scaled, out=scaled)
        self.counts += np.bincount(scaled.astype(np.intp), minlength=self.counts.size)

    def _grow_to(self, exponent: int) -> None:
        if exponent > self.exponent:
            self.counts = _folded(self.counts, exponent - self.exponent)
            self.exponent = exponent


class ChannelSketch:
    """One :class:`Sketch` for each channel, axis 1 of a tensor.

    Args:
        bins: as of :class:`Sketch`, for each channel.
    """

    def __init__(self, *, bins: int = 4096) -> None:
        self._bins = bins
        #: by channel; empty while there are no values
        self.channels: list[Sketch] = []

    def update(self, values: NDArray[Any]) -> None:
        """Count the values of an array (N,C,...).

        Raises:
            InternalError: it has no axis 1, or another number of channels than those before it.
        """
        if values.ndim < 2:
            raise InternalError(f"a tensor of shape {values.shape} has no channels")
        for index, sketch in enumerate(self._matched(values.shape[1])):
            sketch.update(values[:, index])

    def merge(self, other: ChannelSketch) -> None:
        """Take in what another sketch of the same tensor saw; ``other`` stays as it is.

        Raises:
            InternalError: the other one has another number of channels or of bins.
        """
        if other.channels:
            for sketch, partner in zip(self._matched(len(other.channels)), other.channels, strict=True):
                sketch.merge(partner)

    def _matched(self, channels: int) -> list[Sketch]:
        if not self.channels:
            self.channels = [Sketch(bins=self._bins) for _ in range(channels)]
        if len(self.channels) != channels:
            raise InternalError(f"a tensor of {len(self.channels)} channels comes with {channels}")
        return self.channels


def _folded(counts: NDArray[np.int64], doublings: int) -> NDArray[np.int64]:
    """The same counts in as many bins, each 2**doublings times as wide."""
    if not doublings:
        return counts
    together = 1 << min(doublings, counts.size.bit_length() - 1)
    folded = np.zeros_like(counts)
    folded[: counts.size // together] = counts.reshape(-1, together).sum(axis=1)
    return folded
