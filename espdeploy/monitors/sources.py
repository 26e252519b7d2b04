"""What a source of readings can be: there and trying, a source of power, or absent with a reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from espdeploy.protocols import Monitor


@dataclass(frozen=True, kw_only=True)
class Unavailable:
    """A source that gives nothing here: why, and what would mend it."""

    source: str
    reason: str
    do: str


class PowerSource(Monitor, Protocol):
    """A monitor whose channels tell the device's total power.

    ``power_channel`` is in W. ``energy_channel`` is a counter in J that only grows, None where there is no counter.
    ``rails`` are the rails that make up the total, ``period_s`` how often the source itself has a new value (None: as
    often as it is asked).
    """

    @property
    def rails(self) -> tuple[str, ...]:
        """Names of the rails behind the total."""

    @property
    def power_channel(self) -> str:
        """The channel of the total power in W."""

    @property
    def energy_channel(self) -> str | None:
        """The channel of an energy counter in J."""

    @property
    def period_s(self) -> float | None:
        """How often a new value comes."""
