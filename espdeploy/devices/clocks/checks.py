"""For ``espdeploy doctor``: what can be set on this device, looked at without setting anything."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from espdeploy.devices import processor
from espdeploy.devices.clocks import devfreq, limits, nvml, nvpmodel
from espdeploy.devices.clocks.sysfiles import may_write, permission_advice
from espdeploy.devices.clocks.values import ClockCheck, mhz_text
from espdeploy.errors import EspdeployError
from espdeploy.protocols import SystemClock
from espdeploy.specs import DeviceProfile

OK, MISSING, NOT_PERMITTED = "ok", "missing", "not permitted"
_AS_ROOT = 'sudo "$(command -v espdeploy)" … for --power-mode; in a container, start it --privileged'


def check_clocks(profile: DeviceProfile, root: Path = Path("/"), *, library: nvml.Library = None) -> list[ClockCheck]:
    """Whether the GPU's clock and the power mode can be read and set; nothing for a device that has neither."""
    if profile.kind == "jetson":
        return [*_devfreq(profile, root), _power_mode(profile, root)]
    if profile.kind == "desktop":
        return [_nvml(library)]
    return []


def _devfreq(profile: DeviceProfile, root: Path) -> Iterator[ClockCheck]:
    gpu = devfreq.find(profile, root, SystemClock())
    if gpu is None:
        places = ", ".join(profile.gpu.frequency_paths) if profile.gpu else "/sys/class/devfreq"
        yield ClockCheck(
            name="GPU clock",
            state=MISSING,
            found=f"no folder of it: {places}",
            hint=f"run on the {profile.name} itself; in a container, start it --privileged with -v /sys:/sys",
        )
        return
    now_mhz, steps = gpu.now_mhz(), gpu.steps_mhz
    reading = "off" if now_mhz is None else f"{mhz_text(now_mhz)} MHz now"
    listed = f"{len(steps)} steps, {mhz_text(steps[0])} to {mhz_text(steps[-1])} MHz" if steps else "no list of steps"
    hint = "" if steps else f"the profile's {len(profile.gpu.frequencies_mhz) if profile.gpu else 0} steps are used"
    found = f"{reading}; {listed}; {gpu.folder}"
    yield ClockCheck(name="GPU clock", state=OK if steps else MISSING, found=found, hint=hint)
    closed = [path for path in (gpu.range.low, gpu.range.high) if not may_write(path)]
    yield ClockCheck(
        name="setting the GPU clock",
        state=NOT_PERMITTED if closed else OK,
        found=f"{closed[0]} may not be written" if closed else "permitted",
        hint=permission_advice(closed) if closed else "",
    )


def _power_mode(profile: DeviceProfile, root: Path) -> ClockCheck:
    name = "power mode"
    tool = nvpmodel.find_tool(root)
    if tool is None:
        hint = "install JetPack's nvidia-l4t-nvpmodel; in a container, mount it and /etc/nvpmodel.conf"
        return ClockCheck(name=name, state=MISSING, found="nvpmodel is not on PATH", hint=hint)
    try:
        mode = nvpmodel.active(tool)
    except EspdeployError as error:
        return ClockCheck(name=name, state=MISSING, found=error.what, hint=error.do)
    if mode is None:
        return ClockCheck(name=name, state=MISSING, found="nvpmodel -q names no mode", hint=f"sudo {tool} -q")
    known = limits.mode_among(nvpmodel.modes_of(profile, root).modes, mode) or mode
    up_to = f", GPU up to {mhz_text(known.gpu_max_mhz)} MHz" if known.gpu_max_mhz is not None else ""
    found = f"{mode}{up_to}, {processor.cores_online(root)} cores on"
    if not _may_set_mode(root):
        return ClockCheck(name=name, state=NOT_PERMITTED, found=f"{found}; setting needs root", hint=_AS_ROOT)
    return ClockCheck(name=name, state=OK, found=found)


def _may_set_mode(root: Path) -> bool:
    """nvpmodel keeps the mode in a file of root's (L4T 28 and newer): who may write that may set it."""
    status = root / "var/lib/nvpmodel/status"
    return may_write(status) if status.exists() else os.geteuid() == 0 or root != Path("/")


def _nvml(library: nvml.Library) -> ClockCheck:
    name = "setting the GPU clock"
    try:
        with nvml.opened(library or nvml.installed_library()) as gpu:
            now_mhz, steps = gpu.now_mhz(), gpu.steps_mhz
    except EspdeployError as error:
        return ClockCheck(name=name, state=MISSING, found=error.what, hint=error.do)
    if not steps:
        hint = "measure without --freq: the clock is then recorded and marked as floating"
        return ClockCheck(name=name, state=MISSING, found="NVML lists no clocks for this GPU", hint=hint)
    reading = "unknown" if now_mhz is None else f"{mhz_text(now_mhz)} MHz now"
    found = f"{reading}; {len(steps)} steps, {mhz_text(steps[0])} to {mhz_text(steps[-1])} MHz"
    if os.geteuid() != 0:
        as_root = 'sudo "$(command -v espdeploy)" … for --freq'
        return ClockCheck(name=name, state=NOT_PERMITTED, found=f"{found}; locking needs root", hint=as_root)
    return ClockCheck(name=name, state=OK, found=found)
