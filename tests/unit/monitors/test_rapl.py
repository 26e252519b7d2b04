from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from espdeploy.errors import MissingCapability
from espdeploy.monitors.rapl import RaplSource, Unavailable, find

RANGE_UJ = 262_143_328_850
NOBODY = 65534


class Counting:
    """A clock whose sleep lets the counters of a machine count, each at its own power."""

    def __init__(self, powercap: Path) -> None:
        self.powercap = powercap
        self.at_ns = 0
        self.watts: dict[str, float] = {}

    def now_ns(self) -> int:
        return self.at_ns

    def sleep_s(self, seconds: float) -> None:
        self.at_ns += round(seconds * 1e9)
        for zone, watts in self.watts.items():
            path = self.powercap / zone / "energy_uj"
            path.write_text(f"{(int(path.read_text()) + round(watts * seconds * 1e6)) % RANGE_UJ}\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "sys/class/powercap").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def counting(root: Path) -> Counting:
    return Counting(root / "sys/class/powercap")


def zone(counting: Counting, folder: str, name: str, *, watts: float, start_uj: int = 1_000_000) -> Path:
    path = counting.powercap / folder
    path.mkdir(parents=True)
    (path / "name").write_text(f"{name}\n")
    (path / "energy_uj").write_text(f"{start_uj}\n")
    (path / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
    counting.watts[folder] = watts
    return path


def found(root: Path, counting: Counting) -> RaplSource:
    source = find(root, clock=counting)
    assert isinstance(source, RaplSource), source
    return source


def refused(root: Path, counting: Counting) -> Unavailable:
    source = find(root, clock=counting)
    assert isinstance(source, Unavailable)
    return source


def test_one_socket(root: Path, counting: Counting) -> None:
    zone(counting, "intel-rapl:0", "package-0", watts=25.0)
    zone(counting, "intel-rapl:0:0", "core", watts=15.0)
    zone(counting, "intel-rapl:0:1", "dram", watts=4.0)
    source = found(root, counting)
    assert source.rails == ("package-0",)
    first = source.read()
    assert (first["rapl_energy_j"], first["rapl_power_w"], first["rapl_dram-0_w"]) == (0.0, None, None)
    counting.sleep_s(2.0)
    second = source.read()
    assert second == pytest.approx({"rapl_energy_j": 50.0, "rapl_power_w": 25.0, "rapl_dram-0_w": 4.0})
    counting.sleep_s(0.5)
    assert source.read()["rapl_energy_j"] == pytest.approx(62.5)


def test_sockets_add_up_and_the_platform_is_not_added_again(root: Path, counting: Counting) -> None:
    zone(counting, "intel-rapl:0", "package-0", watts=25.0)
    zone(counting, "intel-rapl:1", "package-1", watts=35.0)
    zone(counting, "intel-rapl:0:0", "dram", watts=3.0)
    zone(counting, "intel-rapl:1:0", "dram", watts=4.0)
    zone(counting, "intel-rapl:2", "psys", watts=90.0)
    source = found(root, counting)
    assert source.rails == ("package-0", "package-1")
    source.read()
    counting.sleep_s(1.0)
    assert source.read() == pytest.approx(
        {
            "rapl_energy_j": 60.0,
            "rapl_power_w": 60.0,
            "rapl_dram-0_w": 3.0,
            "rapl_dram-1_w": 4.0,
            "rapl_psys_w": 90.0,
        }
    )


def test_the_platform_is_the_total_where_there_are_no_packages(root: Path, counting: Counting) -> None:
    zone(counting, "intel-rapl:0", "psys", watts=12.0)
    assert found(root, counting).rails == ("psys",)


def test_the_same_zone_nested_and_linked_counts_once(root: Path, counting: Counting) -> None:
    # /sys/class/powercap holds a link to each zone, and zones nest below the links as well
    zone(counting, "intel-rapl:0", "package-0", watts=20.0)
    nested = zone(counting, "intel-rapl:0/intel-rapl:0:0", "dram", watts=2.0)
    (counting.powercap / "intel-rapl:0:0").symlink_to(nested)
    (counting.powercap / "intel-rapl").mkdir()  # the control type itself
    source = found(root, counting)
    source.read()
    counting.sleep_s(1.0)
    assert source.read() == pytest.approx({"rapl_energy_j": 20.0, "rapl_power_w": 20.0, "rapl_dram-0_w": 2.0})


def test_the_memory_mapped_twin_is_not_added(root: Path, counting: Counting) -> None:
    zone(counting, "intel-rapl:0", "package-0", watts=20.0)
    zone(counting, "intel-rapl-mmio:0", "package-0", watts=20.0)
    source = found(root, counting)
    source.read()
    counting.sleep_s(1.0)
    assert source.read()["rapl_power_w"] == pytest.approx(20.0)


def test_a_counter_that_starts_over_loses_nothing(root: Path, counting: Counting) -> None:
    zone(counting, "intel-rapl:0", "package-0", watts=100.0, start_uj=RANGE_UJ - 250_000_000)
    source = found(root, counting)  # finding takes 10 J of the 250 J that are left
    source.read()
    joules = []
    for _ in range(4):
        counting.sleep_s(1.0)
        joules.append(source.read()["rapl_energy_j"])
    assert joules == pytest.approx([100.0, 200.0, 300.0, 400.0])


def test_absent(root: Path, counting: Counting) -> None:
    assert "no intel-rapl" in refused(root, counting).reason
    assert "no intel-rapl" in refused(root / "nowhere", counting).reason


def test_present_and_dead(root: Path, counting: Counting) -> None:
    zone(counting, "intel-rapl:0", "package-0", watts=0.0)
    assert "do not count" in refused(root, counting).reason


def test_only_the_live_counters_are_used(root: Path, counting: Counting) -> None:
    zone(counting, "intel-rapl:0", "package-0", watts=10.0)
    zone(counting, "intel-rapl:0:1", "dram", watts=0.0)
    assert set(found(root, counting).read()) == {"rapl_energy_j", "rapl_power_w"}


@pytest.mark.parametrize("file", ["energy_uj", "max_energy_range_uj", "name"])
def test_present_and_unreadable(root: Path, counting: Counting, file: str) -> None:
    path = zone(counting, "intel-rapl:0", "package-0", watts=10.0)
    (path / file).unlink()
    (path / file).mkdir()  # reading a folder fails for root too
    counting.watts.clear()
    assert "cannot be read" in refused(root, counting).reason


@pytest.mark.parametrize(("file", "text"), [("energy_uj", ""), ("energy_uj", "n/a"), ("max_energy_range_uj", "0")])
def test_present_and_without_sense(root: Path, counting: Counting, file: str, text: str) -> None:
    path = zone(counting, "intel-rapl:0", "package-0", watts=10.0)
    (path / file).write_text(text)
    counting.watts.clear()
    assert "cannot be read" in refused(root, counting).reason


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Without root's right to read everything; does nothing for other users."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


def test_readable_by_root_only() -> None:
    folder = Path(tempfile.mkdtemp())  # pytest's own folders are closed to others
    try:
        folder.chmod(0o755)
        (folder / "sys/class/powercap").mkdir(parents=True)
        counting = Counting(folder / "sys/class/powercap")
        path = zone(counting, "intel-rapl:0", "package-0", watts=10.0)
        counting.watts.clear()
        (path / "energy_uj").chmod(0o000)
        with as_nobody():
            absent = refused(folder, counting)
    finally:
        shutil.rmtree(folder)
    assert "only root may read" in absent.reason
    assert absent.do == "sudo chmod a+r /sys/class/powercap/*/energy_uj"


def test_a_counter_that_goes_away_during_the_run_is_an_error(root: Path, counting: Counting) -> None:
    path = zone(counting, "intel-rapl:0", "package-0", watts=10.0)
    source = found(root, counting)
    source.read()
    (path / "energy_uj").unlink()
    with pytest.raises(MissingCapability, match="went away"):
        source.read()
