from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import psutil
import pytest

from espdeploy.devices.detect import detect, profile_for
from espdeploy.errors import MissingCapability

TX2 = {
    "proc/cpuinfo": """\
processor\t: 0
model name\t: ARMv8 Processor rev 3 (v8l)
CPU implementer\t: 0x41
CPU part\t: 0xd07

processor\t: 1
model name\t: ARMv8 Processor rev 0 (v8l)
CPU implementer\t: 0x4e
CPU part\t: 0x003

processor\t: 3
model name\t: ARMv8 Processor rev 3 (v8l)
CPU implementer\t: 0x41
CPU part\t: 0xd07
""",
    "proc/meminfo": "MemTotal:        8048528 kB\nMemFree:  1 kB\n",
    "proc/sys/kernel/osrelease": "4.9.253-tegra\n",
    "proc/device-tree/model": b"quill\0",
    "proc/device-tree/compatible": b"nvidia,p2597-0000+p3310-1000\0nvidia,quill\0nvidia,tegra186\0",
    "etc/nv_tegra_release": "# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t186ref, EABI: aarch64, "
    "DATE: Sat Feb 19 17:07:00 UTC 2022\n",
    "etc/os-release": 'NAME="Ubuntu"\nPRETTY_NAME="Ubuntu 18.04.6 LTS"\n',
    "sys/devices/system/cpu/online": "0,3-5\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil\n",
    "sys/devices/system/cpu/cpu3/cpufreq/scaling_governor": "schedutil\n",
    "sys/class/thermal/thermal_zone0/type": "BCPU-therm\n",
    "sys/class/thermal/thermal_zone0/temp": "41500\n",
    "sys/class/thermal/thermal_zone1/type": "GPU-therm\n",
    "sys/class/thermal/thermal_zone1/temp": "-256000\n",
    "sys/class/thermal/thermal_zone2/type": "PMIC-Die\n",
    "sys/class/thermal/thermal_zone2/temp": "100000\n",
}

PC = {
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: AMD Ryzen 7 5800X 8-Core Processor\n\nprocessor\t: 1\n",
    "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  555.42.06  Release Build\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance\n",
    "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "powersave\n",
    "sys/class/hwmon/hwmon0/name": "k10temp\n",
    "sys/class/hwmon/hwmon0/temp1_input": "63250\n",
    "sys/class/hwmon/hwmon1/name": "nvme\n",
    "sys/class/hwmon/hwmon1/temp1_input": "80000\n",
    "sys/class/power_supply/AC/type": "Mains\n",
    "proc/1/cgroup": "0::/init.scope\n",
}


def test_a_tx2(tree) -> None:
    found = detect(tree(TX2))
    assert found.cpu_model == "Cortex-A57 + Denver 2"
    assert (found.cores_online, found.cores_available, found.cpu_governor) == (4, 4, "schedutil")
    assert found.memory_total_mb == pytest.approx(8048528 * 1024 / 1e6)
    assert (found.os, found.kernel, found.l4t) == ("Ubuntu 18.04.6 LTS", "4.9.253-tegra", "32.7.1")
    assert (found.is_jetson, found.board_model) == (True, "quill")
    assert found.hottest_c == 41.5  # neither the switched-off zone nor the constant of the power chip
    assert (found.nvidia_driver, found.gpus, found.in_container) == (None, None, False)
    assert profile_for(found) == "tx2"


def test_a_pc(tree) -> None:
    found = detect(tree(PC))
    assert found.cpu_model == "AMD Ryzen 7 5800X 8-Core Processor"
    assert (found.cores_online, found.cpu_governor) == (2, "performance+powersave")
    assert (found.nvidia_driver, found.is_jetson, found.l4t) == ("555.42.06", False, None)
    assert found.hottest_c == 63.25  # the processor's, not the disk's
    assert (found.battery_present, found.on_battery) == (False, None)
    assert profile_for(found) == "desktop"


def test_an_empty_machine_knows_nothing_and_says_so(tmp_path: Path) -> None:
    found = detect(tmp_path)
    known = {name for name in found.__dataclass_fields__ if getattr(found, name) is not None}
    assert known == {"python", "in_container"}
    assert not found.in_container
    assert profile_for(found) == "cpu"


@pytest.mark.parametrize("content", [b"\xff\xfe\0\x80", b"", b"::::\n\n:", b"\0" * 100])
def test_damaged_files_are_no_facts_and_no_crash(tree, content: bytes) -> None:
    found = detect(tree(dict.fromkeys([*TX2, *PC, "sys/fs/cgroup/cpu.max", "proc/self/cgroup"], content)))
    assert (found.cores_online, found.memory_total_mb, found.hottest_c, found.l4t) == (None, None, None, None)


def test_this_machine() -> None:
    found = detect()
    assert found.cores_online == psutil.cpu_count()
    assert 1 <= found.cores_available <= len(os.sched_getaffinity(0))
    assert found.memory_total_mb == pytest.approx(psutil.virtual_memory().total / 1e6)
    assert (found.kernel, found.arch) == (platform.release(), platform.machine())
    assert found.python == platform.python_version()


