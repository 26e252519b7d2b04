"""From what ``--freq`` asks for to steps that the board has, below what its power mode allows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from espdeploy.devices.clocks.values import ALL, Frequency, GpuLock, Mode, mhz_text
from espdeploy.errors import MissingCapability, UsageError

_LEAST_MHZ, _MOST_MHZ = 10.0, 10_000.0
#: 1301 is 1300.5 in whole numbers, and no wish for more than that
_ROUNDING_MHZ = 1.0
#: with --freq-strict: decimals that nobody types
_EXACT_MHZ = 0.01


@dataclass(frozen=True, kw_only=True)
class Limit:
    """The highest clock that is allowed now, what sets it, and what lifts it (empty: another power mode)."""

    mhz: float
    by: str
    do: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """The steps of a GPU, ascending, with the limits on them and the power modes that might lift these."""

    steps_mhz: tuple[float, ...]
    limits: tuple[Limit, ...] = ()
    modes: tuple[Mode, ...] = ()

    def step_of_limit(self, mhz: float) -> float:
        """The step that a limit means: power modes are written with rounded clocks (850 for 854.25)."""
        return nearest_step(mhz, self.steps_mhz)

    @property
    def tightest(self) -> Limit | None:
        """The limit that counts, of two that mean the same step the first; None without any."""
        return min(self.limits, key=lambda limit: self.step_of_limit(limit.mhz), default=None)

    @property
    def allowed_mhz(self) -> tuple[float, ...]:
        """The steps below all limits."""
        limit = self.tightest
        return self.steps_mhz if limit is None else self._up_to(self.step_of_limit(limit.mhz))

    def _up_to(self, mhz: float) -> tuple[float, ...]:
        return tuple(step for step in self.steps_mhz if step <= mhz)


def parse_frequencies(text: str) -> tuple[Frequency, ...]:
    """Read ``624,824,all``: clocks in MHz, and ``all`` for every step that the board has.

    Raises:
        UsageError: a part is neither, is no clock of a GPU, or stands there twice.
    """
    found: list[Frequency] = []
    for part in text.split(","):
        one = _parse_one(part.strip().lower())
        if one in found:
            raise UsageError(f"--freq {text} names {part.strip()} twice", do="name each frequency once")
        found.append(one)
    return tuple(found)


def nearest_step(mhz: float, steps_mhz: Sequence[float]) -> float:
    """The step nearest to ``mhz``; of two that are as near, the lower."""
    return min(steps_mhz, key=lambda step: (abs(step - mhz), step))


def choose(requested_mhz: float, table: Table, *, strict: bool = False) -> GpuLock:
    """The step for one frequency.

    Raises:
        UsageError: it is above what is allowed; with ``strict``, the board has no such step.
        MissingCapability: no steps are known.
    """
    if not table.steps_mhz:
        raise MissingCapability(
            "the GPU does not tell which clocks it has",
            why="its available_frequencies cannot be read, and the device's profile names none",
            do="add frequencies_mhz to the device's TOML (espdeploy devices shows where it lies)",
        )
    step = nearest_step(requested_mhz, table.steps_mhz)
    _check_limits(requested_mhz, step, table)
    if strict and abs(step - requested_mhz) > _EXACT_MHZ:
        raise UsageError(
            f"the GPU has no step of {mhz_text(requested_mhz)} MHz, and --freq-strict takes no other",
            why="its steps: " + " ".join(mhz_text(known) for known in table.steps_mhz),
            do=f"--freq {mhz_text(step)}, or leave --freq-strict away",
        )
    return GpuLock(requested_mhz=step if abs(step - requested_mhz) <= _EXACT_MHZ else requested_mhz, set_mhz=step)


def resolve(frequencies: Sequence[Frequency], table: Table, *, strict: bool = False) -> tuple[GpuLock, ...]:
    """The steps to measure at, as they were asked for; ``all`` adds those that are left, ascending.

    Raises:
        UsageError: as :func:`choose`; two that are asked for are the same step.
        MissingCapability: as :func:`choose`.
    """
    found = [choose(one, table, strict=strict) for one in frequencies if not isinstance(one, str)]
    for first, second in itertools.combinations(found, 2):
        if first.set_mhz == second.set_mhz:
            asked = f"{mhz_text(first.requested_mhz)} and {mhz_text(second.requested_mhz)}"
            raise UsageError(
                f"{asked} are the same step of this GPU, {mhz_text(first.set_mhz)} MHz",
                do=f"leave one of them away: its steps are {' '.join(mhz_text(step) for step in table.steps_mhz)}",
            )
    if ALL in frequencies:
        taken = {lock.set_mhz for lock in found}
        found += [choose(step, table) for step in table.allowed_mhz if step not in taken]
        if not found:
            choose(_LEAST_MHZ, table)  # says why there is none
    return tuple(found)


def _parse_one(text: str) -> Frequency:
    if text == ALL:
        return ALL
    try:
        mhz = float(text)
    except ValueError:
        mhz = math.nan
    if _LEAST_MHZ <= mhz <= _MOST_MHZ:
        return mhz
    if not math.isfinite(mhz):
        raise UsageError(
            f'"{text}" is not a frequency', do='give MHz with commas between, or "all": --freq 624,824,all'
        )
    raise UsageError(
        f"{text} MHz is no clock of a GPU",
        why="frequencies are in MHz, whatever the unit of the device's own files",
        do="for 1.3 GHz: --freq 1300",
    )


def _check_limits(requested_mhz: float, step_mhz: float, table: Table) -> None:
    limit = table.tightest
    most_mhz = table.steps_mhz[-1] if limit is None else table.step_of_limit(limit.mhz)
    if step_mhz <= most_mhz and requested_mhz <= most_mhz + _ROUNDING_MHZ:
        return
    if requested_mhz > table.steps_mhz[-1] + _ROUNDING_MHZ:
        raise UsageError(
            f"{mhz_text(requested_mhz)} MHz is above the GPU's highest step, {mhz_text(table.steps_mhz[-1])} MHz",
            do=f"--freq {mhz_text(most_mhz)}, or lower",
        )
    by = "" if limit is None else f", the limit of {limit.by}"
    modes = _allowing(requested_mhz, table)
    lift = limit.do if limit is not None and limit.do else f"--power-mode {modes[0].name}" if modes else ""
    lower = f"--freq {mhz_text(most_mhz)} or lower"
    raise UsageError(
        f"{mhz_text(requested_mhz)} MHz is above {mhz_text(most_mhz)} MHz{by}",
        why=f"power modes that allow it: {', '.join(str(mode) for mode in modes)}" if modes else "",
        do=f"{lift}, or {lower}" if lift else lower,
    )


def _allowing(requested_mhz: float, table: Table) -> list[Mode]:
    """The power modes in which the frequency would be allowed, as far as they are known to limit it or not."""
    return [
        mode
        for mode in table.modes
        if mode.gpu_max_mhz is None or requested_mhz <= table.step_of_limit(mode.gpu_max_mhz) + _ROUNDING_MHZ
    ]
