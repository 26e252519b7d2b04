"""Adaptive average pooling in operators that every runtime has.

``torch.nn.functional.adaptive_avg_pool2d`` exports only where the output divides the input. Here the same means are
taken with plain average pooling of slices or of gathered rows, without a constant that would count as a weight.
Importing this module loads PyTorch.
"""

from __future__ import annotations

import warnings
from math import gcd

import torch
from torch import Tensor
from torch.nn import functional

#: up to so many window positions in a period, each has a pooling of its own
_MOST_PHASES = 2


def extent(x: Tensor) -> tuple[int, int]:
    """Height and width of (N, C, H, W) as plain numbers, while an exporter traces too: only its batch may change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        return int(x.shape[2]), int(x.shape[3])


def adaptive_average(x: Tensor, size: tuple[int, int]) -> Tensor:
    """What ``adaptive_avg_pool2d`` gives: output i of n is the mean of inputs floor(i m / n) to ceil((i + 1) m / n).

    Shapes: (N, C, H, W) -> (N, C, *size); ``size`` may exceed (H, W).
    """
    given = extent(x)
    if all(inputs % outputs == 0 for inputs, outputs in zip(given, size, strict=True)):
        return functional.avg_pool2d(x, (given[0] // size[0], given[1] // size[1]))
    # each window is a rectangle of equal weights, so the mean of its rows' means is its mean
    return _along(_along(x, 2, size[0]), 3, size[1])


def _along(x: Tensor, axis: int, outputs: int) -> Tensor:
    """The same along one axis: 2 or 3."""
    inputs = extent(x)[axis - 2]
    phases = outputs // gcd(inputs, outputs)
    if phases <= _MOST_PHASES:
        return _by_phases(x, axis, phases=phases, period=inputs * phases // outputs)
    return _by_gathering(x, axis, _windows(inputs, outputs))


def _windows(inputs: int, outputs: int) -> list[tuple[int, int]]:
    """First input of each output's window, and the one after its last."""
    return [(index * inputs // outputs, -(-(index + 1) * inputs // outputs)) for index in range(outputs)]


def _by_phases(x: Tensor, axis: int, *, phases: int, period: int) -> Tensor:
    """Where the windows repeat: one strided pooling for each position in the period, interleaved."""
    pooled = [
        functional.avg_pool2d(_from(x, axis, first), _only(axis, after - first), stride=_only(axis, period))
        for first, after in _windows(period, phases)
    ]
    if phases == 1:
        return pooled[0]
    extents = list(extent(pooled[0]))
    extents[axis - 2] *= phases
    return torch.stack(pooled, axis + 1).reshape(-1, x.shape[1], *extents)


def _by_gathering(x: Tensor, axis: int, windows: list[tuple[int, int]]) -> Tensor:
    """Where they do not: the inputs of each window side by side, pooled; windows differ by one in length at most."""
    lengths = [after - first for first, after in windows]
    shortest, longest = min(lengths), max(lengths)
    short = _gathered(x, axis, windows, length=shortest)
    if shortest == longest:
        return short
    is_short = _constant([length == shortest for length in lengths], like=x)
    shape = (-1, 1) if axis == 2 else (1, -1)
    return torch.where(is_short.reshape(shape), short, _gathered(x, axis, windows, length=longest))


def _gathered(x: Tensor, axis: int, windows: list[tuple[int, int]], *, length: int) -> Tensor:
    """Means of the first ``length`` inputs of each window; those beyond a shorter window's end are repeated."""
    indices = [min(first + step, after - 1) for first, after in windows for step in range(length)]
    return functional.avg_pool2d(x.index_select(axis, _constant(indices, like=x)), _only(axis, length))


def _constant(values: list[int] | list[bool], *, like: Tensor) -> Tensor:
    """A constant of the exported graph."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        return torch.tensor(values, device=like.device)


def _from(x: Tensor, axis: int, first: int) -> Tensor:
    return x if first == 0 else x[:, :, first:] if axis == 2 else x[:, :, :, first:]


def _only(axis: int, length: int) -> tuple[int, int]:
    """A kernel or stride along one axis."""
    return (length, 1) if axis == 2 else (1, length)
