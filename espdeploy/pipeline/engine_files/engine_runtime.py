"""Whether an engine can run here at all: the file, its runtime and release, and the GPU that it was built for."""

from __future__ import annotations

from collections.abc import Iterator

from espdeploy import units
from espdeploy.devices.abilities import capability_of
from espdeploy.pipeline.engine_files.engine_check import EngineCheck, Examined
from espdeploy.pipeline.engine_files.engine_file import TENSORRT_RTX
from espdeploy.pipeline.engine_files.engine_here import Installed, installed

_SHA_CHARS = 12
_PLAIN_RUNTIMES = ("onnxruntime", "openvino")
#: what TensorRT-RTX builds for where it is told nothing: compute capability 8.0 and newer
_RTX_DEFAULT_FROM = (8, 0)
_RTX_NEWEST_KNOWN = (12, 1)


def checks(of: Examined, sha256: str) -> Iterator[EngineCheck]:
    """What decides whether the engine runs.

    Args:
        of: the engine; where it has a passport, that is of this very file.
        sha256: of the engine.
    """
    size_mb = units.mb_from_bytes(of.engine.stat().st_size)
    known = of.passport is not None
    yield EngineCheck(
        name="file",
        status="ok" if known else "unknown",
        found=f"{size_mb:.2f} MB, SHA-256 {sha256[:_SHA_CHARS]}…",
        expected=f"SHA-256 {sha256[:_SHA_CHARS]}…" if known else "not known without a passport",
    )
    yield _passport(of)
    runtime = _runtime(of)
    here = installed(runtime)
    yield EngineCheck(
        name="runtime",
        status="ok" if here.version is not None else "differs",
        found=runtime if here.version is not None else here.wrong,
        expected=runtime if known else "any that reads it",
        hint=here.do,
        required=True,
    )
    yield from _version(of, runtime, here)
    if of.bound:
        yield _compute_capability(of)


def same_release(one: str, other: str) -> bool:
    """Whether two version texts mean one release; a build number that only one of them has does not count."""
    parts, others = (text.partition("+")[0].split(".") for text in (one, other))
    length = min(len(parts), len(others))
    return parts[:length] == others[:length]


def _passport(of: Examined) -> EngineCheck:
    if of.passport is not None:
        found = f"of {of.passport.built}"
        return EngineCheck(name="passport", status="ok", found=found, expected="of this file", required=True)
    if not of.bound:
        hint = "a plain ONNX file: bench and eval take it as it is"
        return EngineCheck(name="passport", status="unknown", found="none", expected="none", hint=hint)
    tells = of.file.version is not None
    hint = "what its own header tells stands below" if tells else "nothing tells what it was built for"
    return EngineCheck(
        name="passport",
        status="unknown",
        found="none",
        expected="beside the engine",
        hint=f"{hint}; {of.rebuild} writes one",
        effect="harmless" if tells else "rebuild",
        required=not tells,
    )


def _runtime(of: Examined) -> str:
    if of.passport is not None:
        return of.passport.runtime
    if of.bound:
        return of.file.kind
    return next((name for name in _PLAIN_RUNTIMES if installed(name).version is not None), _PLAIN_RUNTIMES[0])


def _version(of: Examined, runtime: str, here: Installed) -> Iterator[EngineCheck]:
    """The release: TensorRT reads engines of its own release alone, other runtimes read any ONNX file."""
    passport = of.passport
    built_by = of.file.version if passport is None else passport.tensorrt_version or passport.runtime_version
    if built_by is None or here.version is None:
        return
    same = same_release(built_by, here.version)
    hint = f"engines of TensorRT run in the release that built them alone: {of.rebuild}"
    yield EngineCheck(
        name=f"{runtime} release",
        status="ok" if same else "differs",
        found=here.version,
        expected=built_by,
        hint="" if same else hint if of.bound else "it runs; another release has other kernels",
        effect="" if same else "rebuild" if of.bound else "timings",
        required=of.bound,
    )


def _compute_capability(of: Examined) -> EngineCheck:
    targets, here = _targets(of), of.here.compute_capability
    told = ", ".join(targets) if targets else "not in the passport"
    if of.file.kind == TENSORRT_RTX and not targets:
        told = "8.0 and newer (TensorRT-RTX's own choice)"
    elif not targets and of.passport is not None and of.passport.gpu is not None:
        told = f"that of {of.passport.gpu}"
    if here is None:
        return _no_gpu(of, told)
    fits = _fits(of, here, targets)
    return EngineCheck(
        name="compute capability",
        status="unknown" if fits is None else "ok" if fits else "differs",
        found=here,
        expected=told,
        hint="" if fits else f"an engine holds code for its own kind of GPU: {of.rebuild}",
        effect="" if fits else "rebuild",
        required=True,
    )


def _targets(of: Examined) -> tuple[str, ...]:
    """What it was built for: by its own header, by its passport, or by the board that it was built on."""
    if of.file.targets or of.passport is None:
        return of.file.targets
    if of.passport.compute_capability is not None:
        return tuple(part.strip() for part in of.passport.compute_capability.split(","))
    profile = of.here.profiles.get(of.passport.device)
    board = profile.gpu if profile is not None and profile.kind == "jetson" else None
    return (board.compute_capability,) if board is not None else ()


def _fits(of: Examined, here: str, targets: tuple[str, ...]) -> bool | None:
    """None: nobody can say."""
    if here in targets or (not targets and of.passport is not None and of.passport.gpu == of.here.gpu is not None):
        return True
    capability = capability_of(here)
    if of.file.kind == TENSORRT_RTX and capability is not None and (not targets or "8.0" in targets):
        # the default set reaches beyond the GPUs that this release of espdeploy knows
        return None if capability > _RTX_NEWEST_KNOWN else not targets and capability >= _RTX_DEFAULT_FROM
    return False if targets else None


def _no_gpu(of: Examined, told: str) -> EngineCheck:
    driver = of.here.machine.nvidia_driver
    on = of.passport.device if of.passport is not None else "a machine with such a GPU"
    return EngineCheck(
        name="compute capability",
        status="differs" if driver is None else "unknown",
        found="no NVIDIA GPU" if driver is None else "a GPU that cannot be asked",
        expected=told,
        hint=f"run it on {on}" if driver is None else 'pip install "espdeploy[nvml]", then ask again',
        required=True,
    )
