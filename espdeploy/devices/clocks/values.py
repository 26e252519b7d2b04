"""What the clocks are asked for, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from espdeploy.errors import EspdeployError

ALL: Final = "all"
#: one frequency of ``--freq`` in MHz, or each step that the board has
Frequency = float | Literal["all"]


def mhz_text(mhz: float) -> str:
    """``854.25``, ``1122``: as it is written in a command."""
    return f"{mhz:.10g}"


@dataclass(frozen=True, kw_only=True)
class GpuLock:
    """A GPU clock that was set, or is to be: what was asked for, the step that was taken, and both in words."""

    requested_mhz: float
    set_mhz: float

    @property
    def text(self) -> str:
        """``requested 824 -> 854.25 MHz``, or the step alone where it is the very one that was asked for."""
        if self.requested_mhz == self.set_mhz:
            return f"{mhz_text(self.set_mhz)} MHz"
        return f"requested {mhz_text(self.requested_mhz)} -> {mhz_text(self.set_mhz)} MHz"


@dataclass(frozen=True, kw_only=True)
class Mode:
    """A power mode of nvpmodel and the GPU clock that it allows at most; None: no limit, or not known."""

    id: int
    name: str
    gpu_max_mhz: float | None = None

    def __str__(self) -> str:
        return f"{self.name} ({self.id})"


@dataclass(frozen=True, kw_only=True)
class PowerModeSet:
    """The power mode that is active now, with the cores that it left running; None: the kernel does not say."""

    id: int
    name: str
    cores_online: int | None


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """One thing that would be done to the device, and the command that does the same."""

    what: str
    command: str


@dataclass(frozen=True, kw_only=True)
class ClockCheck:
    """One thing that ``espdeploy doctor`` looked at: ``state`` is ``ok``, ``missing`` or ``not permitted``."""

    name: str
    state: str
    found: str
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class ClocksBefore:
    """What was there before the first change.

    ``files`` are texts by path, as the machine's own root sees them. ``nvml_gpu`` is the UUID of a GPU whose clocks
    were locked: NVML does not tell of a lock that was there before, so it is left without one.
    """

    files: dict[str, str]
    power_mode: Mode | None = None
    nvml_gpu: str | None = None


@dataclass(frozen=True, kw_only=True)
class NotPutBack:
    """Something that could not be put back: the error, and the command that does it by hand."""

    error: EspdeployError
    command: str
