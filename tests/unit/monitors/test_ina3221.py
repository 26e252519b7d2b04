from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espdeploy.errors import ToolFailed
from espdeploy.monitors.ina3221 import Ina3221Monitor, find
from espdeploy.monitors.sources import Unavailable
from espdeploy.recipes import device_profile
from espdeploy.specs import RailFacts

NOBODY = 65534
DRIVERS = "sys/bus/i2c/drivers"


def put(path: Path, text: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def iio(root: Path, address: str, milliwatts: Mapping[str, int], *, folder: str = "iio:device0") -> Path:
    """A sensor as JetPack 4 shows it."""
    device = root / DRIVERS / "ina3221x" / address / folder
    for index, (name, value) in enumerate(milliwatts.items()):
        put(device / f"rail_name_{index}", name)
        put(device / f"in_power{index}_input", value)
        put(device / f"in_voltage{index}_input", 5000)
        put(device / f"in_current{index}_input", value // 5)
    return device


def hwmon(root: Path, address: str, channels: Mapping[str, tuple[int, int]], *, number: int = 3) -> Path:
    """A sensor as JetPack 5 and newer show it: mV and mA, the shunts' voltages, and the sum of those."""
    device = root / DRIVERS / "ina3221" / address / f"hwmon/hwmon{number}"
    for index, (name, (millivolts, milliamps)) in enumerate(channels.items(), start=1):
        put(device / f"in{index}_label", name)
        put(device / f"in{index}_input", millivolts)
        put(device / f"curr{index}_input", milliamps)
        put(device / f"in{index + 3}_input", 8)
    put(device / "in7_label", "sum of shunt voltages")
    put(device / "in7_input", 8080)
    put(device / "curr4_input", 360)
    return device


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def found(root: Path, facts: RailFacts, clock) -> Ina3221Monitor:
    monitor = find(facts, clock=clock, root=root)
    assert isinstance(monitor, Ina3221Monitor), monitor
    return monitor


def refused(root: Path, facts: RailFacts, clock) -> Unavailable:
    monitor = find(facts, clock=clock, root=root)
    assert isinstance(monitor, Unavailable)
    return monitor


def rails_of(values: Mapping[str, float | None]) -> dict[str, float | None]:
    return {re.sub(r"ina3221_(rail_)?(.*)_w", r"\2", channel): value for channel, value in values.items()}


def test_a_tx2_on_jetpack_4(tmp_path: Path, clock) -> None:
    iio(tmp_path, "0-0040", {"VDD_SYS_GPU": 305, "VDD_SYS_SOC": 611, "VDD_4V0_WIFI": 19})
    iio(tmp_path, "0-0041", {"VDD_IN": 4950, "VDD_SYS_CPU": 458, "VDD_SYS_DDR": 800}, folder="iio:device1")
    iio(tmp_path, "0-0042", {"VDD_MUX": 9000}, folder="iio:device2")  # the carrier's
    monitor = found(tmp_path, device_profile("tx2").rails, clock)
    assert rails_of(monitor.read()) == pytest.approx(
        {
            "VDD_SYS_GPU": 0.305,
            "VDD_SYS_SOC": 0.611,
            "VDD_4V0_WIFI": 0.019,
            "VDD_IN": 4.95,
            "VDD_SYS_CPU": 0.458,
            "VDD_SYS_DDR": 0.8,
            "total": 4.95,
        }
    )
    assert (monitor.rails, monitor.power_channel) == (("VDD_IN",), "ina3221_total_w")
    assert monitor.gpu_power_channel == "ina3221_rail_VDD_SYS_GPU_w"
    assert monitor.probe_text().startswith("VDD_SYS_GPU 0.305 W, VDD_SYS_SOC 0.611 W")
    assert "VDD_IN 4.95 W" in monitor.probe_text()


def test_an_orin_nano_on_jetpack_6(tmp_path: Path, clock) -> None:
    hwmon(tmp_path, "1-0040", {"VDD_IN": (4976, 1128), "VDD_CPU_GPU_CV": (4976, 96), "VDD_SOC": (4968, 304)}, number=1)
    monitor = found(tmp_path, device_profile("orin-nano").rails, clock)
    assert rails_of(monitor.read()) == pytest.approx(
        {
            "VDD_IN": 4.976 * 1.128,
            "VDD_CPU_GPU_CV": 4.976 * 0.096,
            "VDD_SOC": 4.968 * 0.304,
            "total": 4.976 * 1.128,
        }
    )
    assert monitor.gpu_power_channel == "ina3221_rail_VDD_CPU_GPU_CV_w"


def test_an_agx_orin_is_the_sum_of_its_rails(tmp_path: Path, clock) -> None:
    hwmon(tmp_path, "1-0040", {"VDD_GPU_SOC": (19000, 140), "VDD_CPU_CV": (19000, 20), "VIN_SYS_5V0": (5000, 900)})
    second = {"NC": (19000, 500), "VDDQ_VDD2_1V8AO": (19000, 30), "VDD_UNKNOWN": (1000, 1000)}
    hwmon(tmp_path, "1-0041", second, number=4)
    monitor = found(tmp_path, device_profile("orin-agx").rails, clock)
    values = rails_of(monitor.read())
    assert values["total"] == pytest.approx(2.66 + 0.38 + 4.5 + 0.57)
    assert monitor.rails == ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO")
    assert "NC" not in values
    assert values["VDD_UNKNOWN"] == pytest.approx(1.0)  # shown, and not in the sum
    put(tmp_path / DRIVERS / "ina3221/1-0041/hwmon/hwmon4/curr2_input", "")
    assert rails_of(monitor.read())["total"] is None  # one rail was not read this time


def test_a_sum_without_one_of_its_rails_is_no_total(tmp_path: Path, clock) -> None:
    device = hwmon(tmp_path, "1-0040", {"VDD_GPU_SOC": (19000, 140), "VDD_CPU_CV": (19000, 20)})
    put(device / "curr2_input", "")  # the label is there, the reading fails
    monitor = found(tmp_path, device_profile("orin-agx").rails, clock)
    assert (monitor.rails, monitor.power_channel) == ((), None)
    assert rails_of(monitor.read()) == pytest.approx({"VDD_GPU_SOC": 2.66})


def test_a_thors_input_is_measured_by_another_chip(tmp_path: Path, clock) -> None:
    hwmon(tmp_path, "2-0041", {"VDD_GPU": (12000, -33), "VDD_CPU_SOC_MSS": (12000, 900)})
    put(tmp_path / DRIVERS / "ina238/2-0044/hwmon/hwmon5/power1_input", 21_400_000)
    monitor = found(tmp_path, device_profile("thor").rails, clock)
    values = rails_of(monitor.read())
    assert (monitor.rails, values["total"]) == (("VIN",), pytest.approx(21.4))
    assert values["VDD_GPU"] == pytest.approx(-0.396)  # a Thor at rest may give current back


def test_rails_alone_are_not_the_devices_power(tmp_path: Path, clock) -> None:
    iio(tmp_path, "0-0042", {"VDD_MUX": 9000, "VDD_5V0_IO_SYS": 2100})
    monitor = found(tmp_path, RailFacts(), clock)  # no path and no name is known: every sensor is looked at
    assert monitor.power_channel is None
    assert rails_of(monitor.read()) == pytest.approx({"VDD_MUX": 9.0, "VDD_5V0_IO_SYS": 2.1})


def test_one_name_on_two_sensors_keeps_both(tmp_path: Path, clock) -> None:
    iio(tmp_path, "0-0040", {"VDD_IN": 4000})
    iio(tmp_path, "0-0041", {"VDD_IN": 1000}, folder="iio:device1")
    values = rails_of(found(tmp_path, device_profile("tx2").rails, clock).read())
    assert values == pytest.approx({"VDD_IN": 4.0, "VDD_IN#2": 1.0, "total": 4.0})


@given(millivolts=st.integers(0, 26_000), milliamps=st.integers(-163_800, 163_800))
def test_power_is_voltage_times_current_of_any_sign(millivolts: int, milliamps: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        hwmon(Path(folder), "7-0040", {"VDD_IN": (millivolts, milliamps)})
        monitor = find(RailFacts(total=("VDD_IN",)), clock=None, root=Path(folder))  # type: ignore[arg-type]
        assert isinstance(monitor, Ina3221Monitor)
        assert monitor.read()["ina3221_total_w"] == pytest.approx(millivolts / 1e3 * milliamps / 1e3, abs=1e-12)


def test_new_values_are_read_through_files_kept_open_and_through_replaced_ones(tmp_path: Path, clock) -> None:
    device = iio(tmp_path, "6-0040", {"POM_5V_IN": 2000})
    monitor = found(tmp_path, device_profile("nano").rails, clock)
    with (device / "in_power0_input").open("r+") as file:
        file.write("2500\n")
    assert monitor.read()["ina3221_total_w"] == 2.5
    put(tmp_path / "new", 3500)
    (tmp_path / "new").replace(device / "in_power0_input")  # the driver was bound anew
    assert monitor.read()["ina3221_total_w"] == 3.5


def test_files_are_closed_with_the_monitor(tmp_path: Path, clock) -> None:
    iio(tmp_path, "6-0040", {"POM_5V_IN": 2000, "POM_5V_GPU": 100})
    before = open_files()
    monitor = found(tmp_path, device_profile("nano").rails, clock)
    assert open_files() == before + 2
    del monitor
    assert open_files() == before


def test_one_failed_reading_is_unknown_and_silence_is_an_error(tmp_path: Path, clock) -> None:
    device = iio(tmp_path, "0-0041", {"VDD_IN": 4000, "VDD_SYS_CPU": 400})
    monitor = found(tmp_path, device_profile("tx2").rails, clock)
    put(device / "in_power0_input", "")
    assert rails_of(monitor.read()) == {"VDD_IN": None, "VDD_SYS_CPU": 0.4, "total": None}
    clock.sleep_s(2.9)
    assert monitor.read()["ina3221_total_w"] is None
    put(device / "in_power0_input", 4100)
    assert monitor.read()["ina3221_total_w"] == 4.1
    put(device / "in_power0_input", "")
    clock.sleep_s(60)  # silence counts from its first reading, not from the last good one
    monitor.read()
    clock.sleep_s(3)
    with pytest.raises(ToolFailed, match="VDD_IN went away"):
        monitor.read()


def test_a_sensor_that_is_gone_ends_the_run_at_once(tmp_path: Path, clock) -> None:
    device = iio(tmp_path, "0-0041", {"VDD_IN": 4000})
    monitor = found(tmp_path, device_profile("tx2").rails, clock)
    (device / "in_power0_input").unlink()
    with pytest.raises(ToolFailed, match="VDD_IN went away"):
        monitor.read()


def test_absent_nameless_and_dead_sensors_are_told_apart(tmp_path: Path, clock) -> None:
    facts = device_profile("tx2").rails
    assert "no INA3221 sensor" in refused(tmp_path, facts, clock).reason
    (tmp_path / DRIVERS / "ina3221x/0-0041").mkdir(parents=True)
    assert "0-0041 name no rail" in refused(tmp_path, facts, clock).reason
    device = iio(tmp_path, "0-0041", {"VDD_IN": 4000})
    put(device / "in_power0_input", "n/a")
    assert "VDD_IN cannot be read" in refused(tmp_path, facts, clock).reason


def test_a_sensor_for_root_alone_names_the_file_to_open(clock) -> None:
    folder = Path(tempfile.mkdtemp())  # pytest's own folders are closed to others
    before = os.geteuid()
    try:
        folder.chmod(0o755)
        device = iio(folder, "0-0041", {"VDD_IN": 4000})
        (device / "in_power0_input").chmod(0o000)
        if before == 0:
            os.seteuid(NOBODY)
        absent = refused(folder, device_profile("tx2").rails, clock)
    finally:
        os.seteuid(before)
        shutil.rmtree(folder)
    assert absent.do == f"sudo chmod a+r {device / 'in_power0_input'}"


@pytest.mark.data
def test_the_paths_of_a_real_tx2_are_where_the_facts_look(data_dir: Path, tmp_path: Path, clock) -> None:
    listed = (data_dir / "logs/jetsoncfg/tx2_ina3221_sysfs_paths_hoony9x.txt").read_text().split()
    tx2 = [path.rstrip("/") for path in listed if path.startswith("/sys/devices/3160000.i2c")]
    rails = {"0-0040": {"VDD_SYS_GPU": 300}, "0-0041": {"VDD_IN": 5000}, "0-0042": {"VDD_MUX": 7000}}
    for path in tx2:
        address = Path(path).parent.name
        for index, (name, value) in enumerate(rails.get(address, {}).items()):
            put(tmp_path / path[1:] / f"rail_name_{index}", name)
            put(tmp_path / path[1:] / f"in_power{index}_input", value)
        driver = tmp_path / DRIVERS / "ina3221x" / address
        driver.parent.mkdir(parents=True, exist_ok=True)
        driver.symlink_to(tmp_path / path[1:] / "..", target_is_directory=True)
    values = rails_of(found(tmp_path, device_profile("tx2").rails, clock).read())
    assert values == pytest.approx({"VDD_SYS_GPU": 0.3, "VDD_IN": 5.0, "total": 5.0})


@pytest.mark.data
def test_a_xavier_nx_as_another_program_documents_it(data_dir: Path, tmp_path: Path, clock) -> None:
    text = (data_dir / "logs/jetsoncfg/ina3221_alumet_README.md").read_text()
    place = re.search(r"`/(sys/bus/i2c/drivers/ina3221/7-0040/hwmon/hwmon\d+)`", text)
    assert place is not None
    for channel, label in re.findall(r"Channel (\d): `([^`]+)`", text):
        put(tmp_path / place[1] / f"in{channel}_label", label)
        put(tmp_path / place[1] / f"in{channel}_input", 5000)
        put(tmp_path / place[1] / f"curr{channel}_input", 100 * int(channel))
    values = rails_of(found(tmp_path, device_profile("xavier-nx").rails, clock).read())
    assert values == pytest.approx({"VDD_IN": 0.5, "VDD_CPU_GPU_CV": 1.0, "VDD_SOC": 1.5, "total": 0.5})