@pytest.mark.parametrize(
    ("model", "compatible", "profile"),
    [
        ("jetson_tx1", "nvidia,p2371-2180\0nvidia,jetson-cv\0nvidia,tegra210", "tx1"),
        ("quill", "nvidia,quill\0nvidia,p2597-0000+p3310-1000\0nvidia,tegra186", "tx2"),
        ("NVIDIA Jetson TX2 NX Developer Kit", "nvidia,p3509-0000+p3636-0001\0nvidia,tegra186", "tx2"),
        ("lightning", "nvidia,p3489-0888\0nvidia,tegra186", "tx2"),
        ("NVIDIA Jetson Nano Developer Kit", "nvidia,p3449-0000-b00+p3448-0000-b00\0nvidia,tegra210", "nano"),
        ("NVIDIA Jetson Nano 2GB Developer Kit", "nvidia,p3542-0000+p3448-0003\0nvidia,tegra210", "nano"),
        (
            "Jetson-AGX",
            "nvidia,galen\0nvidia,jetson-xavier\0nvidia,p2822-0000+p2888-0001\0nvidia,tegra194",
            "xavier-agx",
        ),
        ("NVIDIA Jetson Xavier NX Developer Kit", "nvidia,p3509-0000+p3668-0000\0nvidia,tegra194", "xavier-nx"),
        ("NVIDIA Jetson AGX Orin Developer Kit", "nvidia,p3737-0000+p3701-0000\0nvidia,tegra234", "orin-agx"),
        ("NVIDIA Jetson Orin NX Engineering Reference Developer Kit", "nvidia,tegra234", "orin-nx"),
        ("NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super", "nvidia,tegra234", "orin-nano"),
        ("A carrier of one's own", "acme,board\0nvidia,p3767-0000\0nvidia,tegra234", "orin-nx"),
        ("A carrier of one's own", "nvidia,p3768-0000+p3767-0005\0nvidia,tegra234", "orin-nano"),
        ("A carrier of one's own", "acme,board\0nvidia,p3509-0000+p3668-0001\0nvidia,tegra194", "xavier-nx"),
        ("NVIDIA Jetson AGX Thor Developer Kit", "nvidia,tegra264", "thor"),
    ],
)
def test_each_jetson_finds_its_profile(tree, model: str, compatible: str, profile: str) -> None:
    root = tree({"proc/device-tree/model": f"{model}\0", "proc/device-tree/compatible": f"{compatible}\0"})
    assert profile_for(detect(root)) == profile


def test_a_jetson_that_no_profile_describes_is_not_taken_for_a_pc(tree) -> None:
    root = tree({"proc/device-tree/model": "Acme\0", "proc/device-tree/compatible": "nvidia,tegra234\0"})
    with pytest.raises(MissingCapability, match="Acme"):
        profile_for(detect(root))


def test_a_container_that_hides_the_device_tree_leaves_the_chips_driver(tree) -> None:
    root = tree({"sys/devices/soc0/family": "Tegra\n", "sys/devices/soc0/machine": "quill\n", ".dockerenv": ""})
    found = detect(root)
    assert (profile_for(found), found.in_container, found.l4t) == ("tx2", True, None)


def test_other_boards_are_no_jetsons(tree) -> None:
    root = tree(
        {"proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0", "proc/device-tree/compatible": "brcm,bcm2711\0"}
    )
    found = detect(root)
    assert (found.is_jetson, found.board_model, profile_for(found)) == (False, "Raspberry Pi 4 Model B Rev 1.4", "cpu")


def test_a_jetsons_own_driver_does_not_make_it_a_desktop(tree) -> None:
    orin = {
        "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
        "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release\n",
    }
    found = detect(tree(orin))
    assert (profile_for(found), found.nvidia_driver, found.gpus) == ("orin-nano", "540.4.0", None)


@pytest.mark.parametrize(
    ("files", "present", "draining"),
    [
        ({"BAT0/type": "Battery\n", "BAT0/status": "Discharging\n"}, True, True),
        ({"BAT0/type": "Battery\n", "BAT0/status": "Full\n", "AC/type": "Mains\n"}, True, False),
        ({"mouse/type": "Battery\n", "mouse/scope": "Device\n", "mouse/status": "Discharging\n"}, False, None),
    ],
)
def test_batteries(tree, files: dict[str, str], present: bool, draining: bool | None) -> None:
    found = detect(tree({f"sys/class/power_supply/{name}": text for name, text in files.items()}))
    assert (found.battery_present, found.on_battery) == (present, draining)


@pytest.mark.parametrize(
    "group", ["12:cpu:/docker/0123abcd\n", "0::/kubepods.slice/kubepods-burstable.slice/x\n", "0::/lxc.payload\n"]
)
def test_containers_by_their_group(tree, group: str) -> None:
    assert detect(tree({"proc/1/cgroup": group})).in_container


@pytest.mark.data
def test_the_captured_release_files(data_dir: Path, tree) -> None:
    lines = (data_dir / "logs/jetsoncfg/nv_tegra_release_strings.txt").read_text().splitlines()
    found = [detect(tree({"etc/nv_tegra_release": line})).l4t for line in lines]
    assert found == ["28.1.0", "28.2.0", "28.2.1", "36.4.7"]
    assert all(re.search(rf"R{l4t.split('.')[0]} ", line) for l4t, line in zip(found, lines, strict=True))
