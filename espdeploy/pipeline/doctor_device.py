"""What ``espdeploy doctor`` asks a device: its clocks, its sources of power, its profilers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from espdeploy.devices.clocks import check_clocks
from espdeploy.devices.detect import Machine
from espdeploy.devices.files import field_of
from espdeploy.monitors.sources import Unavailable
from espdeploy.pipeline.capability import with_gpu_present
from espdeploy.pipeline.measuring.sources import try_sources
from espdeploy.protocols import SystemClock
from espdeploy.recipes import device_profile
from espdeploy.specs import DeviceProfile

_PERIOD_S = 0.5
_NVPROF_UP_TO, _NCU_FROM = 7.2, 7.0
_COUNTERS = "proc/driver/nvidia/params"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at: ``ok``, what was found, and the next step where it is not well."""

    name: str
    ok: bool
    found: str
    hint: str = ""
    required: bool = False

    def document(self) -> dict[str, object]:
        """As ``doctor --json`` prints it."""
        return asdict(self)


def clocks(profile: DeviceProfile | None, machine: Machine, root: Path) -> Iterator[Check]:
    """Whether clocks and power mode can be read and set, where this is the device."""
    if profile is None or not _is_here(profile, machine):
        return
    for item in check_clocks(profile, root):
        found = item.found if item.state == "ok" else f"{item.state}: {item.found}"
        yield Check(name=item.name, ok=item.state == "ok", found=found, hint=item.hint)


def power_sources(profile: DeviceProfile | None, machine: Machine, root: Path) -> Iterator[Check]:
    """Each source of power that this machine can have, with one live reading; of another device nothing can be told."""
    of = profile or device_profile("cpu")
    if not _is_here(of, machine):
        return
    for name, found in try_sources(of, root=root, clock=SystemClock(), period_s=_PERIOD_S):
        label = f"power: {name}"
        if isinstance(found, Unavailable):
            yield Check(name=label, ok=False, found=found.reason, hint=found.do)
            continue
        try:
            told = getattr(found, "probe_text", None)
            rails = ", ".join(getattr(found, "rails", ()))
            yield Check(name=label, ok=True, found=told() if callable(told) else f"readable: {rails}")
        finally:
            close = getattr(found, "close", None)
            if callable(close):
                close()


def profilers(profile: DeviceProfile | None, root: Path) -> Iterator[Check]:
    """Which of NVIDIA's profilers fits the GPU, whether it is there, and whether it may read the counters."""
    if profile is None or profile.gpu is None:
        return
    capability = float(profile.gpu.compute_capability)
    for tool, fits in (("nvprof", capability <= _NVPROF_UP_TO), ("ncu", capability >= _NCU_FROM), ("nsys", True)):
        if not fits:
            continue
        path = shutil.which(tool)
        hint = "" if path else f"install it to use espdeploy profile --tool {tool}; parse reads its output without it"
        yield Check(name=f"profiler {tool}", ok=path is not None, found=path or "not on PATH", hint=hint)
    restricted = field_of(root / _COUNTERS, "RmProfilingAdminOnly", separator=":")
    if restricted == "1":
        yield Check(
            name="GPU counters",
            ok=False,
            found="for root alone (RmProfilingAdminOnly: 1)",
            hint="on the host: options nvidia NVreg_RestrictProfilingToAdminUsers=0 in /etc/modprobe.d, then reboot",
        )


def _is_here(profile: DeviceProfile, machine: Machine) -> bool:
    """Whether a profile is of this machine: only then do its sensors and clocks mean anything."""
    if profile.kind == "jetson":
        return machine.jetson is not None and machine.jetson.profile == profile.name
    if profile.kind == "desktop":
        return machine.jetson is None and with_gpu_present(profile, machine).gpu is not None
    return not machine.is_jetson
