"""The collected files against the facts that were read off them independently, and whole files against a plain sum."""

from __future__ import annotations

import csv
import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from espdeploy.profilers.metrics import standard
from espdeploy.profilers.ncu.document import parse, recognise
from espdeploy.profilers.values import Profile, Reading

pytestmark = pytest.mark.data

#: marks of thousands and of decimals in each file; the others are of C
MARKS = {
    "jetson_orin_deeponet_darcy_raw.csv": (",", "."),
    "jetson_orin_fno_per_kernel.csv": (",", "."),
    "heat_3d_console_ishana23g.txt": (",", "."),
    "ncu2022.3_addConstDouble_details_deDE.csv": (".", ","),
    "windows_european_locale.csv": (".", ","),
}
FILES = {
    "err_launchfailed_nan_Fluuuegel.txt": "text",
    "heat_3d_console_ishana23g.txt": "summary-text",
    "jetson_orin_deeponet_darcy_raw.csv": "raw-csv",
    "jetson_orin_fno_per_kernel.csv": "summary-csv",
    "ncu2020.3_addConstDouble_details.csv": "details-csv",
    "ncu2022.3_addConstDouble_details.csv": "details-csv",
    "ncu2022.3_addConstDouble_details.txt": "text",
    "ncu2022.3_addConstDouble_details_deDE.csv": "details-csv",
    "ncu2022.3_addConstDouble_raw.csv": "raw-csv",
    "ncu2024.1_addConstDouble_selected_metrics.csv": "raw-csv",
    "ncu2024.1_sobelFloat_summary_per_kernel.csv": "summary-csv",
    "ncu2024.1_transposeCoalesced_details.csv": "details-csv",
    "ncu2024.1_transposeCoalesced_raw.csv": "raw-csv",
    "windows_european_locale.csv": "details-csv",
}
#: of a unit as ncu spells it, in the unit of the reading
SCALES = {
    "usecond": 1e3, "us": 1e3, "msecond": 1e6, "ms": 1e6, "nsecond": 1, "ns": 1, "Mbyte": 1e6, "Kbyte": 1e3,
    "cycle/nsecond": 1e9, "cycle/usecond": 1e6, "Ghz": 1e9, "%": 1, "": 1, "cycle": 1, "byte": 1, "inst/cycle": 1,
    "register/thread": 1, "warp": 1,
}  # fmt: skip


def read(folder: Path, name: str) -> Profile:
    with (folder / name).open(encoding="utf-8", newline="") as stream:
        return parse(stream)


@pytest.fixture(scope="module")
def folder(data_dir: Path) -> Path:
    return data_dir / "logs" / "ncu"


@pytest.fixture(scope="module")
def profiles(folder: Path) -> dict[str, Profile]:
    return {name: read(folder, name) for name in FILES}


def expected(folder: Path, name: str) -> dict[str, Any]:
    told = json.loads((folder / f"{name}.expected.json").read_text(encoding="utf-8"))
    assert isinstance(told, dict)
    return told


def number(text: str, name: str) -> float:
    thousands, point = MARKS.get(name, ("", "."))
    if re.fullmatch(r"-?\d+\.\d{6}", text):
        return float(text)  # the raw page's floats have a point everywhere
    return float((text.replace(thousands, "") if thousands else text).replace(point, "."))


def readings(profile: Profile, kernel: str, metric: str) -> list[Reading]:
    return [one for one in profile.readings if one.kernel.startswith(kernel) and one.metric == metric]


def test_no_file_is_forgotten(folder: Path) -> None:
    assert {path.name for path in folder.iterdir() if path.suffix != ".json"} == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_each_variant_is_told_by_its_beginning(folder: Path, name: str) -> None:
    text = (folder / name).read_text(encoding="utf-8")
    assert recognise(text[: 1 << 16]) == FILES[name]


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".csv")])
def test_cells_are_as_they_were_read_off(folder: Path, profiles: dict[str, Profile], name: str) -> None:
    profile, told = profiles[name], expected(folder, name)
    assert profile.skipped_lines == 0
    if told["launches"] is not None:
        assert sum(kernel.calls for kernel in profile.kernels) == told["launches"]
    if "kernels" in told:
        assert len(profile.kernels) == told["kernels"]
    rows = [*told.get("selected", [])]
    rows += [{**row, "kernel": ""} for row in told.get("first_rows", [])]  # they do not say whose they are
    cells = [(row["kernel"], row["metric"], row) for row in rows if "metric" in row]
    cells += [(row["kernel"], key, cell) for row in rows for key, cell in row.items() if isinstance(cell, dict)]
    assert cells
    for kernel, metric, cell in cells:
        value = number(cell["value"], name) * SCALES[cell["unit"]]
        found = readings(profile, kernel, metric)
        assert found, (kernel, metric)
        # of several launches, and of kernels whose names were cut, one
        between = [one for one in found if one.min <= value * (1 + 1e-12) and value <= one.max * (1 + 1e-12)]
        assert between, (kernel, metric, value, found)
        if len(found) == 1 and found[0].calls == 1:
            assert found[0].mean == pytest.approx(value, rel=1e-12)


