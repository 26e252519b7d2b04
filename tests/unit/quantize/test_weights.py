"""Weights in INT8: how far they may be off."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from espdeploy.quantize.weights import to_int8


@given(
    values=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=4, max_size=4),
    axis=st.sampled_from([None, 0, 1]),
)
def test_no_weight_is_off_by_more_than_half_a_step(values: list[float], axis: int | None) -> None:
    weight = np.array(values, np.float32).reshape(2, 2)
    found = to_int8(weight, axis, name="w")
    parts = [(weight, found.values, found.scale)]
    if axis is not None:
        parts = [(weight.take(at, axis), found.values.take(at, axis), found.scale[at]) for at in (0, 1)]
    for original, steps, scale in parts:
        assert np.abs(steps.astype(int)).max() == (127 if steps.any() else 0)
        assert np.isfinite(scale)
        if steps.any():  # the scale itself is rounded too, to 24 bits
            assert np.abs(steps.astype(np.float64) * scale - original).max() <= scale * (0.5 + 127 * 2.0**-24)
        else:
            assert scale == 1
            assert np.abs(original).max() <= 127 * np.finfo(np.float32).tiny
        assert scale >= np.finfo(np.float32).tiny
