"""What would be done to the device's clocks, worked out without touching them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from espdeploy.devices.clocks import devfreq, limits, nvml, nvpmodel
from espdeploy.devices.clocks.session import clock_session
from espdeploy.devices.clocks.sysfiles import Range, shown
from espdeploy.devices.clocks.values import Frequency, GpuLock, PlannedStep
from espdeploy.protocols import SystemClock
from espdeploy.specs import DeviceProfile


def resolve_frequencies(
    profile: DeviceProfile,
    wanted: Sequence[Frequency],
    mode: str | None = None,
    *,
    root: Path = Path("/"),
    strict: bool = False,
    library: nvml.Library = None,
) -> tuple[GpuLock, ...]:
    """The steps that a request means on this device, ``all`` spelled out: to be asked before slow work begins.

    Args:
        profile: the device.
        wanted: as :func:`frequencies.parse_frequencies` gives it.
        mode: the power mode that will be set first; None: the one that is active.
        root: the machine's file system.
        strict: refuse what is no step of the board.
        library: nvidia-ml-py or its stand-in.

    Raises:
        UsageError: the device has no GPU clock or no such mode, the mode does not allow so much, two are the same step.
        MissingCapability: the steps are not known.
    """
    if not wanted:
        return ()
    limits.check_has_clock(profile)
    with clock_session(profile, root=root, journal=Path(), dry_run=True, library=library) as session:
        if mode is not None:
            session.set_power_mode(mode)
        return session.resolve_gpu(wanted, strict=strict)


def plan_steps(
    profile: DeviceProfile,
    wanted: Sequence[Frequency],
    mode: str | None = None,
    *,
    root: Path = Path("/"),
    strict: bool = False,
    library: nvml.Library = None,
) -> list[PlannedStep]:
    """Each change to the clocks that a request leads to, with the command that would do it by hand.

    That all is put back afterwards goes without saying here: the caller knows what comes in between.

    Raises:
        UsageError, MissingCapability: as :func:`resolve_frequencies`.
    """
    steps = []
    if mode is not None:
        modes = nvpmodel.modes_of(profile, root)
        limits.check_has_modes(profile, modes)
        chosen = modes.named(mode)
        command = nvpmodel.command(nvpmodel.find_tool(root), chosen)
        steps.append(PlannedStep(what=f"power mode {chosen}", command=command))
    locks = resolve_frequencies(profile, wanted, mode, root=root, strict=strict, library=library)
    commands = _nvml_commands(locks) if profile.kind == "desktop" else _devfreq_commands(profile, locks, root)
    steps += [PlannedStep(what=f"GPU clock: {lock.text}", command=command) for lock, command in commands]
    return steps


def _nvml_commands(locks: Sequence[GpuLock]) -> list[tuple[GpuLock, str]]:
    return [(lock, nvml.lock_command(lock.set_mhz)) for lock in locks]


def _devfreq_commands(profile: DeviceProfile, locks: Sequence[GpuLock], root: Path) -> list[tuple[GpuLock, str]]:
    """The two writes of each lock, in the order that follows from the one before."""
    gpu = devfreq.find(profile, root, SystemClock())
    folder = root / profile.gpu.frequency_paths[0].lstrip("/") if profile.gpu and profile.gpu.frequency_paths else root
    limit = gpu.range if gpu is not None else Range(folder=folder)
    high_now = gpu.hz(gpu.highest_allowed_mhz) if gpu is not None and gpu.highest_allowed_mhz is not None else None
    found = []
    for lock in locks:
        hz = gpu.hz(lock.set_mhz) if gpu is not None else round(lock.set_mhz * 1_000_000)
        writes = limit.order_from(high_now, low=hz, high=hz)
        found.append((lock, "; ".join(f"echo {value} > {shown(root, path)}" for path, value in writes)))
        high_now = hz
    return found
