"""Several frequencies in one request: the order, the rest between, and what they say together."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espdeploy.pipeline.measuring.frequencies import cool_down, order, over, together
from espdeploy.protocols import no_progress
from espdeploy.records import GpuFrequency, Record


@given(st.lists(st.integers(100, 1400).map(float), min_size=1, max_size=13, unique=True))
def test_every_frequency_is_measured_and_the_first_once_more(steps: list[float]) -> None:
    found = order(steps)
    assert set(found) == set(steps)
    if len(steps) < 3:
        assert found == steps
        return
    assert found[0] == found[-1] == max(steps)
    assert len(found) == len(steps) + 1
    # heat that builds up over time cannot look like a slope over frequency: high and low take turns
    middle = sorted(steps)[len(steps) // 2]
    assert all((a - middle) * (b - middle) <= 0 for a, b in itertools.pairwise(found[:-1]))


class Resting:
    """A clock whose sleeping cools the board."""

    def __init__(self, zone: Path, per_sleep_c: float) -> None:
        self.slept_s, self._zone, self._step_c = 0.0, zone, per_sleep_c

    def now_ns(self) -> int:
        return 0

    def sleep_s(self, seconds: float) -> None:
        self.slept_s += seconds
        self._zone.write_text(str(int(float(self._zone.read_text()) - self._step_c * 1000)))


@pytest.fixture
def zone(tmp_path: Path) -> Path:
    folder = tmp_path / "sys/class/thermal/thermal_zone0"
    folder.mkdir(parents=True)
    (folder / "type").write_text("GPU-therm")
    (folder / "temp").write_text("50000")
    return folder / "temp"


def test_it_rests_until_within_two_degrees_of_the_start(tmp_path: Path, zone: Path) -> None:
    clock = Resting(zone, 1.0)
    assert cool_down(40.0, clock=clock, progress=no_progress, root=tmp_path) is None
    assert int(zone.read_text()) == 42000
    assert cool_down(None, clock=clock, progress=no_progress, root=tmp_path) is None  # nothing tells a temperature
    stuck = Resting(zone, 0.0)
    note = cool_down(30.0, clock=stuck, progress=no_progress, root=tmp_path)
    assert note is not None
    assert "still 42.0 °C" in note
    assert 290 <= stuck.slept_s <= 310


def _at(example_records: ModuleType, mhz: float, mean_ms: float, *, read_mhz: float | None = None) -> Record:
    record: Record = example_records.make()
    times = dataclasses.replace(record.latency_ms, mean=mean_ms, p50=mean_ms, ci95=(mean_ms, mean_ms))
    clock = GpuFrequency(requested=mhz, set=mhz, mean=read_mhz or mhz)
    device = dataclasses.replace(record.device, gpu_freq_mhz=clock)
    return dataclasses.replace(record, latency_ms=times, device=device, interrupted=False, findings=[])


def test_a_repeated_frequency_that_differs_is_a_verdict(example_records: ModuleType) -> None:
    records = [_at(example_records, 1000, 10), _at(example_records, 500, 20), _at(example_records, 1000, 11)]
    found = together(records)
    assert [finding.code for finding in found[2].findings] == ["repeat_differs"]
    assert "+10.0 %" in found[2].findings[0].text
    assert not found[0].findings
    assert all(record.frequency_sensitivity == found[0].frequency_sensitivity for record in found)


def test_a_clock_that_did_not_hold_counts_as_what_it_was(example_records: ModuleType) -> None:
    """Set to 500 and running at 1000: a sensitivity from 500 to 1000 would be made up."""
    honest = over([_at(example_records, 500, 20), _at(example_records, 1000, 10)])
    assert honest is not None
    assert honest.span.value == pytest.approx(0.5)
    assert over([_at(example_records, 500, 10, read_mhz=1000), _at(example_records, 1000, 10)]) is None
