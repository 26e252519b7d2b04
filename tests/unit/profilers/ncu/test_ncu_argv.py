"""The commands: 2020.3, 2022.3 and 2024.1 take these options as they are written here (tried)."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from espdeploy.errors import UsageError
from espdeploy.profilers.ncu.argv import NcuPlan, command, counters, kernel_scope, release_of

LOG = Path("/tmp/run/ncu.csv")  # noqa: S108 - never opened
RUN = ("trtexec", "--loadEngine=a.engine")


def test_the_vocabularys_counters_in_one_run_with_nothing_left_to_defaults() -> None:
    words = command(NcuPlan(application=RUN, log=LOG, compute_capability="8.9"))
    assert words[0] == "ncu"
    assert words[-2:] == RUN
    options = dict(pairwise(words[1:-2]))
    assert (options["--page"], options["--print-units"], options["--log-file"]) == ("raw", "base", str(LOG))
    assert (options["--target-processes"], options["--clock-control"]) == ("all", "none")
    wanted = options["--metrics"].split(",")
    assert len(wanted) == len(set(wanted))
    assert {"gpu__time_duration.sum", "dram__bytes_read.sum.per_second"} <= set(wanted)


@pytest.mark.parametrize("capability", ["7.2", "8.7"])
def test_jetsons_are_not_asked_for_counters_that_they_lack(capability: str) -> None:
    wanted = counters(NcuPlan(application=RUN, log=LOG, compute_capability=capability))
    assert not any(name.startswith("dram__") for name in wanted)
    assert "smsp__cycles_active.avg.pct_of_peak_sustained_elapsed" in wanted


def test_kernels_and_launches_bound_a_run() -> None:
    plan = NcuPlan(
        application=RUN,
        log=LOG,
        counters=("sm__x.sum",),
        kernels=("a::b<int>(int)", "c"),
        launches=10,
        skipped_launches=5,
    )
    words = command(plan, program="/opt/ncu")
    assert words[0] == "/opt/ncu"
    assert " ".join(words).endswith(
        "-k regex:^(b|c)$ --launch-skip 5 --launch-count 10 --metrics gpu__time_duration.sum,sm__x.sum " + " ".join(RUN)
    )


def test_until_2020_a_regular_expression_had_no_mark() -> None:
    assert release_of("NVIDIA (R) Nsight Compute\nVersion 2020.3.1.0 (build 29567428)\n") == (2020, 3)
    assert release_of("no such program") is None
    assert kernel_scope(("k(int)",), release=(2020, 3)) == "^(k)$"
    assert kernel_scope(("k(int)",), release=(2024, 1)) == "regex:^(k)$"


@pytest.mark.parametrize(
    ("kernel", "own"),
    [
        ("void cudnn::detail::implicit_convolve_sgemm<float, int=1024>(int, float const *)", "implicit_convolve_sgemm"),
        ("void <unnamed>::softmax<float>(float*, int)", "softmax"),
        ("void at::native::(anonymous namespace)::cat<at::native::(anonymous namespace)::O<4>>(int)", "cat"),
        ("sm80_xmma_fprop_implicit_gemm", "sm80_xmma_fprop_implicit_gemm"),
    ],
)
def test_a_kernel_is_told_by_its_own_name(kernel: str, own: str) -> None:
    pattern = kernel_scope((kernel,)).removeprefix("regex:")
    assert re.search(pattern, own)
    assert not re.search(pattern, own + "_other")


@pytest.mark.parametrize(
    "plan",
    [
        NcuPlan(application=(), log=LOG),
        NcuPlan(application=RUN, log=LOG, counters=("a,b; rm",)),
        NcuPlan(application=RUN, log=LOG, launches=0),
    ],
)
def test_an_impossible_plan_is_refused(plan: NcuPlan) -> None:
    with pytest.raises(UsageError):
        command(plan)
