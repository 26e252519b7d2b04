from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest

from espdeploy.errors import InternalError
from espdeploy.quantize.sketch import ChannelSketch, Sketch

LEAST_DENORMAL = 1e-45  # rounds to 2**-149, FP32's least number above 0
LARGEST = float(np.finfo(np.float32).max)


def sketch_of(*values: float, dtype: type = np.float32, bins: int = 4096) -> Sketch:
    sketch = Sketch(bins=bins)
    sketch.update(np.array(values, dtype))
    return sketch


def test_a_histogram_of_photograph_like_values_is_numpys() -> None:
    values = np.random.default_rng(3).standard_normal((2, 3, 111, 97)).astype(np.float32)
    sketch = Sketch()
    sketch.update(values)
    expected, _ = np.histogram(np.abs(values.astype(np.float64)), bins=4096, range=(0, 2.0**sketch.exponent))
    assert np.array_equal(sketch.counts, expected)
    assert 2.0 ** (sketch.exponent - 1) <= np.abs(values).max() < 2.0**sketch.exponent
    assert (sketch.lowest, sketch.highest) == (values.min(), values.max())
    assert (sketch.count, sketch.zeros, sketch.not_finite) == (values.size, 0, 0)


def test_the_range_doubles_until_a_larger_value_fits_and_stays_for_smaller_ones() -> None:
    sketch = Sketch(bins=8)
    for value, exponent in ((0.9, 0), (0.1, 0), (1.0, 1), (3.0, 2), (3.9, 2), (-4.0, 3), (0.0, 3)):
        sketch.update(np.array([value], np.float32))
        assert sketch.exponent == exponent
    # eight bins of width 1: 0.9, 0.1 and 0 | 1 | | 3 and 3.9 | -4
    assert sketch.counts.tolist() == [3, 1, 0, 2, 1, 0, 0, 0]
    assert sketch.used_bins == 5
    assert sketch.bin_width == 1


@pytest.mark.parametrize("largest", [LEAST_DENORMAL, 1e-38, 1e-30, 6e-8, 1.0, 1e38, LARGEST])
def test_values_of_any_size_are_counted_and_their_extremes_exact(largest: float) -> None:
    values = np.array([0.0, largest, -largest, largest / 2], np.float32)
    sketch = sketch_of(*values.tolist())
    assert (sketch.highest, sketch.lowest, sketch.amax) == (values[1], values[2], values[1])
    assert sketch.counts.sum() == sketch.count == 4
    assert sketch.counts[: sketch.used_bins].sum() == 4
    assert sketch.zeros == np.count_nonzero(values == 0)
    assert largest < 2.0**sketch.exponent


def test_doubles_beyond_fp32_and_halves_are_counted_with_floats() -> None:
    sketch = sketch_of(0.5, -2.0)
    sketch.update(np.array([1e300, -3e307]))
    sketch.update(np.array([3.0], np.float32))
    sketch.update(np.array([65504.0, 6e-8], np.float16))
    assert (sketch.lowest, sketch.highest, sketch.count) == (-3e307, 1e300, 7)
    assert sketch.counts[0] == 6  # beside 3e307 everything else is nothing
    assert sketch.counts[sketch.used_bins - 1] == 1


def test_zeros_of_both_signs_are_zeros_and_a_tensor_of_them_has_no_range() -> None:
    sketch = sketch_of(0.0, -0.0, 0.0)
    assert (sketch.count, sketch.zeros, sketch.amax, sketch.constant) == (3, 3, 0.0, True)
    assert math.copysign(1, sketch.lowest) == math.copysign(1, sketch.highest) == 1
    assert sketch.counts[0] == 3
    sketch.update(np.array([3e-20], np.float32))
    assert sketch.used_bins > 2048, "zeros take no part in the range"


def test_negative_only_values_have_the_range_of_their_magnitude() -> None:
    sketch = sketch_of(-3.0, -1.0, -2.0)
    assert (sketch.lowest, sketch.highest, sketch.amax, sketch.constant) == (-3.0, -1.0, 3.0, False)


def test_one_value_everywhere_is_constant_until_another_comes() -> None:
    sketch = sketch_of(-2.5, -2.5)
    assert sketch.constant
    sketch.update(np.array([-2.5], np.float32))
    assert sketch.constant
    sketch.update(np.array([2.5], np.float32))
    assert not sketch.constant


def test_nan_and_infinity_are_counted_apart_and_change_nothing_else() -> None:
    broken = sketch_of(1.0, math.nan, -2.0, math.inf, -math.inf, 0.0)
    assert broken.not_finite == 3
    whole = sketch_of(1.0, -2.0, 0.0)
    assert np.array_equal(broken.counts, whole.counts)
    assert (broken.lowest, broken.highest, broken.count, broken.zeros) == (-2.0, 1.0, 3, 1)
    hopeless = sketch_of(math.nan, math.inf)
    assert (hopeless.not_finite, hopeless.count, hopeless.amax, hopeless.constant) == (2, 0, 0.0, False)


def test_a_sketch_of_nothing_says_so() -> None:
    sketch = Sketch()
    sketch.update(np.empty((1, 0, 5), np.float32))
    assert (sketch.count, sketch.amax, sketch.used_bins, sketch.constant) == (0, 0.0, 0, False)
    assert (sketch.lowest, sketch.highest) == (math.inf, -math.inf)


def test_the_layout_in_memory_does_not_matter() -> None:
    values = np.random.default_rng(5).standard_normal((4, 6, 50, 70)).astype(np.float32)
    straight, turned, strided = Sketch(), Sketch(), Sketch()
    straight.update(np.ascontiguousarray(values[:, ::2, ::3]))
    turned.update(np.asfortranarray(values[:, ::2, ::3]).transpose(3, 1, 0, 2))
    strided.update(values[:, ::2, ::3])
    for other in (turned, strided):
        assert np.array_equal(straight.counts, other.counts)
        assert (straight.lowest, straight.highest) == (other.lowest, other.highest)


@pytest.mark.parametrize("strided", [False, True])
def test_a_large_tensor_is_counted_in_little_memory(strided: bool) -> None:
    values = np.random.default_rng(7).standard_normal((1, 2, 2000, 2000), dtype=np.float32)  # 32 MB
    sketch = Sketch()
    tracemalloc.start()
    sketch.update(values[:, :1] if strided else values)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 4e6


def test_channels_are_sketched_as_if_each_were_a_tensor() -> None:
    first, second = np.random.default_rng(9).standard_normal((2, 2, 3, 8, 9)).astype(np.float32)
    second *= 50
    sketch = ChannelSketch()
    sketch.update(first)
    sketch.update(second)
    assert len(sketch.channels) == 3
    for channel, found in enumerate(sketch.channels):
        alone = Sketch()
        alone.update(np.stack([first[:, channel], second[:, channel]]))
        assert np.array_equal(found.counts, alone.counts)
        assert (found.lowest, found.highest) == (alone.lowest, alone.highest)


def test_what_cannot_belong_to_one_tensor_is_refused() -> None:
    with pytest.raises(InternalError, match="power of two"):
        Sketch(bins=1000)
    with pytest.raises(InternalError, match="4096 and 8 bins"):
        Sketch().merge(Sketch(bins=8))
    channels = ChannelSketch()
    with pytest.raises(InternalError, match="no channels"):
        channels.update(np.zeros(5, np.float32))
    channels.update(np.zeros((1, 3, 2), np.float32))
    with pytest.raises(InternalError, match="3 channels comes with 4"):
        channels.update(np.zeros((1, 4, 2), np.float32))
