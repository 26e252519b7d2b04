"""What NVIDIA's ``jetson_clocks`` says of the other clocks: processor, memory controller, fan. It is asked, never used.

It would set every clock and the fan to their highest in one stroke, and puts back only what its last ``--store`` kept:
the GPU alone is what a frequency sweep needs, and what espdeploy can put back by itself. Whether the others were held
or free belongs to the record all the same, for memory that follows the load moves the latency.

Source: outputs of ``jetson_clocks --show`` of L4T 24 to 36 (clocks of the processor in kHz, others in Hz).
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from espdeploy import shell

_SHOW_S = 20.0
_HZ_PER_MHZ = 1_000_000
_KHZ_PER_MHZ = 1_000
_FIELD = re.compile(r"(\w+)=(\S+)")
_CORE = re.compile(r"cpu\d+:")
_FAN = re.compile(r"(?:speed|pwm\d*)=(\d+)")


@dataclass(frozen=True, kw_only=True)
class HeldClock:
    """A clock's limits and where it stands; None: not told. ``held`` where it cannot move."""

    min_mhz: float | None
    max_mhz: float | None
    now_mhz: float | None
    held: bool


@dataclass(frozen=True, kw_only=True)
class OtherClocks:
    """The state that ``jetson_clocks --show`` prints; ``cpu`` holds the cores that are on, in order."""

    gpu: HeldClock | None
    emc: HeldClock | None
    cpu: tuple[HeldClock, ...]
    fan_pwm: int | None

    @property
    def cpu_held(self) -> bool:
        """Whether every core that is on has its clock held."""
        return bool(self.cpu) and all(core.held for core in self.cpu)


def read_show(text: str) -> OtherClocks | None:
    """Parse ``jetson_clocks --show``; None where it names neither GPU nor memory controller."""
    gpu: HeldClock | None = None
    emc: HeldClock | None = None
    cpu: list[HeldClock] = []
    fan_pwm: int | None = None
    for line in (line.strip() for line in text.splitlines()):
        fields = dict(_FIELD.findall(line))
        if line.startswith("GPU "):
            gpu = _clock(fields, _HZ_PER_MHZ)
        elif line.startswith("EMC "):
            emc = _clock(fields, _HZ_PER_MHZ)
        elif _CORE.match(line) and fields.get("Online", "1") == "1":
            cpu.append(_clock(fields, _KHZ_PER_MHZ))
        elif line.lower().startswith("fan") and (fan := _FAN.search(line)) is not None:
            fan_pwm = int(fan[1])
    if gpu is None and emc is None:
        return None
    return OtherClocks(gpu=gpu, emc=emc, cpu=tuple(cpu), fan_pwm=fan_pwm)


def ask(root: Path) -> OtherClocks | None:
    """Ask the tool; None where it is absent, or needs root and does not answer without.

    Raises:
        ToolFailed: it does not end.
    """
    usual = root / "usr/bin/jetson_clocks"
    tool = shutil.which("jetson_clocks") or (str(usual) if usual.is_file() else None)
    if tool is None:
        return None
    return read_show(shell.run([tool, "--show"], timeout_s=_SHOW_S, check=False).stdout)


def _clock(fields: dict[str, str], per_mhz: int) -> HeldClock:
    values = {name: int(text) / per_mhz for name, text in fields.items() if text.isdecimal()}
    low, high = values.get("MinFreq"), values.get("MaxFreq")
    held = fields.get("FreqOverride") == "1" if "FreqOverride" in fields else low is not None and low == high
    return HeldClock(min_mhz=low, max_mhz=high, now_mhz=values.get("CurrentFreq"), held=held)
