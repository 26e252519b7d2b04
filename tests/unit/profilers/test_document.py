"""Files of one run as one document: means, joins, and what is not known."""

from __future__ import annotations

import pytest

from espdeploy.profilers.categories import CATEGORIES
from espdeploy.profilers.document import Part, document
from espdeploy.profilers.values import Kernel, MemoryOperation, Profile, Reading, ToolMessage

GEMM, COPY, POOL = "volta_sgemm_128x64_nn", "copyPackedKernel", "void pool<(int)2>(float *)"


def kernel(name: str, calls: int, total_ms: float | None = None) -> Kernel:
    return Kernel(name=name, calls=calls, total_ms=total_ms)


def reading(name: str, metric: str, mean: float | None, calls: int = 1, unit: str = "%") -> Reading:
    return Reading(kernel=name, metric=metric, unit=unit, calls=calls, mean=mean)


def part(kind: str, *, file: str = "f", **held: object) -> Part:
    return Part(file=file, variant="any", profile=Profile(kind=kind, **held))  # type: ignore[arg-type]


def told(*parts: Part) -> dict:
    return document(parts)


TIMES = part("nsys", kernels=(kernel(GEMM, 2, 30.0), kernel(COPY, 10, 10.0), kernel(POOL, 1, 60.0)))


def test_shares_are_of_the_time_of_all_kernels_longest_first() -> None:
    read = told(TIMES)
    assert [one["name"] for one in read["kernels"]] == [POOL, GEMM, COPY]
    assert [one["time_pct"] for one in read["kernels"]] == [60, 30, 10]
    assert {name: share for name, share in read["categories"].items() if share} == {
        "pooling": 60,
        "gemm": 30,
        "memory": 10,
    }
    assert list(read["categories"]) == list(CATEGORIES)
    assert read["memory_alignment_pct"] == 10
    assert read["category_kinds"] == {"memory": {"layout": 10}}
    assert (read["metrics"], read["weighted_by"]) == ({}, None)


def test_times_of_one_file_weigh_the_counters_of_another_though_their_names_are_spelled_differently() -> None:
    counted = part(
        "ncu",
        kernels=(kernel(GEMM, 1), kernel("void pool<2>(float *)", 1)),
        readings=(
            reading(GEMM, "smsp__thread_inst_executed_per_inst_executed.ratio", 16.0, unit=""),
            reading("void pool<2>(float *)", "smsp__thread_inst_executed_per_inst_executed.ratio", 32.0, unit=""),
        ),
    )
    for files in ((TIMES, counted), (counted, TIMES)):
        read = told(*files)
        warp = read["metrics"]["warp_execution_efficiency"]
        assert warp["mean_pct"] == pytest.approx((50 * 30 + 100 * 60) / 90)
        assert [(one["name"], one["mean_pct"]) for one in warp["per_kernel"]] == [(POOL, 100), (GEMM, 50)]
        assert read["weighted_by"] == "time"
        assert [one["name"] for one in read["kernels"]] == [POOL, GEMM, COPY]
        assert read["kind"] == "nsys"


def test_without_times_the_calls_weigh_and_shares_are_not_known() -> None:
    read = told(
        part(
            "nvprof",
            kernels=(kernel(GEMM, 3), kernel(POOL, 1)),
            readings=(
                reading(GEMM, "achieved_occupancy", 0.5, 3, ""),
                reading(POOL, "achieved_occupancy", 0.9, 1, ""),
            ),
        )
    )
    assert read["metrics"]["achieved_occupancy"]["mean_pct"] == pytest.approx(60)
    assert read["weighted_by"] == "calls"
    assert all(one["time_pct"] is None for one in read["kernels"])
    assert set(read["categories"].values()) == {None}
    assert read["memory_alignment_pct"] is None
    assert any("no file holds times" in note for note in read["notes"])


def test_the_runs_own_times_count_before_those_of_ncu_and_are_never_added_up() -> None:
    slow = part("ncu", file="slow.csv", kernels=(kernel(GEMM, 1, 500.0), kernel("extra", 4, 9.0)))
    read = told(slow, TIMES)
    by_name = {one["name"]: one for one in read["kernels"]}
    assert by_name[GEMM]["total_ms"] == 30
    assert (by_name["extra"]["total_ms"], by_name["extra"]["calls"]) == (None, 4)
    assert any("slow.csv has others" in note for note in read["notes"])
    assert any("extra" in note and "no times" in note for note in read["notes"])


def test_sizes_of_copies_come_from_the_file_that_tells_them() -> None:
    timed = part("nsys", memops=(MemoryOperation(name="HtoD", calls=4, total_ms=2.0),))
    sized = part("nsys", memops=(MemoryOperation(name="HtoD", calls=4, total_mb=8.0),))
    for files in ((timed, sized), (sized, timed)):
        assert [(one["name"], one["total_ms"], one["total_mb"]) for one in told(*files)["memops"]] == [
            ("HtoD", 2.0, 8.0)
        ]
    other = part("nsys", memops=(MemoryOperation(name="HtoD", calls=5, total_mb=8.0),))
    assert told(timed, other)["memops"][0]["total_mb"] is None


def test_what_no_rule_knows_is_named_with_its_share() -> None:
    read = told(part("nvprof", kernels=(kernel("my_physics", 1, 3.0), kernel(GEMM, 1, 1.0))))
    assert read["categories"]["unknown"] == 75
    assert any("75.0 %" in note and "my_physics" in note for note in read["notes"])


def test_errors_of_several_files_are_told_once_and_damage_is_added_up() -> None:
    refused = ToolMessage(code="no_permission", text="ERR_NVGPUCTRPERM", do="sudo")
    read = told(
        part("ncu", errors=(refused,), skipped_lines=2), part("ncu", errors=(refused,), skipped_lines=3, device="Orin")
    )
    assert read["errors"] == [{"code": "no_permission", "text": "ERR_NVGPUCTRPERM", "do": "sudo"}]
    assert (read["skipped_lines"], read["device"], read["kernels"]) == (5, "Orin", [])


def test_files_that_look_like_different_runs_are_doubted_and_no_device_is_lent() -> None:
    nano = part("nvprof", file="nano.csv", kernels=(kernel(GEMM, 1, 3.0),))
    tesla = part(
        "nvprof", file="k20.csv", device="Tesla K20c", kernels=(kernel("other_kernel", 1),),
        readings=(reading("other_kernel", "achieved_occupancy", 0.5, 1, ""),),
    )  # fmt: skip
    read = told(nano, tesla)
    assert "k20.csv and nano.csv have no kernel in common: are they of one run?" in read["notes"]
    assert read["device"] is None
    assert not any("no rule knows" in note for note in read["notes"])  # what has no time has no share
    cut = part("nvprof", device="Tesla V100-SXM2", kernels=(kernel(GEMM, 1, 3.0),))
    whole = part("nvprof", device="Tesla V100-SXM2-16GB", kernels=(kernel(GEMM, 1),))
    assert not any("different" in note for note in told(cut, whole)["notes"])
    assert any("different GPUs" in note for note in told(cut, tesla)["notes"])
