"""Inputs checked before they reach a runtime, so that a wrong shape is our error and not a crash."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from espdeploy.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from espdeploy.protocols import Tensor, TensorInfo


def checked_feed(feed: Mapping[str, Tensor], inputs: Sequence[TensorInfo]) -> dict[str, Tensor]:
    """``feed`` with contiguous arrays of the right type.

    Raises:
        UsageError: a missing or unknown input name, or a shape or type that the engine does not take.
    """
    import numpy as np

    names = [item.name for item in inputs]
    if sorted(feed) != sorted(names):
        raise UsageError(f"the engine's inputs are {names}, given were {sorted(feed)}")
    checked = {}
    for item in inputs:
        array = feed[item.name]
        if not _fits(array.shape, item.shape):
            raise UsageError(
                f"input {item.name} has shape {list(array.shape)}, the engine takes {list(item.shape)}",
                do="export the network at that size (--size WIDTHxHEIGHT, --batch N), or feed images of the engine's",
            )
        checked[item.name] = np.ascontiguousarray(array, dtype=_numeric(item))
    return checked


def _numeric(info: TensorInfo) -> np.dtype[np.generic]:
    import numpy as np

    try:
        dtype = np.dtype(info.dtype)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "fiub":
        raise UsageError(
            f"input {info.name} holds {info.dtype}, which is no type that images can be given in",
            do="export the network with an input of float32",
        )
    return dtype


def _fits(shape: tuple[int, ...], expected: tuple[int | str, ...]) -> bool:
    return len(shape) == len(expected) and all(
        isinstance(want, str) or want == have for have, want in zip(shape, expected, strict=True)
    )
