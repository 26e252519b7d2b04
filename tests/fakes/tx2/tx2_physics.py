"""The one physical model of the stand-in TX2: clock, latency, power, heat, throttling.

The board steps it in real time, the fake tools take their times from it, and tests take from it what espdeploy should
have found. Powers in W, temperatures in °C, clocks in MHz. Size and shape are a TX2's; no figure here was measured.

    latency      fixed_ms + cycles / clock
    GPU's rail   leakage(temperature) V + activity clock V^2
    VDD_IN       the board's own + (sum of rails) / efficiency of the regulators
    temperature  first order towards ambient + resistance VDD_IN
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

STEPS_MHZ = (114.75, 216.75, 318.75, 420.75, 522.75, 624.75, 726.75, 854.25, 930.75, 1032.75, 1122.0, 1236.75, 1300.5)
TOTAL = "VDD_IN"
PARTS = ("VDD_SYS_GPU", "VDD_SYS_SOC", "VDD_4V0_WIFI", "VDD_SYS_CPU", "VDD_SYS_DDR")
#: as the INA3221s at 0-0040 and 0-0041 have them, which is tegrastats' order too
RAILS = ("VDD_SYS_GPU", "VDD_SYS_SOC", "VDD_4V0_WIFI", "VDD_IN", "VDD_SYS_CPU", "VDD_SYS_DDR")
#: a limit of nvpmodel lies a little beside a step (850 for 854.25 MHz), and the clock driver takes the step
_BESIDE = 1.01
_CORES = 6
_COOLED_BY_C = 1.0
_THROTTLE_EVERY_S = 0.05


@dataclass(frozen=True, kw_only=True)
class Network:
    """What one inference costs in FP32: time that the GPU's clock does not change, and millions of GPU cycles."""

    fixed_ms: float
    cycles_m: float

    def latency_ms(self, mhz: float, precision: str = "fp32") -> float:
        return self.fixed_ms * FIXED_SHARE[precision] + 1000 * self.cycles_m * CYCLES_SHARE[precision] / mhz


FIXED_SHARE = {"fp32": 1.0, "fp16": 0.7}
CYCLES_SHARE = {"fp32": 1.0, "fp16": 0.6}
#: by what the path of the ONNX file holds
NETWORKS = {
    "default": Network(fixed_ms=4.0, cycles_m=12.0),
    "espnet": Network(fixed_ms=4.0, cycles_m=12.0),
    "enet": Network(fixed_ms=9.0, cycles_m=8.0),
    "erfnet": Network(fixed_ms=6.0, cycles_m=24.0),
}


@dataclass(frozen=True, kw_only=True)
class Mode:
    """A power mode as nvpmodel's configuration has it; 0 MHz of EMC is no limit."""

    id: int
    name: str
    gpu_mhz: float
    cores: tuple[int, ...]
    cpu_mhz: float
    emc_mhz: float = 0.0


