"""Commands of Nsight Systems."""

from __future__ import annotations

from pathlib import Path

from espdeploy.profilers.nsys.argv import RecordPlan, StatsPlan, export_argv, record_argv, stats_argv


def test_recording_shows_kernels_of_graphs_and_exports_at_once() -> None:
    plan = RecordPlan(program=("trtexec", "--loadEngine=a b.engine"), output=Path("out/run"))
    argv = record_argv(plan)
    assert argv[:2] == ("nsys", "profile")
    assert argv[-2:] == plan.program
    assert {"--cuda-graph-trace=node", "--export=sqlite", "--output=out/run", "--stats=false"} <= set(argv)


def test_reports_are_asked_for_by_the_name_that_the_release_knows() -> None:
    old, new = (stats_argv(StatsPlan(recording=Path("r"), version=version, reports=("kernels", "calls")))
                for version in ((2022, 4, 2), (2023, 1)))  # fmt: skip
    assert "--report=gpukernsum,cudaapisum" in old
    assert "--report=cuda_gpu_kern_sum,cuda_api_sum" in new


def test_an_export_names_both_files() -> None:
    argv = export_argv(Path("r.nsys-rep"), Path("r.sqlite"), nsys="/opt/nsys")
    assert (argv[0], argv[-1]) == ("/opt/nsys", "r.nsys-rep")
    assert "--output=r.sqlite" in argv
