"""What a graph pass is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto


@dataclass(frozen=True, kw_only=True)
class PassResult:
    """The model after a pass, how many things it changed, and a remark for people."""

    model: ModelProto
    changes: int
    note: str = ""

    @property
    def modified(self) -> bool:
        """Whether the pass changed anything."""
        return self.changes > 0


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One graph pass. Properties are plain words that other passes name in ``requires``.

    ``run`` may change the model that it is given and return it.
    """

    name: str
    does: str
    run: Callable[[ModelProto], PassResult]
    requires: frozenset[str] = frozenset()
    ensures: frozenset[str] = frozenset()
    breaks: frozenset[str] = frozenset()
