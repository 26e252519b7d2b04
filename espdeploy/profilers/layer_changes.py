"""Two engines of one network side by side: what got slower, what got faster, and what the builder put in.

Layers are fused differently in different precisions, so what is compared are the smallest groups of layers that stand
for the same operators on both sides.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from espdeploy.profilers.layer_names import COMPUTE, OVERHEAD, is_made_up
from espdeploy.profilers.layers import Layer, Layers

BASE, NEW = 0, 1


@dataclass(frozen=True, kw_only=True)
class Change:
    """The layers of one group on each side, and their times in ms; a side without layers takes no time."""

    kind: str
    base: tuple[str, ...]
    new: tuple[str, ...]
    base_ms: float
    new_ms: float

    @property
    def change_ms(self) -> float:
        """Positive where the new engine is slower."""
        return self.new_ms - self.base_ms

    @property
    def verdict(self) -> str:
        """``inserted``, ``removed``, ``slower``, ``faster`` or ``equal``."""
        if not self.base:
            return "inserted"
        if not self.new:
            return "removed"
        return "equal" if self.change_ms == 0 else "slower" if self.change_ms > 0 else "faster"

    def document(self) -> dict[str, object]:
        """As ``explain`` prints it."""
        return {
            "kind": self.kind,
            "verdict": self.verdict,
            "base": list(self.base),
            "new": list(self.new),
            "base_ms": self.base_ms,
            "new_ms": self.new_ms,
            "change_ms": self.change_ms,
        }


@dataclass(frozen=True, kw_only=True)
class LayerChanges:
    """``changes``, those that matter most first. They add up to the difference of the two sums over layers."""

    base_ms: float
    new_ms: float
    changes: tuple[Change, ...]

    def sum_ms(self, verdict: str, kinds: Iterable[str] = (COMPUTE, *OVERHEAD)) -> float:
        """What the changes with that verdict come to."""
        wanted = tuple(kinds)
        return math.fsum(one.change_ms for one in self.changes if one.verdict == verdict and one.kind in wanted)


def compared(base: Layers, new: Layers) -> LayerChanges:
    """Group and compare. Overhead is compared by what it is there for, kind by kind."""
    changes = []
    for kind in (COMPUTE, *OVERHEAD):
        sides = [[layer for layer in side.layers if layer.kind == kind] for side in (base, new)]
        changes += [_change(kind, group) for group in _groups(sides)]
    changes.sort(key=lambda change: -abs(change.change_ms))
    return LayerChanges(base_ms=base.total_ms, new_ms=new.total_ms, changes=tuple(changes))


def _change(kind: str, group: Sequence[tuple[int, Layer]]) -> Change:
    sides = [[layer for of, layer in group if of == side] for side in (BASE, NEW)]
    times_ms = [math.fsum(layer.mean_ms or 0.0 for layer in layers) for layers in sides]
    return Change(
        kind=kind,
        base=tuple(layer.name for layer in sides[BASE]),
        new=tuple(layer.name for layer in sides[NEW]),
        base_ms=times_ms[BASE],
        new_ms=times_ms[NEW],
    )


def _groups(sides: Sequence[Sequence[Layer]]) -> list[list[tuple[int, Layer]]]:
    """Layers that share an operator, directly or through others, in the order in which they run."""
    members = [(side, layer) for side, layers in enumerate(sides) for layer in layers]
    root = list(range(len(members)))

    def top(index: int) -> int:
        while root[index] != index:
            root[index] = root[root[index]]
            index = root[index]
        return index

    first_with: dict[str, int] = {}
    for index, (_, layer) in enumerate(members):
        for word in _identity(layer):
            other = first_with.setdefault(word, index)
            root[top(index)] = top(other)
    groups: dict[int, list[tuple[int, Layer]]] = {}
    for index, member in enumerate(members):
        groups.setdefault(top(index), []).append(member)
    return list(groups.values())


def _identity(layer: Layer) -> tuple[str, ...]:
    """What makes a layer the same on both sides: its operators, or else the words of its name."""
    if layer.nodes:
        return layer.nodes
    words = tuple(word for word in layer.words if not is_made_up(word))
    return words or (layer.name,)
