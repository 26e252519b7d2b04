"""The fields of a passport that do not decide whether an engine runs, but what its figures are worth here."""

from __future__ import annotations

from collections.abc import Iterator

from espdeploy import __version__
from espdeploy.artifacts import sha256_of
from espdeploy.pipeline.engine_files.engine_check import Effect, EngineCheck, Examined, compared
from espdeploy.pipeline.engine_files.passport import Passport

_SHA_CHARS = 12
#: a clock is the same when it is the same step: they lie tens of MHz apart
_SAME_CLOCK_MHZ = 1.0
_OTHER_KERNELS = "it runs; kernels were chosen there"


def checks(of: Examined, passport: Passport) -> Iterator[EngineCheck]:
    """The device, its processor or GPU, its software and clocks; then what the engine was made from."""
    yield _device(of, passport)
    if of.bound:
        yield compared("GPU", found=of.here.gpu, expected=passport.gpu, hint=_OTHER_KERNELS, effect="timings")
        yield from _l4t(of, passport)
        yield _clock(of, passport)
    yield _cpu(of, passport)
    yield compared(
        "espdeploy", found=__version__, expected=passport.espdeploy_version, hint="it runs as before", effect="harmless"
    )
    yield _onnx(of, passport)
    if passport.precision in ("int8", "mixed") or passport.calibration is not None:
        yield _calibration(passport)


def _device(of: Examined, passport: Passport) -> EngineCheck:
    profile, built_for = of.here.profile, of.here.profiles.get(passport.device)
    found = profile.name if profile is not None else "a board that no profile describes"
    if not of.bound or found == passport.device:
        return EngineCheck(name="device", status="ok", found=found, expected=passport.device)
    if profile is None or built_for is None:
        hint = f"engines/{passport.device}.toml is not here" if built_for is None else "espdeploy devices lists them"
        return EngineCheck(name="device", status="unknown", found=found, expected=passport.device, hint=hint)
    alike = profile.kind == built_for.kind
    return EngineCheck(
        name="device",
        status="differs",
        found=found,
        expected=passport.device,
        hint=_OTHER_KERNELS if alike else f"another kind of machine: {of.rebuild}",
        effect="timings" if alike else "rebuild",
        required=not alike,
    )


def _cpu(of: Examined, passport: Passport) -> EngineCheck:
    if of.bound:
        hint = "it runs on the GPU"
    elif passport.precision == "fp32":
        hint = "it runs; build it here for the fastest way on this processor"
    else:
        hint = f"it runs, perhaps not in {passport.precision}: bench tells what really runs; or {of.rebuild}"
    found = of.here.machine.cpu_model
    effect: Effect = "harmless" if of.bound else "timings"
    return compared("CPU", found=found, expected=passport.cpu, hint=hint, effect=effect)


def _l4t(of: Examined, passport: Passport) -> Iterator[EngineCheck]:
    here = of.here.machine.l4t
    if here is None and passport.l4t is None and passport.jetpack is None:
        return
    check = compared("L4T", found=here, expected=passport.l4t, hint="it runs; drivers differ", effect="timings")
    if passport.jetpack is None:
        yield check
        return
    yield EngineCheck(
        name=check.name,
        status=check.status,
        found=check.found,
        expected=f"{check.expected} (JetPack {passport.jetpack})",
        hint=check.hint,
        effect=check.effect,
    )


def _clock(of: Examined, passport: Passport) -> EngineCheck:
    here, built = of.here.gpu_clock_mhz, passport.gpu_clock_mhz
    known = here is not None and built is not None
    differs = here is not None and built is not None and abs(here - built) > _SAME_CLOCK_MHZ
    return EngineCheck(
        name="GPU clock cap",
        status="differs" if differs else "ok" if known else "unknown",
        found="unknown" if here is None else f"{here:g} MHz",
        expected="not in the passport" if built is None else f"{built:g} MHz",
        hint="it runs; kernels were chosen at that clock" if differs else "",
        effect="timings" if differs else "",
    )


def _onnx(of: Examined, passport: Passport) -> EngineCheck:
    """The graph that it was made from; where that lies beside it, whether it is still the same."""
    expected = f"{passport.onnx}, SHA-256 {passport.onnx_sha256[:_SHA_CHARS]}…"
    beside = of.engine.with_name(passport.onnx.rpartition("/")[2])
    if not passport.onnx_sha256:
        return EngineCheck(name="ONNX", status="unknown", found="unknown", expected="not in the passport")
    if beside == of.engine or not beside.is_file():
        return EngineCheck(name="ONNX", status="ok", found="its hash is in the passport", expected=expected)
    same = sha256_of(beside) == passport.onnx_sha256
    return EngineCheck(
        name="ONNX",
        status="ok" if same else "differs",
        found=f"{beside.name} beside it, {'the same' if same else 'another'}",
        expected=expected,
        hint="" if same else f"the engine is of an older graph: {of.rebuild}",
        effect="" if same else "harmless",
    )


def _calibration(passport: Passport) -> EngineCheck:
    origin = passport.calibration
    if origin is None:
        hint = "nothing tells where its INT8 scales come from"
        return EngineCheck(name="calibration", status="unknown", found="none", expected="a table", hint=hint)
    expected = f"{origin.method}, {origin.images} images, SHA-256 {origin.sha256[:_SHA_CHARS]}…"
    if origin.random:
        hint = "performance only: calibrated on made-up data, so its answers mean nothing"
        return EngineCheck(name="calibration", status="differs", found="made up", expected=expected, hint=hint)
    return EngineCheck(name="calibration", status="ok", found="its hash is in the passport", expected=expected)
