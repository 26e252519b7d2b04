"""The gate before slow work: what the device, its TensorRT or the GPU present cannot do is refused with a way on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NoReturn

from espdeploy.backends.trtexec.tool import LEVELS_FROM, dotted
from espdeploy.devices import abilities
from espdeploy.devices.abilities import Capability, capability_text
from espdeploy.devices.detect import Machine, detect
from espdeploy.devices.gpus import Gpu
from espdeploy.errors import MissingCapability, UsageError, nearest
from espdeploy.pipeline.machine import system_root
from espdeploy.specs import DeviceProfile, GpuFacts, PeakFacts, TensorRTFacts, VersionRange

Version = tuple[int, ...]

PRECISIONS = ("fp32", "fp16", "bf16", "int8", "mixed", "fp8")

#: what to build in place of a precision that is not to be had, the first that is
_INSTEAD = {"mixed": ("fp16", "fp32"), "int8": ("fp16", "fp32"), "fp8": ("int8", "fp16", "fp32")}
_INSTEAD_OF_OTHERS = ("fp16", "fp32")

#: the first TensorRT release whose ONNX parser takes a precision (onnx-tensorrt's change log, 9.0)
_PRECISION_SINCE = {"bf16": "9.0", "fp8": "9.0"}

#: the highest opset that TensorRT reads up to a release (onnx-tensorrt's operators.md of 8.2, 8.6 and 10.15; the opset
#: guide of TensorRT 11). A release in between reads no more than the next one here.
_OPSETS = (("8.2", 13), ("8.6", 17), ("10.15", 24), ("11.4", 25))

_LEVELS = range(6)
_TRANSFERS_PER_CLOCK = 2  # double data rate, in every memory of a GPU
_OPERATIONS_PER_CLOCK = 2  # a multiply-add on each core
_BITS_PER_BYTE = 8
_MEGA_PER_GIGA = 1_000


def check(
    profile: DeviceProfile,
    *,
    precision: str,
    opset: int | None = None,
    tensorrt: Version | None = None,
    dla: int | None = None,
    level: int | None = None,
    compute_capability: str | None = None,
) -> None:
    """Refuse what cannot be built for a device, from its facts alone and before any slow work.

    Args:
        profile: the device; for the GPU in this machine as :func:`with_gpu_present` gives it.
        precision: what the engine is to compute in.
        opset: of the ONNX file that is to be read.
        tensorrt: the release of TensorRT that builds, ``(8, 2, 1)``; None: not TensorRT, or not known yet.
        dla: the number of the accelerator core to build for; None: the GPU.
        level: of the builder's optimization; None: its own.
        compute_capability: what TensorRT-RTX is to build for, ``8.9``; None: another runtime, or its default.

    Raises:
        UsageError: no such precision, no opset, core or level of that number, a compute capability that is none.
        MissingCapability: the device, its TensorRT or TensorRT-RTX lacks what is asked for.
    """
    if precision not in PRECISIONS:
        raise UsageError(f'unknown precision "{precision}"', why=nearest(precision, PRECISIONS))
    if compute_capability is None:
        _check_precision(profile, precision)
    else:
        _check_target(profile, compute_capability, precision)
    if tensorrt is not None:
        _check_release(profile, tensorrt, precision)
    if opset is not None and opset < 1:
        raise UsageError(f"there is no opset {opset}", do="give 1 or more")
    if opset is not None:
        check_opset(profile, opset, tensorrt)
    if level is not None:
        _check_level(profile, level)
    if dla is not None:
        _check_dla(profile, dla, precision, tensorrt)


def resolved_profile(profile: DeviceProfile, machine: Machine | None = None) -> DeviceProfile:
    """The ``desktop`` profile with the facts of the first GPU that NVML sees here; any other profile as it is.

    What is checked afterwards knows the GPU then: precisions that its compute capability has no units for move to
    ``refused_precisions``. Without a GPU ``desktop`` stays what any such GPU may have.

    Args:
        profile: as its TOML describes it.
        machine: None for this one, which is looked at only where it matters.
    """
    return with_gpu_present(profile, machine or detect(system_root())) if profile.kind == "desktop" else profile


def with_gpu_present(profile: DeviceProfile, machine: Machine) -> DeviceProfile:
    """:func:`resolved_profile` of a machine that was looked at."""
    if profile.kind != "desktop" or not machine.gpus:
        return profile
    gpu = machine.gpus[0]
    capability = abilities.capability_of(gpu.compute_capability or "")
    if capability is None:
        return profile
    lacking = {name: why for name in PRECISIONS if (why := abilities.lacks(name, capability)) is not None}
    return dataclasses.replace(
        profile,
        precisions=tuple(name for name in profile.precisions if name not in lacking),
        refused_precisions={**profile.refused_precisions, **lacking},
        gpu=GpuFacts(
            name=gpu.name,
            compute_capability=capability_text(capability),
            cuda_cores=gpu.cuda_cores,
            memory_mb=gpu.memory_total_mb,
            memory_bus_bits=gpu.memory_bus_bits,
        ),
        peak=_peak(gpu),
    )


def opset_read(version: Version) -> int | None:
    """The highest ONNX opset that a release of TensorRT reads, or at most reads; None for one newer than all known."""
    return next((opset for release, opset in _OPSETS if _compare(version, release) <= 0), None)


def in_range(version: Version, versions: VersionRange) -> bool:
    """Whether a release lies in the range, each end compared with as many parts as it is written with."""
    return _compare(version, versions.oldest) >= 0 >= _compare(version, versions.newest)


def _check_precision(profile: DeviceProfile, precision: str) -> None:
    if precision not in profile.precisions:
        why = profile.refused_precisions.get(precision, f"{profile.name} has {', '.join(profile.precisions)}")
        _refuse_precision(profile, precision, why)


def _refuse_precision(
    profile: DeviceProfile, precision: str, why: str, capability: Capability | None = None
) -> NoReturn:
    instead = next(
        (
            name
            for name in _INSTEAD.get(precision, _INSTEAD_OF_OTHERS)
            if name != precision
            and name in profile.precisions
            and (capability is None or abilities.lacks(name, capability) is None)
        ),
        profile.precisions[0],
    )
    where = profile.name if capability is None else f"compute capability {capability_text(capability)}"
    raise MissingCapability(f"{precision} is not to be had on {where}", why=why, do=f"--precision {instead}")


def _check_target(profile: DeviceProfile, text: str, precision: str) -> None:
    """The compute capability that TensorRT-RTX is to build for; what the GPU present lacks does not matter then."""
    if "tensorrt-rtx" not in profile.runtimes:
        raise UsageError(
            f"--compute-capability {text} does not fit {profile.name}",
            why="TensorRT-RTX alone builds for GPUs other than the one present, and it does not run there",
            do="leave it away, or choose --device desktop",
        )
    capability = abilities.capability_of(text)
    known = ", ".join(capability_text(target) for target in abilities.RTX_TARGETS)
    if capability is None:
        raise UsageError(f'"{text}" is no compute capability', do=f"give one of {known}")
    if capability not in abilities.RTX_TARGETS:
        raise MissingCapability(
            f"TensorRT-RTX does not build for compute capability {text}",
            why=f"it builds for {known}",
            do=f"--compute-capability {_nearest_target(capability)}, or --runtime tensorrt on such a GPU",
        )
    why = abilities.lacks(precision, capability)
    if why is not None:
        _refuse_precision(profile, precision, why, capability)
    own = abilities.capability_of(profile.gpu.compute_capability) if profile.gpu else None
    if own is None or abilities.lacks(precision, own) is None:
        _check_precision(profile, precision)


def _nearest_target(capability: Capability) -> str:
    """The newest that is not newer, so that its engines have the best chance to run; else the oldest."""
    older = [target for target in abilities.RTX_TARGETS if target <= capability]
    return capability_text(older[-1] if older else abilities.RTX_TARGETS[0])


def _check_release(profile: DeviceProfile, version: Version, precision: str) -> None:
    named = _text(version)
    facts = profile.tensorrt
    if facts is None:
        raise UsageError(f"{profile.name} is not run through TensorRT", do="choose --device desktop or a Jetson's")
    if not in_range(version, facts) or any(in_range(version, gap) for gap in facts.without):
        raise MissingCapability(
            f"TensorRT {named} does not run on {profile.name}",
            why=_releases(profile, facts),
            do=_other_release(profile),
        )
    _check_kernels(profile, version)
    since = _PRECISION_SINCE.get(precision)
    if since is not None and _compare(version, since) < 0:
        why = f"TensorRT {named} reads no {precision} graphs; releases from {since} on do"
        _refuse_precision(profile, precision, why)


def _check_kernels(profile: DeviceProfile, version: Version) -> None:
    """GPUs that a release has no kernels for any more."""
    capability = abilities.capability_of(profile.gpu.compute_capability) if profile.gpu else None
    end = abilities.tensorrt_end(capability) if capability else None
    if profile.gpu is not None and end is not None and _compare(version, end) >= 0:
        raise MissingCapability(
            f"TensorRT {_text(version)} does not run on this GPU ({profile.gpu.name})",
            why=f"its compute capability is {profile.gpu.compute_capability}, which {end} and newer do not support",
            do=f"use a TensorRT older than {end}",
        )


def _releases(profile: DeviceProfile, facts: TensorRTFacts) -> str:
    gaps = "".join(f", without {gap}" for gap in facts.without)
    jetpack = f" (JetPack {profile.jetpack})" if profile.jetpack else ""
    return f"it runs TensorRT {facts}{gaps}{jetpack}"


def _other_release(profile: DeviceProfile) -> str:
    if profile.kind == "jetson":
        return "use the TensorRT that JetPack brought: /usr/src/tensorrt/bin/trtexec on the board"
    return f"install one of these; to try another, put its number into a copy of it: ./engines/{profile.name}.toml"


def check_opset(
    profile: DeviceProfile, opset: int, version: Version | None = None, *, file: Path | None = None, do: str = ""
) -> None:
    """Refuse an opset that a device cannot read.

    That is something the device lacks, as INT8 is on a GPU without it, and no contradiction in what was asked for: the
    same file builds on another device. So it ends with 3, wherever it is found out.

    Args:
        profile: the device.
        opset: of the ONNX file.
        version: the TensorRT that reads it; None: the newest that the device has.
        file: the graph that is of this opset, for the error.
        do: what mends it; else to export the network again.

    Raises:
        MissingCapability: the device's TensorRT does not read it.
    """
    if profile.tensorrt is None:
        return
    most, reader = profile.tensorrt.opset_max, f"TensorRT {profile.tensorrt.newest}, its newest,"
    read = opset_read(version) if version is not None else None
    if version is not None and read is not None and read <= most:
        most, reader = read, f"TensorRT {_text(version)}"
    if opset > most:
        raise MissingCapability(
            f"{profile.name} cannot read opset {opset}" + (f", which {file} is of" if file else ""),
            why=f"{reader} reads opsets up to {most}",
            do=do or f"export the network again with --opset {min(most, profile.opset)}",
        )


def _check_level(profile: DeviceProfile, level: int) -> None:
    """What a builder of a certain release makes of it is the builder's to say; this is known before one is found."""
    if level not in _LEVELS:
        raise UsageError(f"the optimization level {level} is none", do="choose 0 to 5")
    facts = profile.tensorrt
    if facts is not None and _version(facts.newest) < LEVELS_FROM:
        raise MissingCapability(
            f"{profile.name} has no optimization levels",
            why=f"they came with TensorRT {dotted(LEVELS_FROM)}, and it runs TensorRT {facts}",
            do="leave it away",
        )


