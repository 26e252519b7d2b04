from __future__ import annotations

from pathlib import Path

import pytest

from espdeploy.devices.processor import cores_available, cores_online, cpu_model, cpu_quota_cores

V2 = "sys/fs/cgroup"


@pytest.mark.parametrize(
    ("text", "cores"), [("0-1", 2), ("0", 1), ("0,3-5", 4), ("0-3,8-11\n", 8), ("7", 1), ("0-", None), ("x", None)]
)
def test_cores_online(tree, text: str, cores: int | None) -> None:
    assert cores_online(tree({"sys/devices/system/cpu/online": text})) == cores


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({f"{V2}/cpu.max": "150000 100000\n"}, 1.5),
        ({f"{V2}/cpu.max": "max 100000\n"}, None),
        ({f"{V2}/cpu.max": "nonsense"}, None),
        ({f"{V2}/cpu.max": "100000 0\n"}, None),
        # the tightest of the own group and those above it
        (
            {
                "proc/self/cgroup": "0::/a.slice/b.scope\n",
                f"{V2}/a.slice/cpu.max": "200000 100000\n",
                f"{V2}/a.slice/b.scope/cpu.max": "300000 100000\n",
                f"{V2}/other.slice/cpu.max": "10000 100000\n",
            },
            2.0,
        ),
        ({f"{V2}/cpu/cpu.cfs_quota_us": "-1\n", f"{V2}/cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({f"{V2}/cpu/cpu.cfs_quota_us": "50000\n", f"{V2}/cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
        (
            {
                "proc/self/cgroup": "5:memory:/x\n4:cpu,cpuacct:/docker/0a\n0::/\n",
                f"{V2}/cpu,cpuacct/docker/0a/cpu.cfs_quota_us": "250000\n",
                f"{V2}/cpu,cpuacct/docker/0a/cpu.cfs_period_us": "100000\n",
            },
            2.5,
        ),
        ({}, None),
    ],
)
def test_quota(tree, tmp_path: Path, files: dict[str, str], quota: float | None) -> None:
    assert cpu_quota_cores(tree(files)) == quota


@pytest.mark.parametrize(
    ("online", "quota_cores", "available"),
    [(8, None, 8), (8, 2.0, 2), (8, 2.9, 2), (8, 0.5, 1), (2, 6.0, 2), (None, 3.0, 3), (None, None, None)],
)
def test_whole_cores_of_a_quota_are_available(tmp_path: Path, online, quota_cores, available) -> None:
    assert cores_available(tmp_path, online=online, quota_cores=quota_cores) == available


@pytest.mark.parametrize(
    ("cpuinfo", "model"),
    [
        ("model name\t: Intel(R) Xeon(R) CPU E5-2670 v3 @ 2.30GHz\n", "Intel(R) Xeon(R) CPU E5-2670 v3 @ 2.30GHz"),
        ("CPU implementer\t: 0x41\nCPU part\t: 0xd42\n" * 6, "Cortex-A78AE"),
        ("CPU implementer\t: 0x4e\nCPU part\t: 0x004\n", "Carmel"),
        ("CPU implementer : 0x61\nCPU part : 0x022\n", "Arm implementer 0x61 part 0x022"),
        ("processor\t: 0\nHardware\t: BCM2835\n", "BCM2835"),
        ("processor\t: 0\n", None),
    ],
)
def test_models(tree, cpuinfo: str, model: str | None) -> None:
    assert cpu_model(tree({"proc/cpuinfo": cpuinfo})) == model
