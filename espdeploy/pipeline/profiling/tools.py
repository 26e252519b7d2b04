"""Which profiler a GPU takes, and whether it is on this machine.

nvprof reads counters up to compute capability 7.2 and times up to 7.5, ncu begins at 7.0, and its newest releases at
7.5 (Nsight Compute release notes, "GPU support"; nvprof's own refusals). nsys records timelines of all.
"""

from __future__ import annotations

import shutil

from espdeploy.errors import MissingCapability, UsageError, nearest
from espdeploy.specs import DeviceProfile

NVPROF, NSYS, NCU, TRTEXEC = "nvprof", "nsys", "ncu", "trtexec"
TOOLS = (NSYS, NCU, NVPROF, TRTEXEC)
_LAST_OF_NVPROF = (7, 2)
_LAST_TIMED_BY_NVPROF = (7, 5)
_FIRST_OF_NCU = (7, 0)
_FIRST_OF_EVERY_NCU = (7, 5)
_HOW_TO_GET = {
    NVPROF: "install it with CUDA 11.8 or older (on JetPack 4: sudo apt install cuda-nvprof-10-2), and put "
    "/usr/local/cuda/bin on PATH",
    NSYS: "install nsight-systems (JetPack and CUDA bring it), and put it on PATH; or --tool trtexec for layers alone",
    NCU: "install nsight-compute (JetPack and CUDA bring it), and put it on PATH; or --tool nsys for times alone",
}


def choose(profile: DeviceProfile, wanted: str | None) -> str:
    """The tool that was asked for, or the one that reads counters of the device's GPU.

    Raises:
        UsageError: no such tool.
        MissingCapability: the device has no GPU, its GPU is not known, or the tool does not read it.
    """
    if wanted is not None and wanted not in TOOLS:
        raise UsageError(f"--tool {wanted}: no such tool", do=nearest(wanted, TOOLS))
    if profile.gpu is None:
        raise MissingCapability(
            f"{profile.name} has no GPU to profile",
            why=f"{', '.join(TOOLS)} are of NVIDIA's GPUs",
            do="name a device with one (--device desktop, tx2, …); espdeploy bench times a network on the processor",
        )
    if wanted == TRTEXEC:
        return wanted
    capability = _capability(profile)
    if wanted is None:
        return _best(capability, profile)
    _check(wanted, capability, profile)
    return wanted


def reads_counters(tool: str, profile: DeviceProfile) -> bool:
    """Whether the tool counts anything on the device's GPU, beside taking times."""
    capability = _capability(profile)
    return tool == NCU or (tool == NVPROF and (capability is None or capability <= _LAST_OF_NVPROF))


def check_installed(tool: str) -> str:
    """Where the tool is.

    Raises:
        MissingCapability: it is not on PATH; says how to get it.
    """
    path = shutil.which(tool)
    if path is None:
        raise MissingCapability(f"{tool} is not on this machine", why="PATH does not hold it", do=_HOW_TO_GET[tool])
    return path


def _best(capability: tuple[int, int] | None, profile: DeviceProfile) -> str:
    if capability is None:
        raise MissingCapability(
            f"which GPU {profile.name} has is not known here",
            why="the profiler is chosen by its compute capability, and NVML sees no GPU",
            do="say which: --tool nvprof up to compute capability 7.2, --tool ncu from 7.5 on",
        )
    if capability >= _FIRST_OF_EVERY_NCU:
        return NCU
    both = capability >= _FIRST_OF_NCU
    return NCU if both and shutil.which(NVPROF) is None and shutil.which(NCU) is not None else NVPROF


def _check(tool: str, capability: tuple[int, int] | None, profile: DeviceProfile) -> None:
    """Refuse what the tool would refuse only after a long run, or would run without a result."""
    if capability is None:
        return
    told = f"{profile.name} has compute capability {capability[0]}.{capability[1]}"
    if tool == NVPROF and capability > _LAST_TIMED_BY_NVPROF:
        raise MissingCapability(
            f"nvprof does not read this GPU: {told}", why="it ends at 7.5", do="--tool ncu, or --tool nsys for times"
        )
    if tool == NCU and capability < _FIRST_OF_NCU:
        raise MissingCapability(f"ncu does not read this GPU: {told}", why="it begins at 7.0", do="--tool nvprof")


def _capability(profile: DeviceProfile) -> tuple[int, int] | None:
    text = profile.gpu.compute_capability if profile.gpu is not None else ""
    major, dot, minor = text.partition(".")
    return (int(major), int(minor)) if dot and major.isdecimal() and minor.isdecimal() else None
