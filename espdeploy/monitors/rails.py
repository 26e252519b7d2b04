"""Which power rails make up a board's total, and how their readings are put together."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from espdeploy import units
from espdeploy.specs import RailFacts


@dataclass(frozen=True, kw_only=True)
class Roles:
    """What a board's rails are for: those whose sum is the total (often one), and the GPU's. Empty, None: unknown."""

    total: tuple[str, ...] = ()
    gpu: str | None = None


def roles(facts: RailFacts, *, answering: Collection[str], silent: Collection[str] = ()) -> Roles:
    """The roles of the rails that answer.

    A sum is a total only when each of its rails that the board has (``silent``: it is there and cannot be read) is in
    it. A board that names neither a total nor a sum has none, whatever rails it shows.
    """
    gpu = next((name for name in facts.gpu if name in answering), None)
    total = tuple(name for name in facts.total if name in answering)[:1]
    if not total and facts.total_is_sum and not any(name in silent for name in facts.split):
        total = tuple(name for name in facts.split if name in answering)
    return Roles(total=total, gpu=gpu)


def total_w(watts: Mapping[str, float | None], rails: Collection[str]) -> float | None:
    """The sum of the rails; None where one of them was not read, or there is none."""
    values = [watts.get(name) for name in rails]
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


def text(watts: Mapping[str, float | None]) -> str:
    """Rails and their power, for people: ``VDD_IN 4.95 W, VDD_SYS_GPU 0.3 W``."""
    return ", ".join(f"{name} {units.significant(value)} W" for name, value in watts.items())
