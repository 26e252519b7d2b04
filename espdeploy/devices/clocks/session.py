"""Clocks set for the length of a block, and put back on every way out of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from espdeploy.devices import processor
from espdeploy.devices.clocks import devfreq, frequencies, jetson_clocks, limits, nvml, nvpmodel
from espdeploy.devices.clocks.devfreq import DevfreqGpu
from espdeploy.devices.clocks.frequencies import Table
from espdeploy.devices.clocks.journal import Journal
from espdeploy.devices.clocks.keeper import Keeper
from espdeploy.devices.clocks.nvml import NvmlGpu
from espdeploy.devices.clocks.sysfiles import snapshot
from espdeploy.devices.clocks.values import ClocksBefore, Frequency, GpuLock, Mode, PowerModeSet
from espdeploy.errors import MissingCapability
from espdeploy.protocols import Clock, SystemClock
from espdeploy.specs import DeviceProfile


class ClockSession:
    """What :func:`clock_session` gives: set, read, and forget about putting back."""

    def __init__(
        self, profile: DeviceProfile, *, root: Path, gpu: DevfreqGpu | NvmlGpu | None, keeper: Keeper | None
    ) -> None:
        self._profile = profile
        self._root = root
        self._gpu = gpu
        self._keeper = keeper  # None: nothing is changed (a dry run, or a device without clocks)
        self._modes = nvpmodel.modes_of(profile, root)
        self._mode: Mode | None = None
        self._highest_mhz = gpu.highest_allowed_mhz if isinstance(gpu, DevfreqGpu) else None

    @property
    def steps_mhz(self) -> tuple[float, ...]:
        """The GPU's steps, ascending, by the board's own list or else the profile's; empty where none is known."""
        if self._gpu is not None and self._gpu.steps_mhz:
            return self._gpu.steps_mhz
        return self._profile.gpu.frequencies_mhz if self._profile.gpu else ()

    def set_power_mode(self, named: str) -> PowerModeSet:
        """Make a power mode the active one, by name in any case or by number; nothing is done where it is already.

        A lock of the GPU's clock does not outlast it: set the mode first.

        Raises:
            UsageError: the device has no modes, or none of that name.
            MissingCapability: nvpmodel is not there, or needs root or a reboot.
            ToolFailed: nvpmodel failed, or the mode is another afterwards.
        """
        limits.check_has_modes(self._profile, self._modes)
        mode = self._modes.named(named)
        if self._keeper is not None:
            tool = self._nvpmodel()
            now = nvpmodel.active(tool)
            if now is None or now.id != mode.id:
                self._keeper.remember(self._before_mode(_told(now, tool)))
                with self._keeper.gate.held():  # half a power mode is none
                    nvpmodel.set_mode(tool, mode)
                self._highest_mhz = self._gpu.highest_allowed_mhz if isinstance(self._gpu, DevfreqGpu) else None
        elif (active := self._active()) is None or active.id != mode.id:
            self._highest_mhz = None  # what that mode would leave is not known
        self._mode = mode
        cores = processor.cores_online(self._root) if self._keeper is not None else None
        return PowerModeSet(id=mode.id, name=mode.name, cores_online=cores)

    def check_gpu(self, requested_mhz: float, *, strict: bool = False) -> GpuLock:
        """The step that :meth:`lock_gpu` would take; nothing is changed.

        Raises:
            UsageError, MissingCapability: as :meth:`lock_gpu`, but for permissions.
        """
        return frequencies.choose(requested_mhz, self.table(), strict=strict)

    def resolve_gpu(self, wanted: Sequence[Frequency], *, strict: bool = False) -> tuple[GpuLock, ...]:
        """The steps that a request means, ``all`` as those that the power mode allows; nothing is changed.

        Raises:
            UsageError, MissingCapability: as :meth:`check_gpu`; two that are asked for are the same step.
        """
        return frequencies.resolve(wanted, self.table(), strict=strict)

    def lock_gpu(self, requested_mhz: float, *, strict: bool = False) -> GpuLock:
        """Hold the GPU's clock at the step nearest to ``requested_mhz``.

        Args:
            requested_mhz: what was asked for.
            strict: refuse what is no step of the board instead of taking the nearest.

        Raises:
            UsageError: the device has no GPU clock, the power mode does not allow so much, or ``strict`` refuses.
            MissingCapability: it is not permitted, or the clock is not there to be set.
            ToolFailed: it was written and did not stay.
        """
        lock = self.check_gpu(requested_mhz, strict=strict)
        if self._keeper is not None:
            if self._gpu is None:
                raise _no_clock(self._profile)
            self._keeper.remember(self._gpu.before(self._root))
            self._gpu.lock(lock.set_mhz)
        return lock

    def table(self) -> Table:
        """The steps, and what limits them in the power mode that is active or was set.

        Raises:
            UsageError: the device has no GPU clock.
        """
        limits.check_has_clock(self._profile)
        if self._profile.kind == "desktop":
            return Table(steps_mhz=self.steps_mhz)
        return limits.table_of(
            self._profile,
            self._gpu if isinstance(self._gpu, DevfreqGpu) else None,
            modes=self._modes,
            mode=self._active(),
            highest_allowed_mhz=self._highest_mhz,
        )

    def gpu_mhz(self) -> float | None:
        """The GPU's clock at this moment; None where it is not told, as of one that is switched off."""
        return None if self._gpu is None else self._gpu.now_mhz()

    def power_mode(self) -> Mode | None:
        """The power mode that is active, with its limit where that is known; None where there is none to be told."""
        mode = self._active()
        return limits.mode_among(self._modes.modes, mode) or mode

    def throttle_reasons(self) -> tuple[str, ...] | None:
        """What holds a desktop GPU's clock down now, in words; None where nothing tells."""
        return self._gpu.throttle_reasons() if isinstance(self._gpu, NvmlGpu) else None

    def other_clocks(self) -> jetson_clocks.OtherClocks | None:
        """The clocks that espdeploy leaves alone, by jetson_clocks; None on other devices, and where it needs root.

        Raises:
            ToolFailed: the tool does not end.
        """
        return jetson_clocks.ask(self._root) if self._profile.kind == "jetson" else None

    def _active(self) -> Mode | None:
        if self._mode is None and self._profile.kind == "jetson":
            tool = nvpmodel.find_tool(self._root)
            self._mode = nvpmodel.active(tool) if tool is not None else None
        return self._mode

    def _nvpmodel(self) -> Path:
        tool = nvpmodel.find_tool(self._root)
        if tool is None:
            raise MissingCapability(
                "nvpmodel is not on this machine",
                do="install JetPack's nvidia-l4t-nvpmodel; in a container, mount it with /etc/nvpmodel.conf",
            )
        return tool

    def _before_mode(self, now: Mode) -> ClocksBefore:
        """All that a power mode may alter: besides the GPU's clock which cores run, and how fast, and the memory."""
        cores = self._root / "sys/devices/system/cpu"
        paths = sorted(cores.glob("cpu[0-9]*/online"))
        for name in ("scaling_min_freq", "scaling_max_freq"):
            paths += sorted(cores.glob(f"cpu[0-9]*/cpufreq/{name}"))
        if self._profile.emc is not None:
            paths += [self._root / path.lstrip("/") for path in self._profile.emc.cap_paths]
        gpu = self._gpu.before(self._root).files if self._gpu is not None else {}
        return ClocksBefore(files={**snapshot(self._root, paths), **gpu}, power_mode=now)


