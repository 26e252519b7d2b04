from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espdeploy.devices.board import l4t_release
from espdeploy.devices.gpus import by_nvml, driver_version
from espdeploy.devices.thermal import hottest_c, zones_c


@given(st.integers(1, 99), st.integers(0, 99), st.integers(0, 99))
def test_releases_are_read_back(major: int, minor: int, patch: int) -> None:
    line = f"# R{major} (release), REVISION: {minor}.{patch}, GCID: 29818004, BOARD: t186ref, EABI: aarch64"
    assert l4t_release(line) == f"{major}.{minor}.{patch}"


@pytest.mark.parametrize("text", ["", "Ubuntu 18.04", "# R32", "# R32 (release), REVISION: , GCID"])
def test_other_text_is_no_release(text: str) -> None:
    assert l4t_release(text) is None


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  384.81  Wed Aug 17 22:24:07 PDT 2016\n", "384.81"),
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19\nGCC version: 12.2", "535.129.03"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  595.91.07  Release Build  (u@h)", "595.91.07"),
        ("NVRM version: something else", None),
    ],
)
def test_driver_versions(tree, text: str, version: str | None) -> None:
    assert driver_version(tree({"proc/driver/nvidia/version": text})) == version


def test_nvml_without_a_driver_is_no_answer_and_no_error() -> None:
    if driver_version(Path("/")) is not None:
        pytest.skip("this machine has NVIDIA's driver")
    assert by_nvml() is None


def test_zones_that_are_off_or_refuse_are_left_out(tree) -> None:
    root = tree(
        {
            "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
            "sys/class/thermal/thermal_zone0/temp": "50281\n",
            "sys/class/thermal/thermal_zone1/type": "cv0-thermal\n",
            "sys/class/thermal/thermal_zone1/temp": "-256000\n",
            "sys/class/thermal/thermal_zone2/type": "PMIC-Die\n",
            "sys/class/thermal/thermal_zone2/temp": "50000\n",
            "sys/class/thermal/thermal_zone3/type": "gpu-thermal\n",
            "sys/class/thermal/thermal_zone3/temp/refuses": "",  # a folder: reading it fails
            "sys/class/thermal/thermal_zone4/temp": "47000\n",
        }
    )
    assert zones_c(root) == {"cpu-thermal": 50.281, "thermal_zone4": 47.0}
    assert hottest_c(root) == 50.281


def test_cold_is_a_temperature(tree) -> None:
    root = tree({"sys/class/thermal/thermal_zone0/type": "cpu\n", "sys/class/thermal/thermal_zone0/temp": "-10500\n"})
    assert hottest_c(root) == -10.5
