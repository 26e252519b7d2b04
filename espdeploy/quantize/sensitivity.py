"""What a network loses when its layers go to a lower precision, each alone; nothing here runs a network."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from espdeploy.protocols import Progress, no_progress

if TYPE_CHECKING:
    from espdeploy.protocols import Tensor


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What some layers in a lower precision change, against the network in FP32 on the same images.

    ``drop_pct`` is mIOU lost in points, with its 95 % interval over images, both networks scored on the same ones;
    None without labels. ``agreement_pct`` counts the pixels (for a classifier, the images) whose class stays the same.
    ``error`` is the squared error of the outputs over their squared size, which tells small effects apart where no
    class changes; None where the outputs are class numbers.
    """

    agreement_pct: float
    error: float | None
    drop_pct: float | None = None
    drop_ci95_pct: tuple[float, float] | None = None

    @property
    def loss_pct(self) -> float:
        """What is ranked: points of mIOU lost, without labels the percentage of classes that change."""
        return 100.0 - self.agreement_pct if self.drop_pct is None else self.drop_pct


class RelativeError:
    """Squared error of outputs over their squared size, over all images given so far."""

    def __init__(self) -> None:
        self._error = 0.0
        self._size = 0.0

    def add(self, reference: Tensor, found: Tensor) -> None:
        """One image's outputs, of one shape."""
        exact = reference.astype(np.float32, copy=False).ravel()
        difference = found.astype(np.float32, copy=False).ravel() - exact
        self._error += _squared(difference)
        self._size += _squared(exact)

    @property
    def value(self) -> float:
        """0 where nothing differs; infinity where an output is not finite, or should be zero and is not."""
        if self._error == 0.0:
            return 0.0
        share = self._error / self._size if self._size else math.inf
        return share if math.isfinite(share) else math.inf


def each_alone(
    layers: Sequence[str], effect_of: Callable[[str], Effect], progress: Progress = no_progress
) -> dict[str, Effect]:
    """What each layer loses alone, asked one after the other in the order given."""
    effects = {}
    for done, layer in enumerate(layers):
        progress(done, len(layers), f"layers measured, {layer}")
        effects[layer] = effect_of(layer)
    progress(len(layers), len(layers), "layers measured")
    return effects


def ranked(effects: Mapping[str, Effect]) -> list[str]:
    """The layers, worst first: by what is lost, then by the error of the outputs, then in the order given."""
    return sorted(effects, key=lambda layer: (-_known(effects[layer].loss_pct), -_known(effects[layer].error)))


def weights(effects: Mapping[str, Effect]) -> dict[str, float]:
    """How sensitive each layer is, for :func:`espdeploy.quantize.search.search`.

    The error of the outputs: rounding errors of different layers are nearly independent, so that their squares add
    up, while points of mIOU lost by one layer drown in chance. Without it the percentage of classes that change.
    """
    if all(effect.error is not None for effect in effects.values()):
        return {layer: effect.error or 0.0 for layer, effect in effects.items()}
    return {layer: 100.0 - effect.agreement_pct for layer, effect in effects.items()}


def _known(value: float | None) -> float:
    return -math.inf if value is None else math.inf if math.isnan(value) else value


def _squared(values: Tensor) -> float:
    return float(np.dot(values, values))
