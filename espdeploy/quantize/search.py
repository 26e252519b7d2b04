"""Which layers go to INT8: the fastest assignment that loses no more accuracy than is allowed.

Nothing here runs a network: what an assignment loses is asked of a function, and what each layer gains is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

#: assignments that are tried at most: each costs one pass over the images
DEFAULT_BUDGET = 40
_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Drop:
    """What an assignment loses against the network in floating point, in points, with its 95 % interval over images."""

    points: float
    ci95: tuple[float, float] | None = None


#: what floating point everywhere loses against itself
NO_DROP = Drop(points=0.0)


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """The layers in INT8, in the network's order, and the others, each with the reason why it is not.

    ``drop_search`` is what this very assignment lost when it was tried, ``saved_ms`` what its layers gain together, and
    ``evaluations`` how many assignments were tried.
    """

    int8: tuple[str, ...]
    kept: dict[str, str]
    drop_search: Drop
    saved_ms: float
    evaluations: int


@dataclass(kw_only=True)
class _Trial:
    """Assignments tried so far; what was tried once is not tried again."""

    accuracy: Callable[[frozenset[str]], Drop]
    max_drop: float
    budget: int
    tried: dict[frozenset[str], Drop] = field(default_factory=lambda: {frozenset(): NO_DROP})
    evaluations: int = 0

    def fits(self, layers: Collection[str]) -> bool | None:
        """Whether these layers in INT8 lose no more than allowed; None where the budget is spent."""
        key = frozenset(layers)
        if key not in self.tried:
            if self.evaluations >= self.budget:
                return None
            self.evaluations += 1
            self.tried[key] = self.accuracy(key)
        return self.tried[key].points <= self.max_drop  # NaN never is


def search(
    layers: Sequence[str],
    *,
    accuracy: Callable[[frozenset[str]], Drop],
    time_ms: Mapping[str, tuple[float, float]],
    sensitivity: Mapping[str, float],
    max_drop: float,
    budget: int = DEFAULT_BUDGET,
    alone: Mapping[str, str] = _NOTHING,
) -> Assignment:
    """The fastest assignment found among those that lose at most ``max_drop`` points.

    All layers that INT8 makes faster are tried together. Where that loses too much, layers go back to floating point
    in the order of sensitivity per time gained, as few as bisection over that order finds; then each of them is tried
    in INT8 again, the one that gains most first. What is returned was tried as a whole, or is floating point
    everywhere, so that layers whose losses do not add up cannot mislead it.

    Where they do add up, and ``sensitivity`` is in proportion to them, the time saved is less than one layer's gain
    below the most that is possible: the order is that of the knapsack problem's continuous solution (Dantzig 1957),
    whose one divided item is the layer that is missed. It holds for a ``budget`` of 2 + log2(layers) and more.

    Args:
        layers: the names, in the network's order.
        accuracy: tries one assignment, given as the layers in INT8.
        time_ms: what each layer takes in floating point and in INT8.
        sensitivity: what each layer loses alone, in any unit; what is not known to be finite counts as the most.
        max_drop: points that may be lost, 0 or more.
        budget: calls of ``accuracy`` at most.
        alone: what each layer loses alone, in words, for the reasons; else ``sensitivity`` is taken for points.
    """
    gains = {layer: time_ms[layer][0] - time_ms[layer][1] for layer in layers}
    faster = [layer for layer in layers if gains[layer] > 0]
    trial = _Trial(accuracy=accuracy, max_drop=max_drop, budget=budget)
    words = {layer: alone.get(layer) or f"costs {sensitivity[layer]:.2f} points alone" for layer in faster}
    order = sorted(faster, key=lambda layer: (-_weight(sensitivity[layer]) / gains[layer], gains[layer]))
    moved = order[: _fewest_moved(order, trial)]
    chosen = set(order[len(moved) :])
    kept: dict[str, str] = {}
    for layer in sorted(moved, key=lambda layer: -gains[layer]):
        fits = trial.fits(chosen | {layer})
        if fits:
            chosen.add(layer)
        else:
            kept[layer] = f"{words[layer]}; {_refused(trial, chosen | {layer}, max_drop)}"
    kept |= {layer: _slower(*time_ms[layer]) for layer in layers if gains[layer] <= 0}
    return Assignment(
        int8=tuple(layer for layer in layers if layer in chosen),
        kept={layer: kept[layer] for layer in layers if layer in kept},
        drop_search=trial.tried[frozenset(chosen)],
        saved_ms=math.fsum(gains[layer] for layer in chosen),
        evaluations=trial.evaluations,
    )


def _weight(sensitivity: float) -> float:
    """A layer that seems to do good by being rounded costs nothing: that is chance."""
    return max(sensitivity, 0.0) if math.isfinite(sensitivity) else math.inf


def _fewest_moved(order: Sequence[str], trial: _Trial) -> int:
    """How many of the first layers must leave INT8, by bisection: the last result that was tried and fitted."""
    if trial.fits(order):
        return 0
    too_few, enough = 0, len(order)
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        fits = trial.fits(order[middle:])
        if fits is None:
            break
        too_few, enough = (too_few, middle) if fits else (middle, enough)
    return enough


def _refused(trial: _Trial, layers: Collection[str], max_drop: float) -> str:
    drop = trial.tried.get(frozenset(layers))
    if drop is None:
        return f"not tried with the others: all {trial.budget} trials were spent"
    return f"with it in INT8 {drop.points:.3f} points would be lost, {max_drop:g} are allowed"


def _slower(fp_ms: float, int8_ms: float) -> str:
    if fp_ms <= 0 and int8_ms <= 0:
        return "INT8 is not faster here: it takes no time of its own"
    return f"INT8 is not faster here: {int8_ms:.3g} ms against {fp_ms:.3g} ms"
