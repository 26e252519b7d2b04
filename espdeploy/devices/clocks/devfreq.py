"""A Jetson's GPU clock, as the kernel's devfreq shows it: a list of steps in Hz, and a lower and an upper limit.

Sources: the kernel's ABI for /sys/class/devfreq (``available_frequencies``, ``min_freq``, ``max_freq``, ``cur_freq``,
``governor``); NVIDIA's developer guide for Linux for Tegra, which fixes the clock by setting both limits to one step.
The governor stays: between equal limits it has nothing to choose.
"""

from __future__ import annotations

import re
from pathlib import Path

from espdeploy.devices.clocks.sysfiles import Range, snapshot
from espdeploy.devices.clocks.values import ClocksBefore
from espdeploy.devices.files import int_of, text_of
from espdeploy.protocols import Clock
from espdeploy.specs import DeviceProfile

_HZ_PER_MHZ = 1_000_000
#: folders of GPUs among those of memory, video and other engines: by address and chip up to JetPack 6, by name on Thor
_GPU_FOLDER = re.compile(r"gpu-gpc-\d+|[0-9a-f]{6,}\.(gpu|gm20b|gp10b|gv11b|ga10b|gb10b)")
#: what resets a limit a moment later (a service, a thermal governor) is found out after this time
_SETTLE_S = 0.05


class DevfreqGpu:
    """The GPU's folder under /sys, read and written."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.folder = folder
        self._clock = clock
        self.range = Range(folder=folder)
        self._hz_by_mhz = {hz / _HZ_PER_MHZ: hz for hz in read_steps(text_of(folder / "available_frequencies") or "")}

    @property
    def steps_mhz(self) -> tuple[float, ...]:
        """The board's own list, ascending; empty where it shows none."""
        return tuple(sorted(self._hz_by_mhz))

    @property
    def highest_allowed_mhz(self) -> float | None:
        """The upper limit as it stands."""
        hz = int_of(self.range.high)
        return None if not hz else hz / _HZ_PER_MHZ

    def before(self, root: Path) -> ClocksBefore:
        """What a change here may alter, as it is now."""
        return ClocksBefore(files=snapshot(root, (self.range.low, self.range.high, self.folder / "governor")))

    def now_mhz(self) -> float | None:
        """The clock at this moment; None where the GPU is switched off or does not tell."""
        hz = int_of(self.folder / "cur_freq")
        return None if not hz else hz / _HZ_PER_MHZ

    def hz(self, step_mhz: float) -> int:
        """A step in the files' unit."""
        return self._hz_by_mhz.get(step_mhz, round(step_mhz * _HZ_PER_MHZ))

    def lock(self, step_mhz: float) -> None:
        """Hold the clock at one step; read back at once and again a moment later.

        Raises:
            MissingCapability: it is not permitted.
            ToolFailed: the kernel refuses, or the limits do not stay.
        """
        hz = self.hz(step_mhz)
        self.range.write(hz, hz)
        self.range.check(hz, hz)
        self._clock.sleep_s(_SETTLE_S)
        self.range.check(hz, hz)


def read_steps(text: str) -> tuple[int, ...]:
    """The frequencies in Hz of an ``available_frequencies`` file, ascending; other words are passed over."""
    return tuple(sorted({int(word) for word in text.split() if word.isdecimal() and int(word) > 0}))


def find(profile: DeviceProfile, root: Path, clock: Clock) -> DevfreqGpu | None:
    """The GPU's folder: where the profile says, or else under /sys/class/devfreq; None where there is none."""
    named = profile.gpu.frequency_paths if profile.gpu else ()
    listed = (path for path in sorted((root / "sys/class/devfreq").glob("*")) if _GPU_FOLDER.fullmatch(path.name))
    for folder in (*(root / path.lstrip("/") for path in named), *listed):
        if (folder / "min_freq").is_file() and (folder / "max_freq").is_file():
            return DevfreqGpu(folder, clock)
    return None
