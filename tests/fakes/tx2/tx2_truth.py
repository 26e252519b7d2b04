"""What espdeploy should have found: exact energies from the board's own log, and closed forms of the model."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tx2_link
from numpy.typing import NDArray
from tx2_physics import RAILS, TOTAL, State, rails_w, steady_c

_ROW = 1 + len(RAILS) + 3
_LATE_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Rows of the board's log, one for each step: times in s on CLOCK_MONOTONIC, which is time.perf_counter's too.

    Clock and load are those that held up to that time, since the row before; the temperature is that of the time.
    """

    time_s: NDArray[np.float64]
    mhz: NDArray[np.float64]
    load: NDArray[np.float64]
    temperature_c: NDArray[np.float64]


class Truth:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.options = tx2_link.options_of(folder)

    def energy_j(self, rail: str, start_s: float, end_s: float) -> float:
        """The integral of a rail's power between two times, exact: between two rows power is constant."""
        rows = self._rows(until_s=end_s)
        if not rows[0, 0] <= start_s <= end_s:
            raise ValueError(f"the board ran from {rows[0, 0]}, and not from {start_s} to {end_s}")
        begun, ended = np.interp([start_s, end_s], rows[:, 0], rows[:, 1 + RAILS.index(rail)])
        return float(ended - begun)

    def mean_w(self, rail: str, start_s: float, end_s: float) -> float:
        """The mean power of a rail between two times."""
        return self.energy_j(rail, start_s, end_s) / (end_s - start_s)

    def moments(self, start_s: float, end_s: float) -> Moments:
        """Clock, load and temperature between two times."""
        rows = self._rows(until_s=end_s)
        within = rows[(rows[:, 0] >= start_s) & (rows[:, 0] <= end_s)]
        mhz, load, temperature_c = within[:, -3:].T
        return Moments(time_s=within[:, 0], mhz=mhz, load=load, temperature_c=temperature_c)

    def latency_ms(self, mhz: float, network: str = "default", precision: str = "fp32") -> float:
        """GPU compute time of one inference at a clock, without jitter."""
        return self.options.networks[network].latency_ms(mhz, precision)

    def sensitivity(
        self, first_mhz: float, last_mhz: float, network: str = "default", precision: str = "fp32"
    ) -> float:
        """Percentage change in execution time over percentage change in frequency, both from the first; negative."""
        first_ms, last_ms = (self.latency_ms(mhz, network, precision) for mhz in (first_mhz, last_mhz))
        return ((last_ms - first_ms) / first_ms) / ((last_mhz - first_mhz) / first_mhz)

    def power_w(self, rail: str, state: State) -> float:
        """A rail's power in a state of the board."""
        return rails_w(state, self.options)[rail]

    def idle_w(self, mhz: float, *, rail: str = TOTAL, cores: int = 6) -> float:
        """Power with nothing to do, at a clock that is held, once the temperature is steady."""
        state = State(mhz=mhz, load=0.0, temperature_c=self.options.ambient_c, cores=cores)
        celsius = steady_c(state, self.options)
        return self.power_w(rail, State(mhz=mhz, load=0.0, temperature_c=celsius, cores=cores))

    def _rows(self, *, until_s: float) -> NDArray[np.float64]:
        """The log up to a time, which may be now: the board's next step is waited for."""
        given_up_s = time.monotonic() + _LATE_S
        while True:
            values = np.fromfile(self._folder / "truth.bin", dtype=np.float64)
            rows = values[: values.size - values.size % _ROW].reshape(-1, _ROW)
            if rows.size and rows[-1, 0] >= until_s:
                return rows
            if time.monotonic() > given_up_s:
                last_s = rows[-1, 0] if rows.size else None
                raise ValueError(f"the board's log ends at {last_s}, before {until_s}")
            time.sleep(0.005)
