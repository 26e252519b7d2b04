"""``espdeploy doctor``: what works on this machine, found out by trying, and what to do about the rest."""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from espdeploy import lazy, units
from espdeploy.backends.registry import RUNTIMES
from espdeploy.backends.trtexec.find import find
from espdeploy.devices.detect import Machine, detect, profile_for
from espdeploy.errors import EspdeployError, MissingCapability
from espdeploy.pipeline import doctor_device
from espdeploy.pipeline.capability import with_gpu_present
from espdeploy.pipeline.doctor_device import Check
from espdeploy.pipeline.engine_files.cache import engine_cache
from espdeploy.pipeline.machine import SYSTEM_ROOT, is_simulated, system_root
from espdeploy.recipes import device_profile
from espdeploy.specs import DeviceProfile

_LEAST_DISK_MB = 500
_LEAST_MEMORY_MB = 1000
_PYTHON_FLOOR = (3, 10)


def check_all(profile: DeviceProfile | None) -> list[Check]:
    """Every check that makes sense for the device; without one, for this machine."""
    root = system_root()
    machine = detect(root)
    wanted = profile or _own_profile(machine)
    return [
        *_machine(machine, profile),
        *_abilities(machine, wanted),
        *_export_packages(),
        *_runtimes(wanted, asked=profile is not None),
        *doctor_device.clocks(wanted, machine, root),
        *doctor_device.power_sources(wanted, machine, root),
        *doctor_device.profilers(wanted, root),
        *_room(machine),
    ]


def _own_profile(machine: Machine) -> DeviceProfile | None:
    """The profile of this machine; None for the processor alone, and for a Jetson that no profile describes."""
    try:
        name = profile_for(machine)
    except MissingCapability:
        return None
    return None if name == "cpu" else device_profile(name)


def _machine(machine: Machine, profile: DeviceProfile | None) -> Iterator[Check]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    new_enough = sys.version_info[:2] >= _PYTHON_FLOOR
    hint = "" if new_enough else "install Python 3.10 or newer"
    yield Check(name="Python", ok=new_enough, found=version, hint=hint, required=True)
    if is_simulated():
        place = f"simulated: {system_root()} stands for this machine's /sys and /proc"
        yield Check(name="machine", ok=False, found=place, hint=f"unset {SYSTEM_ROOT}")
    here = _named(machine)
    model = machine.board_model or machine.cpu_model or "unknown"
    if profile is None or profile.kind == "cpu":
        yield Check(name="device", ok=True, found=f"{here}: {model}, {machine.cores_online} cores")
    else:
        matches = here == profile.name
        hint = "" if matches else f"run espdeploy on the {profile.name} itself"
        yield Check(name="device", ok=matches, found=f"{here}: {model}", hint=hint, required=True)
    if machine.cpu_governor is not None:
        steady = machine.cpu_governor == "performance"
        hint = "" if steady else "sudo cpupower frequency-set -g performance (steadier times)"
        yield Check(name="CPU governor", ok=steady, found=machine.cpu_governor, hint=hint)


def _named(machine: Machine) -> str:
    try:
        return profile_for(machine)
    except MissingCapability:
        return "a Jetson that no profile describes"


def _abilities(machine: Machine, profile: DeviceProfile | None) -> Iterator[Check]:
    """What the device computes in, and which TensorRT it runs; of a desktop by the GPU that is present."""
    if profile is None or profile.kind == "cpu":
        return
    facts = with_gpu_present(profile, machine)
    if facts.gpu is None:
        hint = 'install NVIDIA\'s driver, and pip install "espdeploy[nvml]"'
        yield Check(name="GPU", ok=False, found="none that NVML tells of", hint=hint, required=True)
    else:
        found = f"{facts.gpu.name}, compute capability {facts.gpu.compute_capability}: {', '.join(facts.precisions)}"
        lacking = ", ".join(facts.refused_precisions)
        hint = f"why no {lacking}: espdeploy devices {profile.name}" if lacking else ""
        yield Check(name="GPU", ok=True, found=found, hint=hint)
    if facts.tensorrt is not None:
        gaps = "".join(f", without {gap}" for gap in facts.tensorrt.without)
        yield Check(name="TensorRT that fits", ok=True, found=f"{facts.tensorrt}{gaps}")


def _export_packages() -> Iterator[Check]:
    for package in ("torch", "onnx", "onnxscript", "onnxsim"):
        yield _package(package, extra="export", required=False)


def _runtimes(profile: DeviceProfile | None, *, asked: bool) -> Iterator[Check]:
    """One row for each package behind the device's runtimes; what its first one needs is required."""
    wanted = profile.runtimes if profile else ("onnxruntime", "openvino")
    told: set[str] = set()
    for index, runtime in enumerate(wanted):
        if runtime == "trtexec":
            yield _trtexec(required=index == 0 and asked)
        elif runtime in RUNTIMES and RUNTIMES[runtime][2] not in told:
            _, _, package, extra = RUNTIMES[runtime]
            told.add(package)
            yield _package(package, extra=extra, required=index == 0 and (asked or profile is None))


def _package(package: str, *, extra: str, required: bool) -> Check:
    name = f"package {package}"
    hint = f'pip install "espdeploy[{extra}]"'
    if not lazy.available(package.replace("-", "_")):
        return Check(name=name, ok=False, found="not installed", hint=hint, required=required)
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        version = "installed"
    return Check(name=name, ok=True, found=version, required=required)


def _trtexec(*, required: bool) -> Check:
    try:
        tool = find(root=system_root())
    except MissingCapability as error:
        return Check(name="trtexec", ok=False, found=error.what, hint=error.do, required=required)
    except EspdeployError as error:
        return Check(name="trtexec", ok=False, found=error.what, hint=error.do or error.why, required=required)
    return Check(name="trtexec", ok=True, found=f"{tool.label}: {tool.path}", required=required)


def _room(machine: Machine) -> Iterator[Check]:
    folder = next(place for place in (engine_cache(), *engine_cache().parents) if place.exists())
    writable = _can_write(folder)
    yield Check(
        name="engine cache",
        ok=writable,
        found=str(engine_cache()),
        hint="" if writable else "set ESPDEPLOY_CACHE to a folder that you may write",
        required=True,
    )
    free_mb = units.mb_from_bytes(shutil.disk_usage(folder).free)
    hint = "" if free_mb >= _LEAST_DISK_MB else f"make room: at least {_LEAST_DISK_MB} MB"
    yield Check(name="free disk", ok=not hint, found=f"{free_mb:,.0f} MB", hint=hint, required=True)
    if machine.memory_total_mb is not None:
        small = machine.memory_total_mb < _LEAST_MEMORY_MB
        hint = "choose a small --size" if small else ""
        yield Check(name="memory", ok=not small, found=f"{machine.memory_total_mb:,.0f} MB", hint=hint)
    temporary = tempfile.gettempdir()
    yield Check(name="temporary folder", ok=_can_write(Path(temporary)), found=temporary, required=True)


def _can_write(folder: Path) -> bool:
    """Found out by doing so: permissions alone do not tell of read-only and special file systems."""
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"espdeploy")
    except OSError:
        return False
    return True
