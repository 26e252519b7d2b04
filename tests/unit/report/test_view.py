"""What the page claims: comparisons only where they are fair, unknown values never as 0."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import pytest

from espdeploy.records import Accuracy, Finding, Record, Series
from espdeploy.report import summary, view
from espdeploy.report.entries import comparable_sets, grouped, performance_only
from espdeploy.report.parts import Cell

MADE = view.Made(title="t", generated="2026-02-03T11:00:00+00:00", espdeploy_version="0")


def row_of(record: Record) -> dict[str, Cell]:
    table = summary.table(grouped([record])[0])
    return dict(zip((column.head for column in table.columns), table.rows[0], strict=True))


def test_figures_stand_in_the_units_of_their_heads(example_records: ModuleType) -> None:
    record = example_records.make(
        fps=41.04,
        power=example_records.power(20.52, 41.04),
        model=example_records.model("m", 364_569, macs=4_512_345_678),
    )
    row = row_of(record)
    assert row["Speed"].text == "41.0"
    assert row["Params"].text == "0.365"
    assert row["Params"].below == "1.46 MB"  # 364,569 x 4 bytes
    assert row["MACs"].text == "4.51"
    assert row["Power"].text == "20.5"
    assert row["Energy"].text == "500"  # 20.52 W / 41.04 frames per second = 0.5 J
    assert row["Input"].text == "1024×512"


def test_unknown_is_a_dash_with_its_reason_and_zero_stays_zero(example_records: ModuleType) -> None:
    record = example_records.timed(
        [1.0] * 150,
        notes=["power: no permission to read /sys/class/powercap"],
        model=example_records.model("m", None, macs=0),
    )
    row = row_of(record)
    assert [row[head].text for head in ("p95", "Params", "MACs", "Power", "Energy")] == ["–", "–", "0", "–", "–"]
    assert "fewer than 10" in row["p95"].title
    assert row["Power"].title == "power: no permission to read /sys/class/powercap"
    notes = dict(summary.table(grouped([record])[0]).notes)
    assert notes[row["Power"].note] == row["Power"].title
    assert row["Accuracy"].text == "not evaluated"


def test_accuracy_stands_beside_its_reference(example_records: ModuleType) -> None:
    score = Accuracy(metric="miou_pct", value=60.31, reference_value=60.42, data="val")
    cell = row_of(example_records.make(accuracy=score))["Accuracy"]
    assert cell.text == "60.3 % mIOU"
    assert cell.below == "reference 60.4"


@pytest.mark.parametrize(
    ("weights", "provenance", "expected"),
    [
        ("random initialisation, seed 0", {}, True),
        ("espnet.pth", {"calibration": "random data"}, True),
        ("espnet.pth", {"performance_only": True}, True),
        ("espnet.pth", {"calibration": "cityscapes"}, False),
        (None, {}, False),
    ],
)
def test_random_weights_or_calibration_are_shown_as_performance_only(
    example_records: ModuleType, weights: str | None, provenance: dict[str, str], expected: bool
) -> None:
    record = example_records.make(
        model=example_records.model("m", 1, weights=weights), engine=example_records.engine(provenance=provenance)
    )
    assert performance_only(record) is expected
    assert bool(row_of(record)["Model"].tags) is expected


def test_only_whole_real_runs_of_one_protocol_and_input_are_compared(example_records: ModuleType) -> None:
    other_size = example_records.model("m", 1, input_shape=(1, 3, 256, 512))
    records = [
        example_records.make(id="a"),
        example_records.make(id="b"),
        example_records.make(id="simulated", device=example_records.device(simulated=True)),
        example_records.make(id="interrupted", interrupted=True),
        example_records.make(id="size", model=other_size),
        example_records.make(id="protocol", protocol=example_records.protocol(id="other")),
    ]
    sets = [entries for group in grouped(records) for entries in comparable_sets(group)]
    assert [[entry.record.id for entry in entries] for entries in sets] == [["a", "b"]]


def test_the_fastest_and_the_most_efficient_are_found(example_records: ModuleType) -> None:
    slow = example_records.make(id="slow", fps=20.0, power=example_records.power(10.0, 20.0))
    fast = example_records.make(id="fast", fps=30.0, power=example_records.power(30.0, 30.0))
    speed, energy = view.build([slow, fast], [], MADE).lead
    assert speed.link == "r2"
    assert "30.0 FPS" in speed.strong
    assert "1.50×" in speed.after
    assert energy.link == "r1"
    assert "500 mJ" in energy.strong


def test_two_means_whose_intervals_overlap_are_not_told_apart(example_records: ModuleType) -> None:
    base = example_records.make()
    near = [replace(base.latency_ms, ci95=interval) for interval in ((24.0, 24.4), (24.3, 24.6), (24.5, 24.9))]
    one, overlapping, apart = (replace(base, latency_ms=times, fps=50.0 - i) for i, times in enumerate(near))
    assert "not told apart" in view.build([one, overlapping], [], MADE).lead[0].after
    assert "not told apart" not in view.build([one, apart], [], MADE).lead[0].after


def test_energy_of_different_sensors_is_not_ranked(example_records: ModuleType) -> None:
    power = example_records.power(10.0, 20.0)
    records = [
        example_records.make(id="a", power=power),
        example_records.make(id="b", power=replace(power, source="ina3221")),
    ]
    assert len(view.build(records, [], MADE).lead) == 1


def test_a_finding_of_many_records_stands_once_and_errors_stand_first(example_records: ModuleType) -> None:
    note = Finding(code="governor", severity="info", text="t", do="d")
    error = Finding(code="interrupted", severity="error", text="e", do="again")
    records = [example_records.make(findings=[note]), example_records.make(findings=[note, error], id="2")]
    rows = view.build(records, [], MADE).findings
    assert [(row.code, [ref for ref, _ in row.refs]) for row in rows] == [
        ("interrupted", ["R2"]),
        ("governor", ["R1", "R2"]),
    ]


def test_findings_that_differ_in_one_figure_stand_once_as_a_range(example_records: ModuleType) -> None:
    told = [("other programs took 54.5 % of the time", "load"), ("clock fell from 1,300 to 854 MHz", "clock")]
    other = [("other programs took 9 % of the time", "load"), ("clock fell from 1,122 to 624 MHz", "clock")]
    records = [
        example_records.make(
            id=str(index), findings=[Finding(code=code, severity="warning", text=text, do="d") for text, code in texts]
        )
        for index, texts in enumerate((told, other))
    ]
    rows = view.build(records, [], MADE).findings
    assert [(row.text, [ref for ref, _ in row.refs]) for row in rows] == [
        ("other programs took 9 to 54.5 % of the time", ["R1", "R2"]),
        ("clock fell from 1,300 to 854 MHz", ["R1"]),  # two figures that belong to each other
        ("clock fell from 1,122 to 624 MHz", ["R2"]),
    ]


def test_what_records_share_stands_once(example_records: ModuleType) -> None:
    page = view.build(example_records.suite(), [], MADE)
    assert len(page.devices) == 2
    assert len(page.runtimes) == 2
    assert [len(sheet.refs) for sheet in page.protocols] == [7, 1]


def test_settings_that_differ_tell_models_apart(example_records: ModuleType) -> None:
    records = [
        example_records.make(
            id=str(scale), model=example_records.model("espnetv2", 1, settings={"scale": scale, "classes": 20})
        )
        for scale in (1.0, 1.5)
    ]
    assert [entry.model for entry in grouped(records)[0].entries] == ["espnetv2 scale=1.0", "espnetv2 scale=1.5"]


def test_utilisation_begins_with_the_first_trial_and_counts_its_gaps(example_records: ModuleType) -> None:
    traces = {
        "cpu_pct": Series(t_s=[-0.2, -0.1, 0.0, 0.1, 0.2], values=[99.0, 98.0, 10.0, None, 30.0]),
        "rapl_energy_j": Series(t_s=[0.0, 0.1], values=[1.0, 2.0]),
        "memory_used_mb": Series(t_s=[0.0, 0.1], values=[100.0, 101.0]),
        "memory_pct": Series(t_s=[0.0, 0.1], values=[1.0, 1.0]),
        "board_5v_mw": Series(t_s=[0.0, 0.1], values=[4000.0, 4100.0]),
    }
    (detail,) = view.build([example_records.make(traces=traces)], [], MADE).details
    cpu, memory, rail = detail.usage
    assert cpu.chart.points == ((0.0, 10.0), (0.1, None), (0.2, 30.0))
    assert "1 without a reading." in cpu.captions
    assert [memory.chart.y_title, rail.chart.y_title] == ["MB", "mW"]
    assert rail.name == "Board 5v"


def test_rails_share_a_chart_and_what_never_changed_is_told_in_words(example_records: ModuleType) -> None:
    t_s = [0.0, 0.1, 0.2]
    traces = {
        "ina3221_rail_VDD_GPU_w": Series(t_s=t_s, values=[3.0, 3.2, 3.4]),
        "ina3221_rail_VDD_IN_w": Series(t_s=t_s, values=[7.0, 7.5, 8.0]),
        "ina3221_total_w": Series(t_s=t_s, values=[7.0, 7.5, 8.0]),
        "soc_gpu_freq_mhz": Series(t_s=t_s, values=[1300.5, 1300.5, 1300.5]),
        "soc_temp_GPU-therm_c": Series(t_s=t_s, values=[40.0, 40.5, 41.0]),
    }
    (detail,) = view.build([example_records.make(traces=traces)], [], MADE).details
    temperature, rails = detail.usage
    assert (temperature.name, temperature.chart.unit) == ("Temperature, GPU-therm (kernel)", "°C")
    assert rails.name == "Power by rail (INA3221)"
    # the total is VDD_IN again: one line, not two upon each other
    assert [course.text for course in rails.chart.courses] == ["VDD_IN: mean 7.50 W", "VDD_GPU: mean 3.20 W"]
    assert [(fact.name, fact.value) for fact in detail.constants] == [("GPU clock (kernel)", "1,300.5 MHz")]


def test_one_command_of_many_records_stands_once(example_records: ModuleType) -> None:
    records = [example_records.make(id=name) for name in ("aa", "bb")]
    (repeat,) = view.build(records, [], MADE).repeats
    assert [ref for ref, _ in repeat.refs] == ["R1", "R2"]
    assert [fact.value[:2] for fact in repeat.runs] == ["aa", "bb"]


def test_a_chart_that_sets_nothing_against_anything_is_left_out(example_records: ModuleType) -> None:
    one_size = [example_records.make(id=str(fps), fps=fps) for fps in (10.0, 20.0)]
    (comparison,) = view.build(one_size, [], MADE).comparisons
    assert [figure.name for figure in comparison.figures] == ["Latency of each record"]


def test_the_thirds_show_the_drift_of_their_medians(example_records: ModuleType) -> None:
    times = [10.0] * 10 + [10.5] * 10 + [11.0] * 10
    (detail,) = view.build([example_records.timed(times)], [], MADE).details
    course = detail.latency[1]
    assert [section.level for section in course.chart.sections] == [10.0, 10.5, 11.0]
    assert "Median of the first third 10.0 ms, of the last 11.0 ms (+10.0 %)." in course.captions
