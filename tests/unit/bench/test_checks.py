from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from espdeploy.bench.checks import Evidence, findings
from espdeploy.bench.warmup import Warmup

QUIET = [float(t) for t in np.random.default_rng(0).normal(50.0, 0.5, 1000)]
STEADY = Warmup(trials=100, seconds=5.0, steady=True, window_medians_ms=(50.0, 50.0, 50.0))
CLEAN: dict[str, Any] = {
    "times_ms": QUIET,
    "warmup": STEADY,
    "timer_overhead_us": 0.2,
    "requested_trials": 1000,
    "sampler_cpu_pct": 1.0,
    "cpu_pct": 52.0,
    "process_cpu_pct": 200.0,
    "cores": 4,
    "cores_available": 4,
    "threads": 2,
    "cpu_governor": "performance",
    "on_battery": False,
    "memory_pct": 60.0,
    "swap_start_mb": 10.0,
    "swap_end_mb": 10.0,
    "throttled": False,
    "gpu_clock_mhz": [854.25, 854.25],
}


def found(**changes: Any) -> dict[str, Any]:
    return {finding.code: finding for finding in findings(Evidence(**{**CLEAN, **changes}))}


def test_a_clean_run_has_nothing_said_about_it() -> None:
    assert found() == {}


def test_what_is_unknown_is_not_judged() -> None:
    assert findings(Evidence(times_ms=QUIET, requested_trials=1000)) == []


@pytest.mark.parametrize(
    ("code", "changes", "says", "do"),
    [
        ("interrupted", {"interrupted": True, "requested_trials": 5000}, "1000 of 5000", "--trials 1000"),
        (
            "not_steady",
            {"warmup": Warmup(trials=90, seconds=20.0, steady=False, window_medians_ms=(50.0,) * 9)},
            "5 %",
            "--warmup-max-s 40",
        ),
        (
            "not_steady",
            {"times_ms": [4000.0] * 1000, "warmup": Warmup(trials=5, seconds=20.0, steady=False)},
            "could not be judged",
            "--warmup-max-s 44",
        ),
        (
            "not_steady",
            {"warmup": Warmup(trials=90, seconds=2.0, steady=False, window_medians_ms=(50.0,) * 9, fixed=True)},
            "5 %",
            "--warmup-s 4",
        ),
        ("spread", {"times_ms": [t * (1 + 0.5 * (k % 2)) for k, t in enumerate(QUIET)]}, "20 %", "--threads"),
        ("drift", {"times_ms": [t * (1 + 0.1 * k / 1000) for k, t in enumerate(QUIET)]}, "+7 %", "cooling"),
        ("drift", {"times_ms": [t * (1.1 - 0.1 * k / 1000) for k, t in enumerate(QUIET)]}, "-6 %", "--warmup-s"),
        ("throttled", {"throttled": True}, "lowered its own clocks", "--freq"),
        ("clock_moved", {"gpu_clock_mhz": [1300.5, 1122.0]}, "1122 and 1300 MHz", "--freq 1122"),
        ("slow_first_trial", {"times_ms": [90.0, *QUIET[1:]]}, "90 ms", "--warmup-s"),
        ("outliers", {"times_ms": [*QUIET[:500], 90.0, 95.0, *QUIET[502:]]}, "2 of 1000", "--trials"),
        ("other_load", {"cpu_pct": 61.0}, "11 %", "top"),
        ("threads_over_cores", {"cores_available": 1}, "2 threads on 1 cores", "--threads 1"),
        ("memory_full", {"memory_pct": 97.0}, "97 %", "--batch"),
        ("swapping", {"swap_end_mb": 90.0}, "80 MB", "--size"),
        ("timer_overhead", {"timer_overhead_us": 600.0}, "600 us", "--batch"),
        ("sampler_cost", {"sampler_cpu_pct": 2.1}, "2.1 %", "--threads"),
        ("on_battery", {"on_battery": True}, "battery", "mains"),
        ("cpu_governor", {"cpu_governor": "schedutil"}, "schedutil", "cpupower"),
        ("cpu_governor", {"cpu_governor": "schedutil", "jetson": True}, "schedutil", "jetson_clocks"),
        ("too_few_for_percentiles", {"times_ms": QUIET[:150]}, "p95, p99", "--trials 1000"),
        ("too_few_trials", {"times_ms": QUIET[:4]}, "4 trials", "--trials 200"),
    ],
)
def test_each_weakness_is_named_with_its_remedy(code: str, changes: dict[str, Any], says: str, do: str) -> None:
    finding = found(**changes)[code]
    assert says in finding.text
    assert do in finding.do
    assert finding.severity in {"info", "warning"}


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("spread", {"times_ms": [t * (1 + 0.18 * (k % 2)) for k, t in enumerate(QUIET)]}),  # 8.3 %
        ("drift", {"times_ms": [t * (1 + 0.06 * k / 1000) for k, t in enumerate(QUIET)]}),  # 4 %
        ("clock_moved", {"gpu_clock_mhz": [1300.5, 1250.0]}),
        ("outliers", {"times_ms": [*QUIET[:-1], 60.0]}),
        ("other_load", {"cpu_pct": 59.0}),
        ("memory_full", {"memory_pct": 94.0}),
        ("swapping", {"swap_end_mb": 20.0}),
        ("timer_overhead", {"timer_overhead_us": 400.0}),
        ("sampler_cost", {"sampler_cpu_pct": 2.0}),
    ],
)
def test_just_inside_a_limit_nothing_is_said(code: str, changes: dict[str, Any]) -> None:
    assert code not in found(**changes)


def test_correlated_times_are_said_to_be_drawn_in_blocks() -> None:
    slow_wave = [50 + 2 * float(np.sin(k / 30)) for k in range(1000)]
    assert "blocks of 10" in found(times_ms=slow_wave)["autocorrelated"].text


def test_what_spoils_the_figures_comes_first() -> None:
    times = [*(t * (1 + 0.5 * (k % 2)) for k, t in enumerate(QUIET[:150]))]
    order = [finding.code for finding in findings(Evidence(**{**CLEAN, "times_ms": times, "interrupted": True}))]
    assert order[0] == "interrupted"
    assert order.index("spread") < order.index("too_few_for_percentiles")
