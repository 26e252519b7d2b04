"""Which board this is, by the device tree and NVIDIA's release file; never by NVML, which starts on a Jetson and
then knows nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from espdeploy.devices.files import text_of

_RELEASE = re.compile(r"#\s*R(?P<major>\d+)\s*\(release\),\s*REVISION:\s*(?P<minor>\d+(?:\.\d+)*)")

#: What a device tree's model or compatible text holds, and the profile: the first that fits counts. Module part
#: numbers (p3310 …) are NVIDIA's; TX2 and TX1 name their model by code names (quill, jetson_tx1) or not at all.
_PROFILES = (
    ("orin nano", "orin-nano"),
    ("orin nx", "orin-nx"),
    ("agx orin", "orin-agx"),
    ("xavier nx", "xavier-nx"),
    ("agx xavier", "xavier-agx"),
    ("thor", "thor"),
    ("tx2", "tx2"),
    ("tx1", "tx1"),
    ("jetson nano", "nano"),
    ("p3767-0003", "orin-nano"),
    ("p3767-0004", "orin-nano"),
    ("p3767-0005", "orin-nano"),
    ("p3767", "orin-nx"),
    ("p3701", "orin-agx"),
    ("p3668", "xavier-nx"),
    ("p2888", "xavier-agx"),
    ("p3310", "tx2"),
    ("p3489", "tx2"),
    ("p3636", "tx2"),
    ("p3448", "nano"),
    ("p2180", "tx1"),
    ("jetson-agx", "xavier-agx"),
    ("quill", "tx2"),
    # the chip alone, where one module has it or is by far the commonest
    ("tegra264", "thor"),
    ("tegra194", "xavier-agx"),
    ("tegra186", "tx2"),
)


@dataclass(frozen=True, kw_only=True)
class Jetson:
    """A Jetson: the board's own name, its device tree's compatible text, and its Linux for Tegra release."""

    model: str | None
    compatible: str
    l4t: str | None

    @property
    def profile(self) -> str | None:
        """The device profile's name; None for a board that the table does not know."""
        for text in (self.model or "", self.compatible):
            for mark, profile in _PROFILES:
                if mark in text.lower():
                    return profile
        return None


def board_model(root: Path) -> str | None:
    """The board's name by the device tree (``NVIDIA Jetson TX2 Developer Kit``, ``Raspberry Pi 4 …``); None on a PC.

    A container often hides the device tree: then what the chip's driver says.
    """
    for place in ("proc/device-tree/model", "sys/firmware/devicetree/base/model", "sys/devices/soc0/machine"):
        if text := text_of(root / place):
            return text
    return None


def jetson(root: Path) -> Jetson | None:
    """The Jetson that this is; None on any other machine."""
    model = board_model(root)
    compatible = text_of(root / "proc/device-tree/compatible") or ""
    release = text_of(root / "etc/nv_tegra_release")
    family = (text_of(root / "sys/devices/soc0/family") or "").lower()
    is_one = (
        release is not None or "jetson" in (model or "").lower() or "nvidia,tegra" in compatible or family == "tegra"
    )
    return Jetson(model=model, compatible=compatible, l4t=l4t_release(release or "")) if is_one else None


def l4t_release(text: str) -> str | None:
    """``32.7.1`` from the first line of /etc/nv_tegra_release (``# R32 (release), REVISION: 7.1, …``); else None."""
    match = _RELEASE.match(text)
    return f"{match['major']}.{match['minor']}" if match else None
