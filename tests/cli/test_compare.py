"""`espdeploy compare` as a table and as a gate."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import ModuleType

import pytest

from espdeploy import store
from espdeploy.records import Record, Series
from tests.cli.conftest import Run, assert_contract_error


@pytest.fixture
def two(example_records: ModuleType, tmp_path: Path):
    """Folders `base` and `new`; the new record's times are so many times the base's."""

    def write(factor: float, **changes: object) -> Record:
        from espdeploy.bench.statistics import summarise

        record = example_records.make()
        times = [10.0 + 0.01 * (i % 7) for i in range(200)]
        for folder, scale, extra in (("base", 1.0, {}), ("new", factor, changes)):
            scaled = [value * scale for value in times]
            series = Series(t_s=[i / 100 for i in range(200)], values=scaled)
            made = dataclasses.replace(
                record, latency_ms=summarise(scaled), fps=100 / scale, traces={"latency_ms": series}, **extra
            )
            store.append(made, tmp_path / folder)
        return record

    return write


def test_a_regression_ends_with_1_and_an_improvement_with_0(two, run: Run) -> None:
    two(1.10)
    ran = run("compare", "base", "new", "--max-regression", "latency=5%", "--json")
    assert ran.code == 1
    assert ran.document["passed"] is False
    row = next(row for row in ran.document["rows"] if row["metric"] == "latency")
    assert {"metric", "base", "new", "change_pct", "significant"} <= set(row)
    assert row["change_pct"] == pytest.approx(10.0)
    assert row["significant"] is True
    assert run("compare", "base", "new", "--max-regression", "latency=15%").code == 0
    assert run("compare", "new", "base", "--max-regression", "latency=0%").code == 0
    assert run("compare", "base", "new").code == 0
    assert "FAIL" in run("compare", "base", "new", "--max-regression", "fps=5").out


def test_a_limit_on_what_nobody_measured_is_not_met(two, run: Run) -> None:
    two(1.0, accuracy=None)
    ran = run("compare", "base", "new", "--max-regression", "accuracy=1%")
    assert ran.code == 1
    assert "not measured" in ran.out


def test_different_protocols_are_never_compared(two, run: Run, example_records: ModuleType) -> None:
    other = dataclasses.replace(example_records.make().protocol, id="v1-other")
    two(1.0, protocol=other)
    assert_contract_error(run("compare", "base", "new"), 2, "protocols", "v1-other")


def test_records_of_different_networks_have_nothing_in_common(two, run: Run, example_records: ModuleType) -> None:
    model = dataclasses.replace(example_records.make().model, name="another")
    two(1.0, model=model)
    assert_contract_error(run("compare", "base", "new"), 2, "another")


@pytest.mark.parametrize("limit", ["latencyy=5%", "latency", "latency=much", "latency=-3%", "latency=nan"])
def test_limits_that_are_none(limit: str, two, run: Run) -> None:
    two(1.0)
    assert_contract_error(run("compare", "base", "new", "--max-regression", limit), 2, "latency")


def test_a_side_without_records(two, run: Run) -> None:
    two(1.0)
    assert_contract_error(run("compare", "base", "nowhere"), 2, "nowhere")
