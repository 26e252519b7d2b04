"""The processor: its model, how many cores there are and may be used, and who sets its clock."""

from __future__ import annotations

import os
import re
from pathlib import Path

from espdeploy.devices.files import field_of, int_of, text_of

#: Arm's and NVIDIA's cores by implementer and part of the main ID register (Arm: "MIDR_EL1"; Linux: cputype.h)
_ARM_CORES = {
    ("0x41", "0xd03"): "Cortex-A53",
    ("0x41", "0xd05"): "Cortex-A55",
    ("0x41", "0xd07"): "Cortex-A57",
    ("0x41", "0xd08"): "Cortex-A72",
    ("0x41", "0xd0b"): "Cortex-A76",
    ("0x41", "0xd0c"): "Neoverse-N1",
    ("0x41", "0xd40"): "Neoverse-V1",
    ("0x41", "0xd42"): "Cortex-A78AE",
    ("0x41", "0xd49"): "Neoverse-N2",
    ("0x41", "0xd4f"): "Neoverse-V2",
    ("0x41", "0xd83"): "Neoverse-V3AE",
    ("0x4e", "0x003"): "Denver 2",
    ("0x4e", "0x004"): "Carmel",
}
#: cgroup v1's "no limit"
_NO_QUOTA = -1


def cpu_model(root: Path) -> str | None:
    """The processor's name from /proc/cpuinfo; on Arm, which gives numbers, the kinds of its cores.

    A TX2 is ``Denver 2 + Cortex-A57``. Cores that are off are not in /proc/cpuinfo. An unknown kind keeps its numbers.
    """
    cpuinfo = root / "proc/cpuinfo"
    named = field_of(cpuinfo, "model name", separator=":")
    kinds = _arm_cores(text_of(cpuinfo) or "")
    if kinds:
        return " + ".join(kinds)
    return named or field_of(cpuinfo, "Hardware", separator=":")


def cores_online(root: Path) -> int | None:
    """How many cores run, by /sys, or else by /proc/cpuinfo."""
    text = text_of(root / "sys/devices/system/cpu/online")
    if text is not None and re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", text):
        return sum(_range_length(part) for part in text.split(","))
    lines = (text_of(root / "proc/cpuinfo") or "").splitlines()
    return sum(line.partition(":")[0].strip() == "processor" for line in lines) or None


def cpu_quota_cores(root: Path) -> float | None:
    """The cores' worth of time that the cgroup allows this process; None without a limit.

    Reads cgroup v2 (``cpu.max``) from the process's own group upwards, the tightest limit counts; else v1
    (``cpu.cfs_quota_us``).
    """
    limits = [limit for group in _own_groups(root) if (limit := _group_limit(group)) is not None]
    return min(limits, default=None)


def cores_available(root: Path, *, online: int | None, quota_cores: float | None) -> int | None:
    """How many threads can really run side by side: cores online, this process's affinity, whole cores of quota.

    The affinity counts only for the machine that this process runs on (``root`` is /).
    """
    limits = [online, None if quota_cores is None else max(1, int(quota_cores))]
    if root == Path("/") and hasattr(os, "sched_getaffinity"):
        limits.append(len(os.sched_getaffinity(0)))
    return min((limit for limit in limits if limit is not None), default=None)


def cpu_governor(root: Path) -> str | None:
    """The frequency governor; several joined by + where cores differ; None where the kernel sets no clock."""
    paths = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    return "+".join(sorted({text for path in paths if (text := text_of(path)) is not None})) or None


def _arm_cores(cpuinfo: str) -> list[str]:
    """Each kind of core once, in the order of the cores."""
    kinds: list[str] = []
    implementer = ""
    for line in cpuinfo.splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key == "CPU implementer":
            implementer = value.lower()
        elif key == "CPU part":
            numbers = (implementer, value.lower())
            kind = _ARM_CORES.get(numbers, f"Arm implementer {numbers[0]} part {numbers[1]}")
            kinds += [] if kind in kinds else [kind]
    return kinds


def _range_length(text: str) -> int:
    first, _, last = text.partition("-")
    return int(last or first) - int(first) + 1


def _own_groups(root: Path) -> list[Path]:
    """The folders of this process's cgroup and of all above it, for v2 and for v1's cpu controller."""
    folders = []
    for line in (text_of(root / "proc/self/cgroup") or "").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            top = root / "sys/fs/cgroup"
        elif "cpu" in controllers.split(","):
            top = root / "sys/fs/cgroup" / controllers
        else:
            continue
        own = top / path.strip("/")
        folders += [own, *own.parents[: len(own.parts) - len(top.parts)]]
    # inside a container the own path is often one of the host, and the limit stands at the top
    return [*folders, root / "sys/fs/cgroup", root / "sys/fs/cgroup/cpu"]


def _group_limit(group: Path) -> float | None:
    quota_us: int | None
    period_us: int | None
    words = (text_of(group / "cpu.max") or "").split()
    if len(words) == 2 and all(word.isdigit() for word in words):
        quota_us, period_us = int(words[0]), int(words[1])
    else:
        quota_us, period_us = int_of(group / "cpu.cfs_quota_us"), int_of(group / "cpu.cfs_period_us")
    if quota_us is None or quota_us == _NO_QUOTA or not period_us:
        return None
    return quota_us / period_us
