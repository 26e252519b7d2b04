from __future__ import annotations

from pathlib import Path

import pytest

from espdeploy.errors import ToolFailed
from espdeploy.monitors.battery import BatteryMonitor, find
from espdeploy.monitors.sources import Unavailable


def supply(root: Path, name: str, **files: object) -> Path:
    folder = root / "sys/class/power_supply" / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in {"type": "Battery", "status": "Discharging", **files}.items():
        (folder / file).write_text(f"{content}\n")
    return folder


def found(root: Path, clock) -> BatteryMonitor:
    monitor = find(clock=clock, root=root)
    assert isinstance(monitor, BatteryMonitor), monitor
    return monitor


def refused(root: Path, clock) -> Unavailable:
    monitor = find(clock=clock, root=root)
    assert isinstance(monitor, Unavailable)
    return monitor


def test_a_battery_that_tells_power_and_energy(tmp_path: Path, clock) -> None:
    supply(tmp_path, "BAT0", power_now=12_345_000, energy_now=41_200_000)
    monitor = found(tmp_path, clock)
    assert monitor.read() == pytest.approx({"battery_power_w": 12.345, "battery_energy_j": 41.2 * 3600})
    assert monitor.probe_text() == "12.3 W discharging, 41.2 Wh left"
    assert (monitor.rails, monitor.energy_channel) == (("BAT0",), None)


@pytest.mark.parametrize("sign", [1, -1])  # drivers differ in it
def test_a_battery_that_tells_voltage_current_and_charge(tmp_path: Path, clock, sign: int) -> None:
    supply(tmp_path, "BAT1", voltage_now=11_500_000, current_now=sign * 800_000, charge_now=3_000_000)
    assert found(tmp_path, clock).read() == pytest.approx(
        {"battery_power_w": 11.5 * 0.8, "battery_energy_j": 11.5 * 3 * 3600}
    )


def test_of_two_batteries_those_count_that_are_drawn_from(tmp_path: Path, clock) -> None:
    supply(tmp_path, "BAT0", power_now=9_000_000)
    second = supply(tmp_path, "BAT1", power_now=4_000_000, status="Charging")
    monitor = found(tmp_path, clock)
    assert monitor.read() == {"battery_power_w": 9.0, "battery_energy_j": None}
    (second / "status").write_text("Discharging\n")
    assert monitor.read()["battery_power_w"] == 13.0


def test_power_is_unknown_as_soon_as_the_mains_are_connected(tmp_path: Path, clock) -> None:
    folder = supply(tmp_path, "BAT0", power_now=9_000_000)
    monitor = found(tmp_path, clock)
    for status in ("Charging", "Full", "Not charging", "Unknown"):
        (folder / "status").write_text(f"{status}\n")
        assert monitor.read()["battery_power_w"] is None
    assert monitor.probe_text() == "on the mains"


def test_what_is_no_source_of_power(tmp_path: Path, clock) -> None:
    assert "no battery" in refused(tmp_path, clock).reason
    supply(tmp_path, "AC", type="Mains", online=1)
    supply(tmp_path, "hidpp_battery_0", scope="Device", power_now=1)  # a mouse
    assert "no battery" in refused(tmp_path, clock).reason
    battery = supply(tmp_path, "BAT0", energy_now=5)
    assert "does not tell its rate" in refused(tmp_path, clock).reason
    supply(tmp_path, "BAT0", power_now=0)
    assert "0 W" in refused(tmp_path, clock).reason
    supply(tmp_path, "BAT0", power_now=5_000_000, status="Full")
    assert refused(tmp_path, clock).do.startswith("unplug the mains")
    (battery / "status").write_text("Discharging\n")
    assert found(tmp_path, clock).read()["battery_power_w"] == 5.0


def test_a_battery_that_is_taken_out_ends_the_run(tmp_path: Path, clock) -> None:
    folder = supply(tmp_path, "BAT0", power_now=9_000_000)
    monitor = found(tmp_path, clock)
    (folder / "power_now").unlink()
    with pytest.raises(ToolFailed, match="BAT0 went away"):
        monitor.read()
