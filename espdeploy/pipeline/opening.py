"""From what the user named to a runner on this machine, with every impossible combination refused first."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from espdeploy.artifacts import sha256_of
from espdeploy.backends.registry import RUNTIMES, open_runner
from espdeploy.backends.source import FileSource
from espdeploy.devices.detect import Machine, detect, profile_for
from espdeploy.errors import InputFileError, MissingCapability, UsageError, nearest
from espdeploy.pipeline.passport import Passport, read_passport
from espdeploy.protocols import Runner
from espdeploy.specs import DeviceProfile, RunSpec

_KNOWN_PRECISIONS = ("fp32", "fp16", "bf16", "int8", "mixed")


def check_precision(profile: DeviceProfile, precision: str) -> None:
    """Refuse a precision that the device does not have, before any slow work.

    Raises:
        UsageError: no such precision.
        MissingCapability: the device has no hardware for it, or this release does not build it there.
    """
    if precision in profile.precisions:
        return
    if precision not in _KNOWN_PRECISIONS:
        raise UsageError(f'unknown precision "{precision}"', why=nearest(precision, _KNOWN_PRECISIONS))
    why = profile.refused_precisions.get(precision, f"{profile.name} has {', '.join(profile.precisions)}")
    raise MissingCapability(
        f"{precision} is not to be had on {profile.name}", why=why, do=f"--precision {profile.precisions[-1]}"
    )


def choose_runtime(profile: DeviceProfile, wanted: str | None) -> str:
    """The runtime that was asked for, or the device's first.

    Raises:
        UsageError: the device is not run through that runtime.
        MissingCapability: this release has no such runtime for the device.
    """
    runtime = profile.runtimes[0] if wanted is None else wanted
    if runtime not in profile.runtimes:
        raise UsageError(f'{profile.name} is not run through "{runtime}"', why=nearest(runtime, profile.runtimes))
    if runtime not in RUNTIMES:
        raise MissingCapability(
            f"this release of espdeploy does not run {runtime} yet", do="--device cpu, or a newer release"
        )
    return runtime


def check_is_here(profile: DeviceProfile) -> Machine:
    """This machine, where it is the device that was named.

    Raises:
        MissingCapability: it is another one; nothing is measured under a wrong name.
    """
    machine = detect()
    if profile.kind == "cpu":
        return machine
    found = profile_for(machine)
    if found != profile.name:
        model = machine.board_model or machine.cpu_model or "an unknown machine"
        raise MissingCapability(
            f"this machine is not a {profile.name} ({profile.description})",
            why=f"found here: {model}, which is --device {found}",
            do=f"run the command on the {profile.name}, or choose --device {found}",
        )
    return machine


def available_threads() -> int:
    """Threads that can run side by side here: cores online, narrowed by affinity and by a container's quota."""
    return detect().cores_available or os.cpu_count() or 1


def open_file(
    path: Path, profile: DeviceProfile, *, runtime: str | None, precision: str, threads: int | None
) -> tuple[Runner, Passport | None]:
    """A runner, not yet entered, for an engine or an ONNX file, and the engine's passport where it has one.

    Raises:
        InputFileError: the file is missing, damaged, or not what its passport says.
        UsageError, MissingCapability: as :func:`choose_runtime` and :func:`check_precision`.
    """
    if not path.exists():
        raise InputFileError(
            f"{path} does not exist",
            do=f"check the path, or make it: espdeploy export --model NAME -o {shlex.quote(str(path))}",
        )
    passport = read_passport(path)
    if passport is not None and passport.sha256 != sha256_of(path):
        raise InputFileError(
            f"{path} is not the engine that its passport describes",
            why="its content changed after it was built",
            do=f"build it again (espdeploy build F.onnx -o {shlex.quote(str(path))})",
        )
    check_precision(profile, precision)
    chosen = choose_runtime(profile, passport.runtime if runtime is None and passport else runtime)
    spec = RunSpec(runtime=chosen, precision=precision, threads=threads or available_threads())
    return open_runner(FileSource(path=path), spec), passport
