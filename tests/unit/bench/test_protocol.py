from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from espdeploy.bench.protocol import build
from espdeploy.specs import BenchSpec

SPEC = BenchSpec()
BASE: dict[str, Any] = {
    "threads": 2,
    "batch": 1,
    "transfers": "included",
    "cuda_graph": False,
    "spin_wait": False,
    "clock": "perf_counter_ns",
}


@pytest.mark.parametrize(
    ("field", "other"),
    [
        ("threads", 1),
        ("threads", None),
        ("batch", 8),
        ("transfers", "excluded"),
        ("transfers", None),
        ("cuda_graph", True),
        ("cuda_graph", None),
        ("spin_wait", True),
        ("clock", "cuda_events"),
        ("warmup_rule", "200 ms"),
    ],
)
def test_what_makes_times_incomparable_makes_another_id(field: str, other: object) -> None:
    assert build(SPEC, **{**BASE, field: other}).id != build(SPEC, **BASE).id


@pytest.mark.parametrize(
    "other",
    [
        replace(SPEC, trials=400),
        replace(SPEC, seed=7),
        replace(SPEC, warmup_min_s=5.0),
        replace(SPEC, sample_period_s=1.0),
    ],
)
def test_what_moves_only_the_uncertainty_keeps_the_id(other: BenchSpec) -> None:
    assert build(other, **BASE).id == build(SPEC, **BASE).id


def test_cold_times_are_another_protocol() -> None:
    cold = replace(SPEC, warmup_min_s=0.0, warmup_max_s=0.0)
    assert build(cold, **BASE).id != build(SPEC, **BASE).id


def test_the_id_stays_the_same_from_release_to_release() -> None:
    # records in users' folders carry it: a change here makes all of them incomparable
    assert build(SPEC, **BASE).id == "v1-91ad9359"


def test_the_record_says_what_was_asked() -> None:
    made = build(replace(SPEC, trials=50, warmup_min_s=2.0, seed=3), **BASE)
    assert (made.min_trials, made.warmup_s, made.seed, made.threads) == (50, 2.0, 3, 2)
