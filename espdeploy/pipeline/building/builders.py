"""Which builder of engines for NVIDIA GPUs a device takes, and whether it is here."""

from __future__ import annotations

from espdeploy import lazy
from espdeploy.backends.tensorrt.api import RTX, TENSORRT
from espdeploy.backends.trtexec.find import find
from espdeploy.errors import MissingCapability
from espdeploy.pipeline.machine import system_root
from espdeploy.specs import DeviceProfile

#: runtimes that build engines for NVIDIA GPUs, and the Python package of each
PACKAGES = {TENSORRT: "tensorrt", RTX: "tensorrt_rtx"}
TRTEXEC = "trtexec"


def choose_builder(profile: DeviceProfile, wanted: str | None) -> str | None:
    """The runtime that was asked for, or the first of the device's whose package is here; None for devices without.

    Raises:
        MissingCapability: the device takes engines of TensorRT, and no builder of them is here.
    """
    own = [name for name in profile.runtimes if name in (*PACKAGES, TRTEXEC)]
    if not own or (wanted is not None and wanted not in own):
        return None
    if wanted is not None:
        return wanted
    if own == [TRTEXEC]:
        return TRTEXEC  # which says itself what it misses
    here = next((name for name in own if _is_here(name)), None)
    if here is None:
        raise MissingCapability(
            f"no builder of TensorRT engines for {profile.name} is here",
            why=f"looked for the Python packages {', '.join(PACKAGES.values())}, and for trtexec",
            do='pip install "espdeploy[tensorrt]", or "espdeploy[rtx]" for TensorRT-RTX',
        )
    return here


def _is_here(runtime: str) -> bool:
    if runtime in PACKAGES:
        return lazy.available(PACKAGES[runtime])
    try:
        find(TRTEXEC, root=system_root())
    except MissingCapability:
        return False
    return True
