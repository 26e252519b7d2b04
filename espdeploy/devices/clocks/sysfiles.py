"""Small files under /sys that are written: one value each, with errors that say what would permit it."""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from espdeploy.devices.files import int_of, text_of
from espdeploy.errors import EspdeployError, MissingCapability, ToolFailed

_FORBIDDEN = (errno.EACCES, errno.EPERM)
#: devfreq and cpufreq keep limits in kHz: what is read may differ from what was written by less than one
_HZ_PER_KHZ = 1_000


@dataclass(frozen=True, kw_only=True)
class Range:
    """A clock's lower and upper limit: two files of one folder."""

    folder: Path
    low_name: str = "min_freq"
    high_name: str = "max_freq"

    @property
    def low(self) -> Path:
        """The file of the lower limit."""
        return self.folder / self.low_name

    @property
    def high(self) -> Path:
        """The file of the upper limit."""
        return self.folder / self.high_name

    def order_from(self, high_now: int | None, *, low: int, high: int) -> tuple[tuple[Path, int], tuple[Path, int]]:
        """The two writes in the order that never asks for a lower limit above the upper one, which kernels refuse."""
        writes = ((self.high, high), (self.low, low))
        return writes if high_now is None or high >= high_now else writes[::-1]

    def write(self, low: int, high: int) -> None:
        """Set both limits, in Hz or kHz as the files have them.

        Raises:
            MissingCapability: it is not permitted.
            ToolFailed: the kernel refuses.
        """
        for path, value in self.order_from(int_of(self.high), low=low, high=high):
            write(path, str(value), beside=(self.low, self.high))

    def check(self, low: int, high: int) -> None:
        """Read both limits back.

        Raises:
            ToolFailed: one is not what it should be.
        """
        for path, value in ((self.low, low), (self.high, high)):
            found = int_of(path)
            if found is None or abs(found - value) >= _HZ_PER_KHZ:
                raise ToolFailed(
                    f"{path} reads {'nothing' if found is None else found} where {value} was written",
                    why="the device is too hot for it, or another program sets the clocks too",
                    do="let it cool, stop what else sets clocks (jetson_clocks, jtop, a service), and repeat",
                )


def write(path: Path, text: str, *, beside: Sequence[Path] = ()) -> None:
    """Write ``text`` to one file; ``beside`` are those that will be written too, for the advice.

    Raises:
        MissingCapability: it is not permitted, or the file is not there.
        ToolFailed: the kernel refuses.
    """
    try:
        with path.open("w", encoding="ascii") as stream:
            stream.write(f"{text}\n")
    except OSError as error:
        raise _refused(path, text, error, beside or (path,)) from error


def may_write(path: Path) -> bool:
    """Whether this process may write the file, asked without opening it."""
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def permission_advice(paths: Sequence[Path]) -> str:
    """What lets this process write the files: root in a container needs other things than a user does."""
    if os.geteuid() == 0:
        return "root is not enough: start the container with --privileged, so that /sys may be written"
    return f"sudo chmod a+w {shlex.join(str(path) for path in paths)}"


def shown(root: Path, path: Path) -> str:
    """The path as the machine at ``root`` has it."""
    return f"/{path.relative_to(root)}"


def snapshot(root: Path, paths: Sequence[Path]) -> dict[str, str]:
    """What the files hold, those left out that are absent or empty."""
    found = {shown(root, path): text_of(path) for path in paths}
    return {path: text for path, text in found.items() if text is not None}


def _refused(path: Path, text: str, error: OSError, beside: Sequence[Path]) -> EspdeployError:
    what = f"cannot write {text} to {path}: {error.strerror or error}"
    if error.errno in _FORBIDDEN:
        return MissingCapability(what, do=permission_advice(beside))
    if error.errno == errno.EROFS:
        return MissingCapability(what, do="start the container with --privileged, so that /sys may be written")
    if error.errno == errno.ENOENT:
        return MissingCapability(what, do="espdeploy doctor shows which clocks this machine has")
    return ToolFailed(what, why="the kernel refuses the value, or the device is not ready", do="espdeploy doctor")
