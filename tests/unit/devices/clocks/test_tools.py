"""What nvpmodel, jetson_clocks and devfreq print and write, as boards did."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from espdeploy import recipes
from espdeploy.devices.clocks import jetson_clocks, nvpmodel
from espdeploy.devices.clocks.devfreq import find, read_steps
from espdeploy.protocols import SystemClock

LOGS = "logs/jetsoncfg"
CONFIGURATIONS = (
    "tx2_l4t27_nvpmodel_first_format.conf",
    "nano_nvpmodel_birdedge.conf",
    "xavieragx_nvpmodel_gatekeeper.conf",
    "mlperf_xavier_agx_nvpmodel_computelab310.conf",
)
ORIN = "orinnano_nvpmodel_q_jetson_clocks_show_jfdg01.txt"


@pytest.mark.data
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_configurations_of_boards(data_dir: Path, name: str) -> None:
    expected = json.loads((data_dir / LOGS / f"{name}.expected.json").read_text())
    found = nvpmodel.read_configuration((data_dir / LOGS / name).read_text())
    assert {str(mode.id): mode.name for mode in found.modes} == expected["modes"]
    assert str(found.default) == expected["default"]
    limits = {str(mode.id): -1 if mode.gpu_max_mhz is None else mode.gpu_max_mhz * 1e6 for mode in found.modes}
    assert limits == pytest.approx(expected["gpu_max_freq_hz_by_mode"])


@pytest.mark.data
@pytest.mark.parametrize("name", [ORIN, "orinnano_hardware_Supergatti.txt"])
def test_the_active_mode_of_boards(data_dir: Path, name: str) -> None:
    mode = nvpmodel.read_active((data_dir / LOGS / name).read_text())
    assert mode is not None
    assert (mode.id, mode.name) == (0, "15W")


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("NVPM WARN: fan mode is not set!\nNV Power Mode: MODE_30W_2CORE\n2\n", (2, "MODE_30W_2CORE")),
        ("NV Fan Mode:quiet\nNV Power Mode: MAXN\n0\nNVPM ERROR: Error opening /sys/x: 13\n", (0, "MAXN")),
        ("NV Power Mode: MODE_15W_DESKTOP\r\n7\r\n", (7, "MODE_15W_DESKTOP")),
        ("NV Power Mode: MAXN\n", None),
        ("NVPM ERROR: no mode\n", None),
        ("", None),
    ],
)
def test_the_active_mode(text: str, mode: tuple[int, str] | None) -> None:
    found = nvpmodel.read_active(text)
    assert (None if found is None else (found.id, found.name)) == mode


@pytest.mark.data
def test_the_other_clocks_of_an_orin_nano(data_dir: Path) -> None:
    found = jetson_clocks.read_show((data_dir / LOGS / ORIN).read_text())
    assert found is not None
    assert found.gpu is not None
    assert found.emc is not None
    assert (found.gpu.now_mhz, found.gpu.held) == (624.75, True)
    assert (found.emc.min_mhz, found.emc.now_mhz, found.emc.held) == (204.0, 2133.0, True)
    assert [core.now_mhz for core in found.cpu] == [1510.4] * 6
    assert (found.cpu_held, found.fan_pwm) == (True, 100)


@pytest.mark.data
def test_the_other_clocks_of_a_tx1_whose_script_is_older(data_dir: Path) -> None:
    found = jetson_clocks.read_show((data_dir / LOGS / "tx1_jetson_clocks_sh_show_hordiales.txt").read_text())
    assert found is not None
    assert found.gpu is not None
    assert (found.gpu.max_mhz, [core.max_mhz for core in found.cpu], found.fan_pwm) == (998.4, [1734.0] * 4, 255)


def test_floating_clocks_are_not_held() -> None:
    found = jetson_clocks.read_show(
        "cpu0:  Online=1 Governor=schedutil MinFreq=345600 MaxFreq=2035200 CurrentFreq=345600\n"
        "cpu1:  Online=0 Governor=schedutil MinFreq=345600 MaxFreq=345600 CurrentFreq=345600\n"
        "GPU MinFreq=114750000 MaxFreq=1300500000 CurrentFreq=114750000\n"
        "EMC MinFreq=40800000 MaxFreq=1866000000 CurrentFreq=408000000 FreqOverride=0\n"
    )
    assert found is not None
    assert found.gpu is not None
    assert found.emc is not None
    assert (found.gpu.held, found.emc.held, found.cpu_held, len(found.cpu)) == (False, False, False, 1)
    assert jetson_clocks.read_show("Error: must be run as root\n") is None


@pytest.mark.data
def test_steps_of_four_boards(data_dir: Path) -> None:
    """Each list is that of the profile; the TX2's in the file begins with its third step."""
    lines = (data_dir / LOGS / "available_frequencies_gpu.txt").read_text().splitlines()
    lists = [[hz / 1e6 for hz in read_steps(line)] for line in lines if not line.startswith("#")]
    known = []
    for name in ("xavier-agx", "nano", "orin-agx", "tx2"):
        gpu = recipes.device_profile(name).gpu
        assert gpu is not None
        known.append(list(gpu.frequencies_mhz))
    known[1].append(998.4)  # that board was overclocked
    assert lists == [*known[:3], known[3][2:]]


@pytest.mark.parametrize(
    ("device", "folder"),
    [
        ("tx2", "sys/devices/gpu.0/devfreq/17000000.gp10b"),
        ("orin-nano", "sys/devices/platform/17000000.gpu/devfreq_dev"),
        ("orin-nano", "sys/class/devfreq/17000000.gpu"),
        ("thor", "sys/class/devfreq/gpu-gpc-0"),
        ("xavier-nx", "sys/class/devfreq/17000000.gv11b"),
    ],
)
def test_the_gpus_folder_is_found_among_others(tmp_path: Path, device: str, folder: str) -> None:
    others = ("sys/class/devfreq/15340000.vic", "sys/class/devfreq/bwmgr", "sys/class/devfreq/gpu-nvd-0")
    for place in (*others, folder):
        (tmp_path / place).mkdir(parents=True)
        for name in ("min_freq", "max_freq"):
            (tmp_path / place / name).write_text("306000000\n")
    gpu = find(recipes.device_profile(device), tmp_path, SystemClock())
    assert gpu is not None
    assert gpu.folder == tmp_path / folder


def test_other_engines_are_not_taken_for_the_gpu(tmp_path: Path) -> None:
    folder = tmp_path / "sys/class/devfreq/15340000.vic"
    folder.mkdir(parents=True)
    (folder / "min_freq").touch()
    (folder / "max_freq").touch()
    assert find(recipes.device_profile("orin-nx"), tmp_path, SystemClock()) is None
