"""What networks without data are fed with."""

from __future__ import annotations

import numpy as np
import pytest

from espdeploy.errors import UsageError
from espdeploy.pipeline.measuring.feeds import feeds
from espdeploy.protocols import TensorInfo


@pytest.mark.parametrize(("dtype", "largest"), [("uint8", 255), ("int8", 127), ("int64", 255)])
def test_whole_numbers_get_pixels_and_not_a_picture_of_zeros_and_ones(dtype: str, largest: int) -> None:
    image = TensorInfo(name="x", shape=(1, 3, 32, 32), dtype=dtype)
    for feed in feeds([image], None, count=1, batch=1, noise=True):
        assert feed["x"].dtype == dtype
        assert feed["x"].min() >= 0
        assert largest - 5 <= feed["x"].max() <= largest
        assert len(np.unique(feed["x"])) > 50


def test_floating_point_stays_in_its_range() -> None:
    (feed,) = feeds([TensorInfo(name="x", shape=("batch", 3, 32, 32), dtype="float32")], None, count=1, batch=2)
    assert feed["x"].shape == (2, 3, 32, 32)
    assert 0 <= feed["x"].min() < feed["x"].max() <= 1


@pytest.mark.parametrize("shapes", [[], [(1, 3, 8, 8), (1, 3, 8, 8)], [(1, 8)], [(1, 3, 0, 8)]])
def test_what_is_not_one_image_is_refused(shapes: list[tuple[int, ...]]) -> None:
    inputs = [TensorInfo(name=f"x{index}", shape=shape, dtype="float32") for index, shape in enumerate(shapes)]
    with pytest.raises(UsageError, match="one image"):
        feeds(inputs, None, count=1, batch=1)
