"""What a device's GPU clock may be set to: the board's own steps and limits, or the profile's without a board."""

from __future__ import annotations

from collections.abc import Sequence

from espdeploy.devices.clocks.devfreq import DevfreqGpu
from espdeploy.devices.clocks.frequencies import Limit, Table
from espdeploy.devices.clocks.nvpmodel import Modes
from espdeploy.devices.clocks.values import Mode
from espdeploy.errors import UsageError
from espdeploy.specs import DeviceProfile


def check_has_clock(profile: DeviceProfile) -> None:
    """Refuse a device without a GPU.

    Raises:
        UsageError: it has none whose clock could be set.
    """
    if profile.kind != "desktop" and profile.gpu is None:
        raise UsageError(f"{profile.name} has no GPU clock to set", do="leave --freq away, or name a device with a GPU")


def check_has_modes(profile: DeviceProfile, modes: Modes) -> None:
    """Refuse a device without power modes.

    Raises:
        UsageError: it has none.
    """
    if profile.kind != "jetson" or not modes.modes:
        raise UsageError(f"{profile.name} has no power modes", do="leave --power-mode away")


def table_of(
    profile: DeviceProfile,
    gpu: DevfreqGpu | None,
    *,
    modes: Modes,
    mode: Mode | None,
    highest_allowed_mhz: float | None,
) -> Table:
    """The steps of a Jetson with what limits them.

    Args:
        profile: the device; its list of steps serves where the board shows none.
        gpu: the board's GPU; None where there is no board here.
        modes: the power modes.
        mode: the one that is active or will be; None: not known.
        highest_allowed_mhz: devfreq's upper limit as the power mode left it; None: not known, or of another mode.
    """
    steps = gpu.steps_mhz if gpu is not None else ()
    steps = steps or (profile.gpu.frequencies_mhz if profile.gpu else ())
    limits = []
    known = mode_among(modes.modes, mode)
    if known is not None and known.gpu_max_mhz is not None:
        limits.append(Limit(mhz=known.gpu_max_mhz, by=f"power mode {known}"))
    if gpu is not None and highest_allowed_mhz is not None and steps:
        path = gpu.range.high
        lift = f"echo {gpu.hz(steps[-1])} | sudo tee {path}"
        allowed_by_mode = known is None or known.gpu_max_mhz is None or known.gpu_max_mhz > highest_allowed_mhz
        limits.append(Limit(mhz=highest_allowed_mhz, by=f"{path}", do=lift if allowed_by_mode else ""))
    others = tuple(one for one in modes.modes if known is None or one.id != known.id)
    return Table(steps_mhz=steps, limits=tuple(limits), modes=others)


def mode_among(modes: Sequence[Mode], mode: Mode | None) -> Mode | None:
    """The mode of that number and name with its limit; None for one that is not among them.

    Another name under the same number is another board's, or another release's, and its limit may differ.
    """
    if mode is None:
        return None
    return next((one for one in modes if one.id == mode.id and one.name.lower() == mode.name.lower()), None)