MODES = (
    Mode(id=0, name="MAXN", gpu_mhz=1300.5, cores=(0, 1, 2, 3, 4, 5), cpu_mhz=2035.2),
    Mode(id=1, name="MAXQ", gpu_mhz=850.0, cores=(0, 3, 4, 5), cpu_mhz=1200.0, emc_mhz=1331.2),
    Mode(id=2, name="MAXP_CORE_ALL", gpu_mhz=1120.0, cores=(0, 1, 2, 3, 4, 5), cpu_mhz=1400.0, emc_mhz=1600.0),
    Mode(id=3, name="MAXP_CORE_ARM", gpu_mhz=1120.0, cores=(0, 3, 4, 5), cpu_mhz=2035.2, emc_mhz=1600.0),
    Mode(id=4, name="MAXP_CORE_DENVER", gpu_mhz=1120.0, cores=(0, 1), cpu_mhz=2035.2, emc_mhz=1600.0),
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a test may choose. ``mode`` is the power mode at first; ``jitter`` one sigma of an inference's time."""

    mode: int = 0
    seed: int = 0
    step_s: float = 0.01
    jitter: float = 0.003
    ambient_c: float = 30.0
    thermal_s: float = 10.0
    thermal_resistance_c_per_w: float = 4.0
    leakage_w: float = 0.10
    limit_c: float = 95.5
    networks: Mapping[str, Network] = field(default_factory=lambda: dict(NETWORKS))


@dataclass(frozen=True, kw_only=True)
class State:
    """All that power depends on. ``load`` is the share of time in which the GPU computes."""

    mhz: float
    load: float
    temperature_c: float
    cores: int = _CORES
    host_busy: bool = False


def volts(mhz: float) -> float:
    return 0.65 + 0.45 * mhz / STEPS_MHZ[-1]


def rails_w(state: State, options: Options) -> dict[str, float]:
    """Power of each rail; those of the parts come to less than the total, since regulators lose some."""
    top = STEPS_MHZ[-1] * volts(STEPS_MHZ[-1]) ** 2
    switching = state.mhz * volts(state.mhz) ** 2 / top
    leakage = options.leakage_w * volts(state.mhz) * math.exp((state.temperature_c - 35) / 40)
    watts = {
        "VDD_SYS_GPU": 0.02 + leakage + 3.2 * (0.03 + 0.97 * state.load) * switching,
        "VDD_SYS_SOC": 0.35 + 0.30 * state.load,
        "VDD_4V0_WIFI": 0.019,
        "VDD_SYS_CPU": 0.08 + 0.035 * state.cores + 0.45 * state.host_busy,
        "VDD_SYS_DDR": 0.20 + 0.80 * state.load * state.mhz / STEPS_MHZ[-1],
    }
    watts[TOTAL] = 0.45 + sum(watts.values()) / 0.86
    return watts


def steady_c(state: State, options: Options) -> float:
    """The temperature at which as much heat leaves as is made, whatever ``state`` says that it is now."""
    celsius = options.ambient_c
    for _ in range(200):
        now = State(mhz=state.mhz, load=state.load, temperature_c=celsius, cores=state.cores, host_busy=state.host_busy)
        celsius = options.ambient_c + options.thermal_resistance_c_per_w * rails_w(now, options)[TOTAL]
    return celsius


@dataclass(frozen=True, kw_only=True)
class Client:
    """A process on the GPU: either always computing, or a network's inferences with ``other_ms`` between them."""

    network: Network | None = None
    precision: str = "fp32"
    other_ms: float = 0.0

    def load(self, mhz: float) -> float:
        if self.network is None:
            return 1.0
        compute_ms = self.network.latency_ms(mhz, self.precision)
        return compute_ms / (compute_ms + self.other_ms)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What decides the clock besides load and heat. ``competitor`` is the share that somebody else's process takes."""

    min_mhz: float
    max_mhz: float
    mode_mhz: float
    throttle_c: float
    cores: int = _CORES
    competitor: float = 0.0
    ignored: bool = False


class Plant:
    """The model in time. Between two calls of :meth:`advance` all powers are constant, so the integrals are exact."""

    def __init__(self, options: Options, limits: Limits, now_s: float) -> None:
        self.options = options
        self.limits = limits
        self.clients: dict[object, Client] = {}
        self.now_s = now_s
        self.energy_j = dict.fromkeys(RAILS, 0.0)
        self._index = 0
        self._throttled = len(STEPS_MHZ) - 1
        self._throttle_next_s = now_s
        self.temperature_c = options.ambient_c
        self.temperature_c = steady_c(self.state, options)

    @property
    def mhz(self) -> float:
        return STEPS_MHZ[self._index]

    @property
    def load(self) -> float:
        own = min(1.0, sum(client.load(self.mhz) for client in self.clients.values()))
        return self.limits.competitor + (1 - self.limits.competitor) * own

    @property
    def slowdown(self) -> float:
        """By how much an inference takes longer than alone on the GPU."""
        return max(1, len(self.clients)) / (1 - self.limits.competitor)

    @property
    def withheld(self) -> int:
        """How many steps heat takes from the clock."""
        return len(STEPS_MHZ) - 1 - self._throttled

    @property
    def state(self) -> State:
        return State(
            mhz=self.mhz,
            load=self.load,
            temperature_c=self.temperature_c,
            cores=self.limits.cores,
            host_busy=bool(self.clients),
        )

    def advance(self, now_s: float) -> None:
        """Let time pass, with everything as it is."""
        elapsed_s = max(0.0, now_s - self.now_s)
        watts = rails_w(self.state, self.options)
        for rail in RAILS:
            self.energy_j[rail] += watts[rail] * elapsed_s
        final_c = self.options.ambient_c + self.options.thermal_resistance_c_per_w * watts[TOTAL]
        self.temperature_c = final_c + (self.temperature_c - final_c) * math.exp(-elapsed_s / self.options.thermal_s)
        self.now_s = now_s

    def govern(self) -> None:
        """Choose the clock: the highest step that is allowed under load, the lowest when idle, one step at a time."""
        self._throttle()
        limits = self.limits
        ceiling = min(limits.mode_mhz, STEPS_MHZ[-1] if limits.ignored else limits.max_mhz) * _BESIDE
        high = min(_highest(ceiling), self._throttled)
        low = 0 if limits.ignored else min(_lowest(limits.min_mhz), high)
        wanted = high if self.load > 0 else low
        moved = self._index + (wanted > self._index) - (wanted < self._index)
        self._index = min(max(moved, low), high)

    def _throttle(self) -> None:
        if self.now_s < self._throttle_next_s:
            return
        self._throttle_next_s = self.now_s + _THROTTLE_EVERY_S
        if self.temperature_c > self.limits.throttle_c:
            self._throttled = max(0, min(self._throttled, self._index) - 1)
        elif self.temperature_c < self.limits.throttle_c - _COOLED_BY_C:
            self._throttled = min(len(STEPS_MHZ) - 1, self._throttled + 1)


def _highest(mhz: float) -> int:
    """The highest step that is not above; the lowest of all where all are."""
    return max((index for index, step in enumerate(STEPS_MHZ) if step <= mhz), default=0)


def _lowest(mhz: float) -> int:
    """The lowest step that is not below; the highest of all where all are."""
    return next((index for index, step in enumerate(STEPS_MHZ) if step >= mhz), len(STEPS_MHZ) - 1)
