"""Putting back what was there: power mode first, for it sets the rest too, then cores, then each limit of a clock."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from espdeploy.devices.clocks import nvml, nvpmodel
from espdeploy.devices.clocks.sysfiles import Range, write
from espdeploy.devices.clocks.values import ClocksBefore, Mode, NotPutBack
from espdeploy.devices.files import int_of, text_of
from espdeploy.errors import EspdeployError, InternalError, MissingCapability, ToolFailed

#: lower and upper limit, which depend on each other
_PAIRS = (("min_freq", "max_freq"), ("scaling_min_freq", "scaling_max_freq"))


@dataclass(kw_only=True)
class Outcome:
    """What was put back, in words, and what could not be."""

    done: list[str] = field(default_factory=list)
    failed: list[NotPutBack] = field(default_factory=list)

    def error(self) -> EspdeployError:
        """All that failed as one error, with one command that repairs it by hand."""
        by_hand = "; ".join(dict.fromkeys(one.command for one in self.failed))
        lacking = all(isinstance(one.error, MissingCapability) for one in self.failed)
        return (MissingCapability if lacking else ToolFailed)(
            "the clocks are NOT as they were: " + "; ".join(one.error.what for one in self.failed),
            why="; ".join(dict.fromkeys(one.error.why for one in self.failed if one.error.why)),
            do=f"sudo sh -c {shlex.quote(by_hand)}",
        )


def put_back(before: ClocksBefore, root: Path, *, after_reboot: bool = False, library: nvml.Library = None) -> Outcome:
    """Put back all that differs from ``before``; a failure of one part keeps none of the others from being tried.

    Args:
        before: what was there.
        root: the machine's file system.
        after_reboot: /sys and NVML have started anew since, and only nvpmodel's mode stayed.
        library: nvidia-ml-py or its stand-in; None: the one that is installed.
    """
    outcome = Outcome()
    if before.power_mode is not None:
        _try(outcome, lambda: _put_back_mode(before.power_mode, root), nvpmodel.command(None, before.power_mode))
    if not after_reboot:
        for step in _file_steps(before, root):
            _try(outcome, step.act, step.command)
        if before.nvml_gpu is not None:
            gpu = before.nvml_gpu
            _try(outcome, lambda: _release(gpu, library), nvml.release_command(gpu))
    return outcome


@dataclass(frozen=True, kw_only=True)
class _Step:
    act: Callable[[], str | None]
    command: str


def _file_steps(before: ClocksBefore, root: Path) -> Iterator[_Step]:
    """Cores first, for the limits of one that is off are not there; then pairs of limits; then the rest."""
    left = {root / path.lstrip("/"): text for path, text in before.files.items()}
    for path in [path for path in left if path.name == "online"]:
        yield _one(path, left.pop(path))
    for low_name, high_name in _PAIRS:
        for folder in [path.parent for path in left if path.name == high_name]:
            limits = Range(folder=folder, low_name=low_name, high_name=high_name)
            low, high = left.get(limits.low, ""), left.get(limits.high, "")
            if low.isdecimal() and high.isdecimal():
                del left[limits.low], left[limits.high]
                yield _pair(limits, int(low), int(high))
    for path, text in left.items():
        yield _one(path, text)


def _one(path: Path, text: str) -> _Step:
    def act() -> str | None:
        found = text_of(path)
        if found == text:
            return None
        write(path, text)
        if (now := text_of(path)) != text:
            raise ToolFailed(f"{path} reads {now} where {text} was written back")
        return f"{path} {found} -> {text}"

    return _Step(act=act, command=_echo(path, text))


def _pair(limits: Range, low: int, high: int) -> _Step:
    def act() -> str | None:
        found = (int_of(limits.low), int_of(limits.high))
        if found == (low, high):
            return None
        limits.write(low, high)
        limits.check(low, high)
        return f"{limits.folder} {found[0]}..{found[1]} -> {low}..{high}"

    # without knowing where the limits stand, one order may be refused: the first write is then repeated
    writes = (_echo(limits.high, str(high)), _echo(limits.low, str(low)), _echo(limits.high, str(high)))
    return _Step(act=act, command="; ".join(writes))


def _echo(path: Path, text: str) -> str:
    return f"echo {text} > {shlex.quote(str(path))}"


def _put_back_mode(mode: Mode | None, root: Path) -> str | None:
    tool = nvpmodel.find_tool(root)
    if mode is None or tool is None:
        raise MissingCapability("nvpmodel is no longer there to put the power mode back")
    nvpmodel.wait_for_others(tool)
    now = nvpmodel.active(tool)
    if now is not None and now.id == mode.id:
        return None
    nvpmodel.set_mode(tool, mode)
    return f"power mode {now or 'unknown'} -> {mode}"


def _release(gpu: str, library: nvml.Library) -> str:
    with nvml.opened(library or nvml.installed_library(), gpu) as found:
        found.release()
    return f"the clock of {gpu} floats again"


def _try(outcome: Outcome, act: Callable[[], str | None], command: str) -> None:
    try:
        said = act()
    except EspdeployError as error:
        outcome.failed.append(NotPutBack(error=error, command=command))
    except Exception as error:  # whatever it is, the other parts are still put back, and it is told
        outcome.failed.append(NotPutBack(error=InternalError(f"{type(error).__name__}: {error}"), command=command))
    else:
        outcome.done += [said] if said else []
