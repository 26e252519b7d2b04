"""What this machine is: read from /proc, /sys and /etc, nothing changed and nothing guessed."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

from espdeploy.devices import board, gpus, processor
from espdeploy.devices.files import field_of, text_of
from espdeploy.devices.thermal import hottest_c
from espdeploy.errors import MissingCapability
from espdeploy.units import mb_from_bytes

_BYTES_PER_KB = 1024
_CONTAINER_MARKS = ("docker", "kubepods", "containerd", "lxc", "libpod")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Facts about a machine, its name on the network left out. None: absent, or it could not be told.

    ``cores_available`` is how many threads can run side by side (cores online, affinity, cgroup quota);
    ``gpus`` is empty where NVML sees none and None where it could not be asked.
    """

    arch: str | None
    cpu_model: str | None
    cores_online: int | None
    cores_available: int | None
    cpu_quota_cores: float | None
    cpu_governor: str | None
    memory_total_mb: float | None
    os: str | None
    kernel: str | None
    python: str
    board_model: str | None
    jetson: board.Jetson | None
    nvidia_driver: str | None
    gpus: tuple[gpus.Gpu, ...] | None
    in_container: bool
    hottest_c: float | None
    battery_present: bool | None
    on_battery: bool | None

    @property
    def is_jetson(self) -> bool:
        """Whether this is a Jetson."""
        return self.jetson is not None

    @property
    def l4t(self) -> str | None:
        """The Linux for Tegra release, for example ``32.7.1``."""
        return None if self.jetson is None else self.jetson.l4t


def detect(root: Path = Path("/")) -> Machine:
    """Look at the machine whose file system is at ``root``.

    Anywhere but at / only files are read: what the running kernel says of itself (affinity, NVML) is left out.
    """
    live = root == Path("/")
    jetson = board.jetson(root)
    online = processor.cores_online(root)
    quota_cores = processor.cpu_quota_cores(root)
    on_battery = _batteries_discharge(root)
    return Machine(
        arch=text_of(root / "proc/sys/kernel/arch") or (platform.machine() if live else None),
        cpu_model=processor.cpu_model(root),
        cores_online=online,
        cores_available=processor.cores_available(root, online=online, quota_cores=quota_cores),
        cpu_quota_cores=quota_cores,
        cpu_governor=processor.cpu_governor(root),
        memory_total_mb=memory_total_mb(root),
        os=field_of(root / "etc/os-release", "PRETTY_NAME", separator="="),
        kernel=text_of(root / "proc/sys/kernel/osrelease"),
        python=platform.python_version(),
        board_model=board.board_model(root),
        jetson=jetson,
        nvidia_driver=gpus.driver_version(root),
        gpus=gpus.by_nvml() if live and jetson is None and gpus.driver_is_there(root) else None,
        in_container=_in_container(root),
        hottest_c=hottest_c(root),
        battery_present=None if on_battery is None else len(on_battery) > 0,
        on_battery=any(on_battery) if on_battery else None,
    )


def profile_for(machine: Machine) -> str:
    """The name of the device profile that fits: a Jetson's own, ``desktop`` with an NVIDIA GPU, else ``cpu``.

    Raises:
        MissingCapability: it is a Jetson that no profile describes.
    """
    if machine.jetson is None:
        has_gpu = machine.nvidia_driver is not None if machine.gpus is None else len(machine.gpus) > 0
        return "desktop" if has_gpu else "cpu"
    if machine.jetson.profile is None:
        raise MissingCapability(
            f"no device profile fits this Jetson ({machine.jetson.model or 'it does not tell its model'})",
            do="name the nearest one with --device (espdeploy devices lists them)",
        )
    return machine.jetson.profile


def memory_total_mb(root: Path) -> float | None:
    """The memory that the kernel manages; None where it does not say."""
    words = (field_of(root / "proc/meminfo", "MemTotal", separator=":") or "").split()
    return mb_from_bytes(int(words[0]) * _BYTES_PER_KB) if words and words[0].isdigit() else None


def _in_container(root: Path) -> bool:
    if any((root / mark).exists() for mark in (".dockerenv", "run/.containerenv")):
        return True
    groups = text_of(root / "proc/1/cgroup") or ""
    return any(mark in groups for mark in _CONTAINER_MARKS)


def _batteries_discharge(root: Path) -> list[bool] | None:
    """For each battery of the machine (not of a mouse) whether it is being drained; None where /sys does not tell."""
    supplies = root / "sys/class/power_supply"
    if not supplies.is_dir():
        return None
    return [
        text_of(folder / "status") == "Discharging"
        for folder in sorted(supplies.iterdir())
        if text_of(folder / "type") == "Battery" and text_of(folder / "scope") != "Device"
    ]