@contextlib.contextmanager
def clock_session(
    profile: DeviceProfile,
    *,
    root: Path = Path("/"),
    journal: Path,
    dry_run: bool = False,
    clock: Clock | None = None,
    library: nvml.Library = None,
) -> Iterator[ClockSession]:
    """Be the only espdeploy that sets this machine's clocks, and leave them as they were found.

    What is there is written to the journal before the first change, and put back when the block ends: normally, by an
    exception, by Ctrl-C, SIGTERM or SIGHUP, which become exceptions in the main thread. ``recover`` does
    so after a SIGKILL or a power cut.

    Args:
        profile: the device.
        root: the machine's file system.
        journal: the folder of the journal.
        dry_run: answer as the device would, and change nothing.
        clock: waits until a clock has settled.
        library: nvidia-ml-py or its stand-in; None: the one that is installed.

    Raises:
        MissingCapability: another espdeploy holds the clocks, the journal cannot be written, or NVML does not start.
        ToolFailed: what was there cannot be put back; the error has the command that does.
        InputFileError: a journal is there and damaged.
    """
    with contextlib.ExitStack() as stack:
        gpu = _gpu_of(profile, root=root, stack=stack, clock=clock or SystemClock(), library=library)
        if dry_run or profile.kind == "cpu":
            yield ClockSession(profile, root=root, gpu=gpu, keeper=None)
            return
        device = gpu.folder if isinstance(gpu, DevfreqGpu) else root / "proc/driver/nvidia/version"
        keeper = Keeper(Journal(journal, root), root=root, device=device, library=library)
        try:
            try:
                keeper.gate.install()
                keeper.begin()
                yield ClockSession(profile, root=root, gpu=gpu, keeper=keeper)
            finally:  # a signal that comes here raises inside the outer block, and no other does after it
                keeper.gate.shut()
        except BaseException as error:
            keeper.end(error)
            raise
        else:
            keeper.end(None)


def _gpu_of(
    profile: DeviceProfile, *, root: Path, stack: contextlib.ExitStack, clock: Clock, library: nvml.Library
) -> DevfreqGpu | NvmlGpu | None:
    """The GPU whose clock can be set here; None where there is none."""
    if profile.kind == "jetson":
        return devfreq.find(profile, root, clock)
    if profile.kind == "desktop":
        with contextlib.suppress(MissingCapability):
            return stack.enter_context(nvml.opened(library or nvml.installed_library()))
    return None


def _told(now: Mode | None, tool: Path) -> Mode:
    """The mode that is active, without which none could be put back."""
    if now is None:
        raise MissingCapability(
            "nvpmodel does not tell which power mode is active, so it could not be put back",
            do=f"sudo {tool} -q shows why; measure without --power-mode",
        )
    return now


def _no_clock(profile: DeviceProfile) -> MissingCapability:
    if profile.kind == "desktop":
        return MissingCapability(
            "NVML shows no GPU whose clock could be locked",
            do='install NVIDIA\'s driver and pip install "espdeploy[nvml]"; nvidia-smi -L tests it',
        )
    places = ", ".join(profile.gpu.frequency_paths) if profile.gpu else ""
    return MissingCapability(
        "the GPU's clock is not under /sys here",
        why=f"looked for {places or 'its folder'} and in /sys/class/devfreq",
        do=f"run on the {profile.name} itself; in a container, start it --privileged with -v /sys:/sys",
    )
