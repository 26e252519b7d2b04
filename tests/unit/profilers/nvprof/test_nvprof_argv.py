"""The commands: nvprof 11.8 takes these options as they are written here (tried with and without metrics)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from espdeploy.errors import UsageError
from espdeploy.profilers.nvprof.argv import PAPER_METRICS, NvprofPlan, command, kernel_scope, log_files

LOG = Path("/tmp/run/nvprof.csv")  # noqa: S108 - never opened
RUN = ("trtexec", "--loadEngine=a.engine")


def test_a_summary() -> None:
    assert command(NvprofPlan(application=RUN, log=LOG)) == ("nvprof", "--csv", "--log-file", str(LOG), *RUN)


def test_metrics_of_some_kernels_stand_behind_their_scope() -> None:
    plan = NvprofPlan(
        application=RUN,
        log=LOG,
        metrics=PAPER_METRICS[:2],
        kernels=("void ns::gemm<float, int=4>(float const *)", "plain"),
        from_start=False,
    )
    options = command(plan, program="/opt/nvprof")
    assert options[:6] == ("/opt/nvprof", "--csv", "--log-file", str(LOG), "--profile-from-start", "off")
    assert options[6:] == (
        *("--kernels", "::(gemm|plain):"),
        *("--metrics", "warp_execution_efficiency,gld_efficiency"),
        *RUN,
    )


@pytest.mark.parametrize(
    "kernel",
    [
        "void cudnn::detail::implicit_convolve_sgemm<float, int=1024>(int, float const *)",
        "(anonymous namespace)::softmax(float*, int)",
        "generatedNativePointwise",
        "_Z3fooPi",
        "void thrust::operator()<int>(a:b)",
        "k [clone .kd]",
    ],
)
def test_a_scope_finds_its_kernel_and_holds_no_more_colons(kernel: str) -> None:
    context, stream, name, invocation = kernel_scope((kernel,)).split(":")
    assert (context, stream, invocation) == ("", "", "")
    assert re.search(name, kernel)


def test_each_process_gets_a_file_of_its_own(tmp_path: Path) -> None:
    plan = NvprofPlan(application=RUN, log=tmp_path / "50% done.csv", child_processes=True)
    options = command(plan)
    assert "--profile-child-processes" in options
    assert options[3] == str(tmp_path / "50%% done.%p.csv")  # nvprof writes %% as %
    for name in ("50% done.12.csv", "50% done.7.csv", "50% done.csv", "50% done.x.csv"):
        (tmp_path / name).write_text("")
    assert [path.name for path in log_files(plan)] == ["50% done.12.csv", "50% done.7.csv"]


def test_other_options() -> None:
    options = command(NvprofPlan(application=RUN, log=LOG, trace=True, unified_memory=False, timeout_s=30))
    assert options[4:9] == ("--print-gpu-trace", "--unified-memory-profiling", "off", "--timeout", "30")


@pytest.mark.parametrize(
    "plan",
    [
        NvprofPlan(application=(), log=LOG),
        NvprofPlan(application=RUN, log=LOG, kernels=("k",)),
        NvprofPlan(application=RUN, log=LOG, metrics=("gld_efficiency;rm",)),
        NvprofPlan(application=RUN, log=LOG, metrics=("--events",)),
    ],
)
def test_plans_that_nvprof_would_misread_are_refused(plan: NvprofPlan) -> None:
    with pytest.raises(UsageError) as caught:
        command(plan)
    assert caught.value.do