def _check_dla(profile: DeviceProfile, core: int, precision: str, version: Version | None) -> None:
    if core < 0:
        raise UsageError(f"there is no DLA core {core}", do="give 0 or 1, or leave it away for the GPU")
    facts = profile.dla
    if facts is None:
        raise MissingCapability(f"{profile.name} has no DLA", do="leave the DLA core away: the GPU then does it all")
    if core >= facts.cores:
        raise MissingCapability(
            f"{profile.name} has no DLA core {core}", why=f"it has {facts.cores}", do=f"give 0 to {facts.cores - 1}"
        )
    if precision not in facts.precisions:
        raise MissingCapability(
            f"the DLA of {profile.name} does not compute in {precision}",
            why=f"it does {' and '.join(facts.precisions)}",
            do=f"--precision {facts.precisions[0]}, or leave the DLA core away",
        )
    if version is not None and not any(in_range(version, versions) for versions in facts.tensorrt):
        able = " and ".join(str(versions) for versions in facts.tensorrt)
        raise MissingCapability(
            f"TensorRT {_text(version)} does not build for the DLA of {profile.name}",
            why=f"releases {able} do",
            do="leave the DLA core away, or use such a release",
        )


def _peak(gpu: Gpu) -> PeakFacts:
    """What can be reckoned from what NVML tells; the rate of tensor cores it does not tell."""
    fp32 = None
    if gpu.cuda_cores is not None and gpu.sm_clock_max_mhz is not None:
        fp32 = gpu.cuda_cores * _OPERATIONS_PER_CLOCK * gpu.sm_clock_max_mhz / _MEGA_PER_GIGA
    dram = None
    if gpu.memory_clock_max_mhz is not None and gpu.memory_bus_bits is not None:
        bytes_per_clock = _TRANSFERS_PER_CLOCK * gpu.memory_bus_bits / _BITS_PER_BYTE
        dram = gpu.memory_clock_max_mhz * bytes_per_clock / _MEGA_PER_GIGA
    return PeakFacts(gpu_mhz=gpu.sm_clock_max_mhz, fp32_gflops=fp32, dram_gb_s=dram)


def _compare(version: Version, limit: str) -> int:
    """-1, 0 or 1, by as many parts as the limit has; parts that the version lacks count as 0."""
    parts = _version(limit)
    own = (version + (0,) * len(parts))[: len(parts)]
    return (own > parts) - (own < parts)


def _version(text: str) -> Version:
    return tuple(int(part) for part in text.split("."))


def _text(version: Version) -> str:
    return ".".join(str(part) for part in version)
