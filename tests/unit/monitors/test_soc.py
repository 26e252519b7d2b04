from __future__ import annotations

from pathlib import Path

import pytest

from espdeploy.errors import ToolFailed
from espdeploy.monitors.soc import SocMonitor, find
from espdeploy.monitors.sources import Unavailable
from espdeploy.recipes import device_profile
from espdeploy.specs import DeviceProfile

TX2 = "sys/devices/gpu.0/devfreq/17000000.gp10b"
ORIN = "sys/devices/platform/17000000.gpu/devfreq/17000000.gpu"


def put(path: Path, text: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def typed(root: Path, folder: str, kind: str, file: str, value: object) -> Path:
    place = root / "sys/class/thermal" / folder
    put(place / "type", kind)
    put(place / file, value)
    return place / file


def found(root: Path, clock, device: str = "tx2") -> SocMonitor:
    monitor = looked_for(root, clock, device_profile(device))
    assert isinstance(monitor, SocMonitor), monitor
    return monitor


def looked_for(root: Path, clock, profile: DeviceProfile) -> SocMonitor | Unavailable:
    assert profile.gpu is not None
    rates = profile.emc.rate_paths if profile.emc else ()
    return find(profile.gpu.frequency_paths, rate_paths=rates, clock=clock, root=root)


@pytest.fixture
def tx2(tmp_path: Path) -> Path:
    put(tmp_path / TX2 / "cur_freq", 854250000)
    put(tmp_path / TX2 / "max_freq", 1300500000)
    put(tmp_path / "sys/devices/gpu.0/load", 437)
    put(tmp_path / "sys/kernel/debug/bpmp/debug/clk/emc/rate", 1866000000)
    typed(tmp_path, "thermal_zone0", "GPU-therm", "temp", 41500)
    typed(tmp_path, "thermal_zone1", "PMIC-Die", "temp", 100000)
    typed(tmp_path, "thermal_zone2", "AO-therm", "temp", -256000)
    typed(tmp_path, "cooling_device0", "pwm-fan", "cur_state", 3)
    return tmp_path


def test_a_tx2_without_root_or_tegrastats(tx2: Path, clock) -> None:
    monitor = found(tx2, clock)
    assert monitor.read() == {
        "soc_gpu_util_pct": 43.7,
        "soc_gpu_freq_mhz": 854.25,
        "soc_gpu_cap_mhz": 1300.5,
        "soc_emc_freq_mhz": 1866.0,
        "soc_temp_GPU-therm_c": 41.5,
        "soc_temp_AO-therm_c": None,  # switched off
    }
    assert monitor.gpu_freq_channel == "soc_gpu_freq_mhz"
    assert monitor.temperature_channels == ("soc_temp_GPU-therm_c", "soc_temp_AO-therm_c")
    assert monitor.probe_text() == "GPU 854 MHz at 43.7 % load, GPU-therm 41.5 °C"


def test_what_moves_slowly_is_read_once_a_second(tx2: Path, clock) -> None:
    monitor = found(tx2, clock)
    slow = [("soc_temp_GPU-therm_c" in monitor.read(), clock.sleep_s(0.1))[0] for _ in range(21)]
    assert [index for index, seen in enumerate(slow) if seen] == [0, 10, 20]


def test_an_orin_by_the_kernels_class_of_devices(tmp_path: Path, clock) -> None:
    put(tmp_path / ORIN / "cur_freq", 305750000)
    put(tmp_path / ORIN / "../../load", 1000)
    device = tmp_path / "sys/class/devfreq/17000000.gpu"
    device.parent.mkdir(parents=True)
    device.symlink_to(tmp_path / ORIN)
    put(tmp_path / "sys/class/devfreq/15340000.vic/cur_freq", 115200000)
    values = found(tmp_path, clock, "orin-nano").read()
    assert values == {"soc_gpu_util_pct": 100.0, "soc_gpu_freq_mhz": 305.75}


def test_a_load_that_cannot_be_is_unknown(tx2: Path, clock) -> None:
    monitor = found(tx2, clock)
    for load in ("1001", "-1", ""):
        put(tx2 / "sys/devices/gpu.0/load", load)
        assert monitor.read()["soc_gpu_util_pct"] is None


def test_other_machines_have_none(tmp_path: Path, clock) -> None:
    typed(tmp_path, "thermal_zone0", "x86_pkg_temp", "temp", 45000)
    absent = looked_for(tmp_path, clock, device_profile("tx2"))
    assert isinstance(absent, Unavailable)
    assert "no GPU of a Jetson" in absent.reason
    (tmp_path / TX2 / "cur_freq").mkdir(parents=True)
    unreadable = looked_for(tmp_path, clock, device_profile("tx2"))
    assert isinstance(unreadable, Unavailable)
    assert "neither a clock nor a load" in unreadable.reason


def test_the_clock_going_away_ends_the_run(tx2: Path, clock) -> None:
    monitor = found(tx2, clock)
    (tx2 / TX2 / "cur_freq").unlink()
    with pytest.raises(ToolFailed, match="cur_freq went away"):
        monitor.read()


def test_throttling_is_told_by_the_boards_own_signs(tx2: Path, clock) -> None:
    alert = typed(tx2, "cooling_device1", "gpu-throttle-alert", "cur_state", 0)
    cap = typed(tx2, "cooling_device2", "devfreq-17000000.gpu", "cur_state", 18)  # by its power mode
    counter = tx2 / "sys/class/hwmon/hwmon3/oc3_event_cnt"
    put(counter, 813)
    monitor = found(tx2, clock)
    quiet, warm = _run(monitor, clock), None
    assert monitor.throttle_reasons(quiet) == ()
    put(alert, 1)
    put(cap, 20)
    put(counter, 825)
    warm = {channel: [*quiet[channel], *values] for channel, values in _run(monitor, clock).items()}
    reasons = monitor.throttle_reasons(warm)
    assert reasons is not None
    assert set(reasons) == {
        "gpu-throttle-alert in state 1",
        "devfreq-17000000.gpu in state 20",
        "oc3: 12 events of too much current or too little voltage",
    }


def test_a_board_without_such_signs_cannot_tell(tx2: Path, clock) -> None:
    monitor = found(tx2, clock)  # a fan at work is no throttling
    assert monitor.throttle_reasons(_run(monitor, clock)) is None


def _run(monitor: SocMonitor, clock) -> dict[str, list[float | None]]:
    readings: dict[str, list[float | None]] = {}
    for _ in range(3):
        clock.sleep_s(1.0)
        for channel, value in monitor.read().items():
            readings.setdefault(channel, []).append(value)
    return readings
