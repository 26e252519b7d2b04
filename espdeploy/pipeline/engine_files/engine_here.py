"""What this machine has that an engine's passport is held against."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from espdeploy import lazy
from espdeploy.backends.registry import RUNTIMES
from espdeploy.backends.trtexec.find import find
from espdeploy.backends.trtexec.tool import dotted
from espdeploy.devices.detect import Machine, detect, profile_for
from espdeploy.devices.files import int_of
from espdeploy.errors import EspdeployError, MissingCapability
from espdeploy.pipeline.capability import with_gpu_present
from espdeploy.recipes import device_profiles
from espdeploy.specs import DeviceProfile

_HZ_PER_MHZ = 1_000_000
#: runtimes that are Python packages: the module, and the extra that brings it
_PACKAGES = {
    **{name: (package, extra) for name, (_, _, package, extra) in RUNTIMES.items()},
    "tensorrt": ("tensorrt", "tensorrt"),
    "tensorrt-rtx": ("tensorrt_rtx", "rtx"),
}


@dataclass(frozen=True, kw_only=True)
class Installed:
    """A runtime on this machine: its version, or None with what is wrong and what to do."""

    version: str | None
    wrong: str = ""
    do: str = ""


@dataclass(frozen=True, kw_only=True)
class Here:
    """This machine. ``profile`` is the device that it is; None where no profile fits.

    ``gpu_clock_mhz`` is the highest clock that the GPU is allowed now.
    """

    machine: Machine
    profile: DeviceProfile | None
    profiles: dict[str, DeviceProfile]
    gpu: str | None
    compute_capability: str | None
    gpu_clock_mhz: float | None


def look(root: Path = Path("/")) -> Here:
    """Look at the machine whose file system is at ``root``."""
    machine = detect(root)
    profiles = device_profiles()
    try:
        profile = profiles.get(profile_for(machine))
    except MissingCapability:  # a Jetson that no profile describes
        profile = None
    if profile is not None:
        profile = with_gpu_present(profile, machine)
    facts = None if profile is None else profile.gpu
    return Here(
        machine=machine,
        profile=profile,
        profiles=profiles,
        gpu=None if facts is None else facts.name,
        compute_capability=None if facts is None else facts.compute_capability,
        gpu_clock_mhz=_gpu_clock_mhz(machine, profile, root),
    )


def installed(runtime: str) -> Installed:
    """The runtime's version, found out by loading it or asking it: what is installed may still not work."""
    try:
        if runtime == "trtexec":
            return Installed(version=dotted(find().version))
        if runtime not in _PACKAGES:
            return Installed(
                version=None,
                wrong=f"this espdeploy knows no runtime {runtime}",
                do="pip install --upgrade espdeploy, or build the engine again",
            )
        module, extra = _PACKAGES[runtime]
        package = lazy.require(module, extra=extra)
    except EspdeployError as error:
        return Installed(version=None, wrong=error.what, do=error.do)
    return Installed(version=str(package.__version__).partition("-")[0])


def _gpu_clock_mhz(machine: Machine, profile: DeviceProfile | None, root: Path) -> float | None:
    """The cap that the kernel's devfreq has for a Jetson's GPU; elsewhere the highest that NVML tells of."""
    if machine.gpus:
        return machine.gpus[0].sm_clock_max_mhz
    if profile is None or profile.gpu is None or not machine.is_jetson:
        return None
    caps = (int_of(root / path.lstrip("/") / "max_freq") for path in profile.gpu.frequency_paths)
    return next((cap / _HZ_PER_MHZ for cap in caps if cap), None)
