"""From what the user named to a runner on this machine, with every impossible combination refused first."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from espdeploy.artifacts import sha256_of
from espdeploy.backends import onnx_precision
from espdeploy.backends.registry import PRECISIONS, RUNTIMES, open_runner
from espdeploy.backends.source import FileSource, onnx_path
from espdeploy.backends.tensorrt.api import RTX, TENSORRT
from espdeploy.backends.tensorrt.engine_file import recognise
from espdeploy.backends.tensorrt.plan import EngineSource
from espdeploy.devices.detect import Machine, detect, profile_for
from espdeploy.errors import InputFileError, MissingCapability, UsageError, nearest
from espdeploy.pipeline import capability
from espdeploy.pipeline.engine_files.cache import engine_cache
from espdeploy.pipeline.engine_files.passport import Passport, passport_path, read_passport
from espdeploy.pipeline.machine import system_root
from espdeploy.protocols import Runner
from espdeploy.specs import DeviceProfile, RunSpec

_STEM_CHARS, _SHA_CHARS = 100, 16


def check_precision(profile: DeviceProfile, precision: str) -> None:
    """Refuse a precision that the device does not have, before any slow work.

    Raises:
        UsageError: no such precision.
        MissingCapability: the device has no hardware for it, or this release does not build it there.
    """
    capability.check(profile, precision=precision)


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A runner, not yet entered, with the precision that it runs at and the passport of what it runs."""

    runner: Runner
    precision: str
    passport: Passport | None


def choose_runtime(profile: DeviceProfile, wanted: str | None, precision: str = "fp32") -> str:
    """The runtime that was asked for, or the device's first that runs engines of that precision.

    Raises:
        UsageError: the device is not run through that runtime.
        MissingCapability: this release has no such runtime for the device.
    """
    able = [name for name in profile.runtimes if precision in PRECISIONS.get(name, ())]
    runtime = wanted or (able or list(profile.runtimes))[0]
    if runtime not in profile.runtimes:
        raise UsageError(f'{profile.name} is not run through "{runtime}"', why=nearest(runtime, profile.runtimes))
    if runtime not in RUNTIMES:
        raise MissingCapability(
            f"this release of espdeploy does not run {runtime} yet", do="--device cpu, or a newer release"
        )
    return runtime


def check_is_here(profile: DeviceProfile) -> Machine:
    """This machine (or its stand-in, :mod:`espdeploy.pipeline.machine`), where it is the device that was named.

    Raises:
        MissingCapability: it is another one; nothing is measured under a wrong name.
    """
    machine = detect(system_root())
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
    path: Path,
    profile: DeviceProfile,
    *,
    runtime: str | None,
    precision: str | None,
    threads: int | None,
    cuda_graph: bool = True,
) -> Opened:
    """An engine or an ONNX file, ready to be entered.

    Args:
        path: the file; its passport, if it has one, lies beside it.
        profile: the device that it is to run on.
        runtime: what to open it in; None: what its passport names, else the device's first that can.
        precision: what the user asked for; None: what the passport says, else what the graph is written for.
        threads: CPU threads; None: all that this process may use.
        cuda_graph: launch the whole network as one CUDA graph, where it runs on a GPU.

    Raises:
        InputFileError: the file is missing, damaged, or not what its passport says.
        UsageError: the precision that was asked for is not the one it was built at, or as :func:`choose_runtime`.
        MissingCapability: as :func:`choose_runtime` and :func:`check_precision`.
    """
    chosen_precision, passport = examine(path, profile, precision)
    named = passport.runtime if runtime is None and passport else runtime
    chosen = choose_runtime(profile, named, chosen_precision)
    spec = RunSpec(
        runtime=chosen, precision=chosen_precision, threads=threads or available_threads(), cuda_graph=cuda_graph
    )
    source = _source(path, passport, chosen)
    return Opened(runner=open_runner(source, spec), precision=chosen_precision, passport=passport)


def _source(path: Path, passport: Passport | None, runtime: str) -> FileSource:
    """The file, and for engines of TensorRT what they do not carry themselves."""
    if runtime not in (TENSORRT, RTX):
        return FileSource(path=path)
    kernels = kernels_path(path, passport.sha256 if passport else sha256_of(path)) if runtime == RTX else None
    return EngineSource(path=path, card=passport.card if passport else None, kernels=kernels)


def kernels_path(engine: Path, sha256: str) -> Path:
    """Where the kernels are kept that TensorRT-RTX compiles for an engine on this machine: in the engine cache, beside
    the engine where that is there too."""
    folder = engine_cache()
    beside = engine.absolute().parent == folder.absolute()
    name = engine.name if beside else f"{engine.stem[:_STEM_CHARS]}.{sha256[:_SHA_CHARS]}.engine"
    return folder / f"{name}.kernels"


def examine(path: Path, profile: DeviceProfile, precision: str | None) -> tuple[str, Passport | None]:
    """The precision that a file runs at on a device, and its passport, after everything that can be checked unopened.

    Raises:
        InputFileError, UsageError, MissingCapability: as :func:`open_file`, but for the runtime.
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
    if passport is not None and passport.device != profile.name and passport.runtime not in profile.runtimes:
        raise UsageError(
            f"{path} was built for {passport.device}, and {profile.name} does not run {passport.runtime}",
            do=f"--device {passport.device}",
        )
    if passport is None:
        _refuse_unknown_engine(path)
    chosen = _precision_of(path, precision, passport)
    check_precision(profile, chosen)
    return chosen, passport


def _refuse_unknown_engine(path: Path) -> None:
    """An engine that nobody vouches for: what it computes in, and of what, is not known, so its figures mean nothing.

    Raises:
        InputFileError: it is an engine of TensorRT.
    """
    found = recognise(path)
    if found.kind not in ("onnx", "unknown", "empty"):
        raise InputFileError(
            f"{path} is an engine of TensorRT without its passport ({passport_path(path).name})",
            why=f"which network, precision and device it was built of is not known; {found.note}".rstrip("; "),
            do="build it with espdeploy build, or put the passport beside it",
        )


def _precision_of(path: Path, wanted: str | None, passport: Passport | None) -> str:
    """What an engine is opened at. A floating-point graph can run at bf16, for that is the runtime's own choice.

    Raises:
        UsageError: the file was made for another precision than the one that is asked for.
    """
    if wanted not in (None, *capability.PRECISIONS):
        raise UsageError(f'unknown precision "{wanted}"', why=nearest(str(wanted), capability.PRECISIONS))
    own = passport.precision if passport else declared_precision(path)
    if wanted in (None, own) or (passport is None and own == "fp32" and wanted == "bf16"):
        return wanted or own
    made = "was built at" if passport else "is written for"
    raise UsageError(
        f"{path} {made} {own}, and --precision {wanted} cannot change that",
        do=f"leave --precision away, or espdeploy build F.onnx --precision {wanted}",
    )


def declared_precision(path: Path) -> str:
    """What a plain ONNX file is written for; what cannot be read is for the runtime to refuse."""
    onnx_path(FileSource(path=path), "espdeploy")
    try:
        return onnx_precision.declared(path) or "fp32"
    except Exception:  # protobuf's error class moves about between releases
        return "fp32"
