"""A desktop GPU's clock, locked through NVML as ``nvidia-smi --lock-gpu-clocks`` does.

Source: NVML's API reference: ``nvmlDeviceSetGpuLockedClocks`` (root only, Volta and newer; a reboot or a reload of the
driver ends the lock), ``nvmlDeviceResetGpuLockedClocks``, ``nvmlDeviceGetSupportedGraphicsClocks`` for the steps at a
memory clock, ``nvmlDeviceGetCurrentClocksEventReasons`` for what holds the clock down. There is no question that
tells which lock is set: one that the user set before is not known, and ends with ours.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from espdeploy import lazy
from espdeploy.devices.clocks.values import ClocksBefore, mhz_text
from espdeploy.errors import EspdeployError, MissingCapability, ToolFailed

#: nvidia-ml-py, or what stands in for it
Library = Any

#: bits of NVML's clocks event reasons (nvml.h), the plain state of an idle GPU left out
_REASONS = (
    (0x002, "clocks set by an application or a lock"),
    (0x004, "power cap (software)"),
    (0x008, "slowdown by hardware (heat or power brake)"),
    (0x010, "sync boost with another GPU"),
    (0x020, "heat (software)"),
    (0x040, "heat (hardware)"),
    (0x080, "power brake by hardware"),
    (0x100, "clocks of the display"),
)


class NvmlGpu:
    """One GPU behind NVML, from :func:`opened`."""

    def __init__(self, library: Library, handle: object) -> None:
        self._library = library
        self._handle = handle

    @property
    def uuid(self) -> str:
        """NVML's name for this very GPU, the same at every start."""
        found = self._asked(self._library.nvmlDeviceGetUUID)
        return found.decode() if isinstance(found, bytes) else str(found)

    @property
    def steps_mhz(self) -> tuple[float, ...]:
        """The clocks that the GPU supports at its highest memory clock, ascending; empty where it does not tell."""
        library = self._library
        try:
            memory_mhz = max(library.nvmlDeviceGetSupportedMemoryClocks(self._handle))
            found = library.nvmlDeviceGetSupportedGraphicsClocks(self._handle, memory_mhz)
        except (library.NVMLError, ValueError):  # a mobile GPU, or an empty list
            return ()
        return tuple(sorted({float(mhz) for mhz in found}))

    def before(self, _root: Path) -> ClocksBefore:
        """Which GPU it is: its lock, where it had one, cannot be asked for."""
        return ClocksBefore(files={}, nvml_gpu=self.uuid)

    def now_mhz(self) -> float | None:
        """The SM clock at this moment; None where NVML does not tell."""
        with contextlib.suppress(self._library.NVMLError):
            return float(self._library.nvmlDeviceGetClockInfo(self._handle, self._library.NVML_CLOCK_SM))
        return None

    def throttle_reasons(self) -> tuple[str, ...] | None:
        """What holds the clock where it is, in words; empty where nothing does, None where NVML does not tell."""
        library = self._library
        for question in ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"):
            with contextlib.suppress(library.NVMLError, AttributeError):  # the second is the name in older releases
                bits = int(getattr(library, question)(self._handle))
                return tuple(words for bit, words in _REASONS if bits & bit)
        return None

    def lock(self, step_mhz: float) -> None:
        """Hold the clock at one step; under load it may still be lower, which the telemetry tells.

        Raises:
            MissingCapability: root is needed, or this GPU's clock cannot be locked.
            ToolFailed: NVML refuses.
        """
        self._asked(self._library.nvmlDeviceSetGpuLockedClocks, round(step_mhz), round(step_mhz))

    def release(self) -> None:
        """Let the clock float again.

        Raises:
            MissingCapability, ToolFailed: as :meth:`lock`.
        """
        self._asked(self._library.nvmlDeviceResetGpuLockedClocks)

    def _asked(self, question: Callable[..., object], *about: object) -> object:
        try:
            return question(self._handle, *about)
        except self._library.NVMLError as error:
            raise _refused(self._library, question.__name__, error) from error


def installed_library() -> Library:
    """nvidia-ml-py.

    Raises:
        MissingCapability: it is not installed.
    """
    return lazy.require("pynvml", extra="nvml")


@contextlib.contextmanager
def opened(library: Library, gpu: int | str = 0) -> Iterator[NvmlGpu]:
    """NVML for the length of the block, and the GPU with this index or UUID in it.

    It stays open as long as the lock shall hold: without the persistence daemon it goes with the driver's last user.

    Raises:
        MissingCapability: there is no driver, or no such GPU.
    """
    try:
        library.nvmlInit()
    except library.NVMLError as error:
        raise MissingCapability(
            f"NVIDIA's management library does not start: {error}", do="install NVIDIA's driver; nvidia-smi tests it"
        ) from error
    try:
        yield NvmlGpu(library, _handle(library, gpu))
    finally:
        with contextlib.suppress(library.NVMLError):
            library.nvmlShutdown()


def lock_command(step_mhz: float) -> str:
    """What locks the first GPU by hand."""
    return f"nvidia-smi -i 0 --lock-gpu-clocks={mhz_text(round(step_mhz))},{mhz_text(round(step_mhz))}"


def release_command(gpu: str = "0") -> str:
    """What ends the lock by hand."""
    return f"nvidia-smi -i {gpu} --reset-gpu-clocks"


def _handle(library: Library, gpu: int | str) -> object:
    try:
        if isinstance(gpu, str):
            return library.nvmlDeviceGetHandleByUUID(gpu)
        return library.nvmlDeviceGetHandleByIndex(gpu)
    except library.NVMLError as error:
        raise MissingCapability(f"NVML knows no GPU {gpu}: {error}", do="nvidia-smi -L lists the GPUs") from error


def _refused(library: Library, question: str, error: Exception) -> EspdeployError:
    code = getattr(error, "value", None)
    if code == library.NVML_ERROR_NO_PERMISSION:
        as_root = 'the same command as root: sudo "$(command -v espdeploy)" …'
        return MissingCapability(
            "only root may lock the GPU's clock",
            do="start the container with --cap-add=SYS_ADMIN" if os.geteuid() == 0 else as_root,
        )
    if code == library.NVML_ERROR_NOT_SUPPORTED:
        return MissingCapability(
            "the clock of this GPU cannot be locked",
            why="NVML does so on desktop and server GPUs from Volta on, not on mobile and older ones",
            do="measure without --freq: the clock is then recorded and marked as floating",
        )
    return ToolFailed(f"{question} failed: {error}", do="nvidia-smi -q -d CLOCK shows the GPU's state")