def test_a_raw_page_of_31_launches_adds_up(folder: Path, profiles: dict[str, Profile]) -> None:
    """All its counters, summed by the csv module; the file's marks are those of en_US."""
    name = "jetson_orin_deeponet_darcy_raw.csv"
    with (folder / name).open(encoding="utf-8", newline="") as stream:
        header, units, *rows = csv.reader(stream)
    sums: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in rows:
        for metric, unit, cell in zip(header[11:], units[11:], row[11:], strict=True):
            if re.fullmatch(r"-?[\d,]+(\.\d+)?", cell) and not metric.startswith("device__"):
                sums[row[4], metric].append(float(cell.replace(",", "")) * SCALES.get(unit, 1))
    found = {(one.kernel, one.metric): one for one in profiles[name].readings}
    assert found.keys() == sums.keys()
    for key, values in sums.items():
        assert found[key].calls == len(values)
        assert found[key].mean == pytest.approx(sum(values) / len(values), rel=1e-9, abs=1e-12)
        assert (found[key].min, found[key].max) == pytest.approx((min(values), max(values)))
    times = sums["ampere_sgemm_128x64_tn", "gpu__time_duration.sum"]
    first = profiles[name].kernels[0]
    assert (first.name, first.calls) == ("ampere_sgemm_128x64_tn", 3)
    assert (first.total_ms, first.max_us) == pytest.approx((sum(times) / 1e6, max(times) / 1e3))
    assert profiles[name].device == "Orin"


def test_a_summary_adds_up_over_shapes(folder: Path, profiles: dict[str, Profile]) -> None:
    name = "jetson_orin_fno_per_kernel.csv"
    total_ns: dict[str, float] = defaultdict(float)
    calls: dict[str, int] = defaultdict(int)
    with (folder / name).open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            if row["Metric Name"] == "Duration":
                calls[row["Kernel Name"]] += int(row["Invocations"])
                mean = float(row["Average"].replace(",", "")) * SCALES[row["Metric Unit"]]
                total_ns[row["Kernel Name"]] += mean * int(row["Invocations"])
    assert {one.name: one.calls for one in profiles[name].kernels} == calls
    for kernel in profiles[name].kernels:
        assert kernel.total_ms == pytest.approx(total_ns[kernel.name] / 1e6)


def test_locales_and_releases_print_one_recording_alike(profiles: dict[str, Profile]) -> None:
    plain = profiles["ncu2022.3_addConstDouble_details.csv"]
    german = profiles["ncu2022.3_addConstDouble_details_deDE.csv"]
    assert german.readings == plain.readings
    assert german.kernels == plain.kernels
    assert profiles["ncu2020.3_addConstDouble_details.csv"].readings == plain.readings
    assert {(one.metric, one.mean) for one in profiles["ncu2022.3_addConstDouble_details.txt"].readings} == {
        (one.metric, one.mean) for one in plain.readings
    }
    exact = profiles["ncu2022.3_addConstDouble_raw.csv"].kernels[0].mean_us
    assert (exact, plain.kernels[0].mean_us) == (pytest.approx(239.008), pytest.approx(239.01))


def test_windows_prints_117_thousand_nanoseconds(profiles: dict[str, Profile]) -> None:
    gemm, reduce = profiles["windows_european_locale.csv"].kernels
    assert (gemm.calls, gemm.min_us, gemm.max_us) == (2, 117.344, pytest.approx(120.416))
    assert reduce.mean_us == 14.912
    (share,) = readings(
        profiles["windows_european_locale.csv"], "ampere", "sm__throughput.avg.pct_of_peak_sustained_elapsed"
    )
    assert share.mean == 65.77


def test_a_console_summary(folder: Path, profiles: dict[str, Profile]) -> None:
    """Its expectation counts no heads of kernels, since they name no context; three stand there, of 34 launches."""
    name = "heat_3d_console_ishana23g.txt"
    profile, told = profiles[name], expected(folder, name)
    assert sum(kernel.calls for kernel in profile.kernels) == told["profiled_lines"] == profile.extra["profiled"]
    assert [kernel.calls for kernel in profile.kernels] == [20, 10, 4]
    by_calls = {one.calls: one for one in profile.readings if one.metric == "Achieved Occupancy"}
    cells = [[float(cell) for cell in row.split()] for row in told["achieved_occupancy_cells"]]
    for calls, (least, most, mean) in zip((4, 10, 20), cells, strict=True):
        found = by_calls[calls]
        assert (found.min, found.max, found.mean) == (least, most, pytest.approx(mean))
    assert standard(profile.readings, profile.kernels)["achieved_occupancy"].weighted_by == "time"


def test_a_launch_that_failed(folder: Path, profiles: dict[str, Profile]) -> None:
    name = "err_launchfailed_nan_Fluuuegel.txt"
    profile, told = profiles[name], expected(folder, name)
    (kernel,) = profile.kernels
    assert (kernel.calls, kernel.total_ms, kernel.mean_us) == (1, None, None)
    assert kernel.name.startswith("render(vec3 *, int")
    assert all(one.mean is None for one in profile.readings)
    said = [error.text for error in profile.errors] + list(profile.notes)
    for message in told["messages"][:3]:  # the fourth follows from the others
        assert any(text.startswith(message.partition("== ")[2][:100]) for text in said)
    assert [error.code for error in profile.errors] == ["gpu_failed", "application_failed"]
    assert standard(profile.readings, profile.kernels) == {}
