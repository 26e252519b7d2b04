"""Every form that nvprof prints, in texts written for these tests; those of 11.8 as it prints a recording."""

from __future__ import annotations

import io

import pytest

from espdeploy.profilers.nvprof import trace
from espdeploy.profilers.nvprof.document import parse, recognise
from espdeploy.profilers.values import Kernel, MemoryOperation, Profile, Reading

SUMMARY = """\
==77== NVPROF is profiling process 77, command: ./net a b
hello from the application
==77== Profiling application: ./net a b
==77== Profiling result:
"Type","Time(%)","Time","Calls","Avg","Min","Max","Name"
,%,ms,,us,ns,us,
"GPU activities",75.000000,3.000000,4,750.000000,500000.000000,1000.000000,"void gemm<float, int=4>(float const *, int)"
"GPU activities",25.000000,1.000000,2,500.000000,400000.000000,600.000000,"[CUDA memcpy HtoD]"
"API calls",100.000000,5.000000,4,1250.000000,9000.000000,2000.000000,"cudaLaunchKernel"
"""
TRACE_HEAD = (
    '"Start","Duration","Grid X","Grid Y","Grid Z","Block X","Block Y","Block Z","Registers Per Thread",'
    '"Static SMem","Dynamic SMem","Size","Throughput","SrcMemType","DstMemType","Device","Context","Stream","Name",'
    '"Correlation_ID"\nms,us,,,,,,,,B,B,KB,GB/s,,,,,,,\n'
)


def read(text: str) -> Profile:
    return parse(io.StringIO(text))


def launch(name: str, us: float, number: int) -> str:
    return f'{number},{us:.6f},64,1,1,256,1,1,32,0,0,,,,,"Tesla P4 (0)","1","7","{name}",{number}\n'


def copied(kind: str, us: float, kb: float, number: int) -> str:
    return (
        f'{number},{us:.6f},,,,,,,,,,{kb:.6f},1.5,"Pageable","Device","Tesla P4 (0)","1","7","[CUDA {kind}]",{number}\n'
    )


def test_units_stand_above_columns() -> None:
    profile = read(SUMMARY)
    gemm = Kernel(
        name="void gemm<float, int=4>(float const *, int)", calls=4, total_ms=3, mean_us=750, min_us=500, max_us=1000
    )
    copy = MemoryOperation(name="HtoD", calls=2, total_ms=1, mean_us=500, min_us=400, max_us=600)
    assert (profile.kernels, profile.memops) == ((gemm,), (copy,))
    assert profile.extra["command"] == "./net a b"
    assert profile.extra["api_calls"] == [
        {"name": "cudaLaunchKernel", "calls": 4, "total_ms": 5, "mean_us": 1250, "min_us": 9, "max_us": 2000}
    ]
    assert (profile.skipped_lines, profile.errors, profile.notes) == (0, (), ())


def test_line_ends_of_windows_and_a_byte_order_mark() -> None:
    assert read("\ufeff" + SUMMARY.replace("\n", "\r\n")) == read(SUMMARY)
    unmarked = SUMMARY[SUMMARY.index('"Type"') :]
    assert read("\ufeff" + unmarked).kernels == read(SUMMARY).kernels


def test_a_table_with_units_in_cells_or_above() -> None:
    auto = """\
======== Profiling result:
            Type  Time(%)      Time     Calls       Avg       Min       Max  Name
 GPU activities:   74.07%  2.0000us         2  1.0000us     900ns  1.1000us  twice  spaced(int)
                   25.93%     700ns         1     700ns     700ns     700ns  [CUDA memset]
      API calls:  100.00%  1.5000ms         3  500.00us  100.00us  1.00000s  cudaMemset
"""
    columns = """\
======== Profiling result:
            Type  Time(%)      Time     Calls       Avg       Min       Max  Name
                        %        us                  us        us        us
 GPU activities:    74.07  2.000000         2  1.000000  0.900000  1.100000  twice  spaced(int)
                    25.93  0.700000         1  0.700000  0.700000  0.700000  [CUDA memset]
      API calls:   100.00  1500.000         3  500.0000  100.0000  1000000.  cudaMemset
"""
    found = read(auto)
    assert [(one.name, one.calls, one.total_ms) for one in found.kernels] == [("twice  spaced(int)", 2, 0.002)]
    assert [(one.name, one.max_us) for one in found.memops] == [("memset", pytest.approx(0.7))]
    again = read(columns)
    for one, other in zip((*found.kernels, *found.memops), (*again.kernels, *again.memops), strict=True):
        assert (one.name, one.calls) == (other.name, other.calls)
        figures = (other.total_ms, other.mean_us, other.min_us, other.max_us)
        assert (one.total_ms, one.mean_us, one.min_us, one.max_us) == pytest.approx(figures)
    assert again.extra == found.extra


def test_quotes_and_line_ends_that_names_hold_are_not_escaped() -> None:
    """So printed by nvprof 11.8 for kernels that were given such names."""
    text = SUMMARY.replace("void gemm<float, int=4>(float const *, int)", 'say"hi", "there"(int)')
    assert read(text).kernels[0].name == 'say"hi", "there"(int)'
    text = SUMMARY.replace("void gemm<float, int=4>", "new\nline")
    assert read(text).kernels[0].name == "new\nline(float const *, int)"
    assert read(text).skipped_lines == 0


def test_gpus_and_processes_add_up_and_marked_ranges_stand_apart() -> None:
    table = SUMMARY[SUMMARY.index('"Type"') : SUMMARY.index('"API calls"')]
    ranges = (
        '======== NVTX result:\n========   Thread "main" (id = 5)\n========     Domain "TensorRT"\n'
        f'========       Range "conv 1"\n{table}"Range:",100.000000,2.500000,1,9.0,9.0,9.0,"conv 1"\n'
    )
    profile = read(f'==1== Profiling result:\n{table}==2== Profiling result:\n\n==2== Device "B (1)"\n{table}{ranges}')
    assert [(one.calls, one.total_ms, one.mean_us) for one in profile.kernels] == [(8, 6, 750)]
    assert profile.notes == ("the file holds 2 results of 2 processes: they are added up",)
    told = {"thread": "main", "domain": "TensorRT", "name": "conv 1", "calls": 1, "total_ms": 2.5}
    assert profile.extra["nvtx_ranges"] == [{**told, "gpu_ms": 4.0, "gpu_operations": 6}]


def test_calls_in_a_table_of_their_own_are_no_kernels() -> None:
    head = '"Time(%)","Time","Calls","Avg","Min","Max","Name"\n%,ms,,ms,ms,ms,\n'
    profile = read(f'{head}9.0,1.0,1,1.0,1.0,1.0,"k()"\n\n==5== API calls:\n{head}9.0,1.0,1,1.0,1.0,1.0,"cudaFree"\n')
    assert [one.name for one in profile.kernels] == ["k()"]
    assert isinstance(profile.extra["api_calls"], list)


def test_a_trace_adds_up_by_name() -> None:
    rows = [launch("a(int, int)", 2, 1), copied("memcpy HtoD", 4, 1.5, 2), launch("a(int, int)", 6, 3)]
    rows += [copied("memcpy HtoD", 5, 2.5, 4), copied("memset", 1, 1, 5), '9,0.5,,,,,,,,,,,,,,,,,"cudaFree",6\n']
    profile = read(f"==4== Profiling result:\n{TRACE_HEAD}{''.join(rows)}")
    assert profile.kernels == (Kernel(name="a(int, int)", calls=2, total_ms=0.008, mean_us=4, min_us=2, max_us=6),)
    copies, sets = profile.memops
    assert (copies.calls, copies.total_ms, copies.total_mb) == (2, pytest.approx(0.009), pytest.approx(4096 / 1e6))
    assert (sets.name, sets.total_mb, profile.device) == ("memset", 1024 / 1e6, "Tesla P4")
    assert profile.extra["api_calls"][0]["name"] == "cudaFree"  # type: ignore[index]


def test_a_device_or_a_name_with_commas_and_quotes_in_a_trace() -> None:
    odd = launch('op"x","7","y(int, "z")', 2, 1).replace("Tesla P4", "A, B and C")
    profile = read(TRACE_HEAD + odd + odd)
    assert [(one.name, one.calls) for one in profile.kernels] == [('op"x","7","y(int, "z")', 2)]
    assert profile.device == "A, B and C"


def test_the_quick_way_tells_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that repeat are taken without being taken apart; damage among them must not slip through."""
    rows = []
    for index in range(600):
        rows.append(launch(f"k{index % 7}(float*, int) [{index % 3}]", 1 + index % 11, index))
        rows.append(copied(f"memcpy {('HtoD', 'DtoH')[index % 2]}", 2 + index % 5, 4 + index % 3, index))
    for index, damage in enumerate((",", "x", '"', " ", "1e9", "-5,", "nan", "inf,", "\n", "\t7", "5]")):
        at = 31 * index + 11
        rows[at] = rows[at][: 9 + index] + damage + rows[at][9 + 2 * index :]
        rows[at + 5] = rows[at + 5][: -8 - index] + damage + rows[at + 5][-6:]
    csv = TRACE_HEAD + "".join(rows)
    quick = read(csv)
    monkeypatch.setattr(trace, "_MOST_KNOWN", 0)
    slow = read(csv)
    assert quick.skipped_lines == slow.skipped_lines > 5
    assert {one.name for one in quick.kernels} == {one.name for one in slow.kernels}
    of_slow = {one.name: one for one in (*slow.kernels, *slow.memops)}
    for one in (*quick.kernels, *quick.memops):
        assert one.calls == of_slow[one.name].calls
        assert one.total_ms == pytest.approx(of_slow[one.name].total_ms)
        assert (one.min_us, one.max_us) == (of_slow[one.name].min_us, of_slow[one.name].max_us)


def test_an_old_trace_numbers_launches_behind_the_name() -> None:
    head = '"Start","Duration","Size","Throughput","Device","Context","Stream","Name"\ns,ms,MB,GB/s,,,,\n'
    rows = [f'0.5,2.0,,,"Tesla K20c (0)","1","7","k[2](int) [{number}]"\n' for number in (121, 122, 123)]
    rows.append('0.5,2.0,1.500000,6.5,"Tesla K20c (0)","1","7","[CUDA memcpy DtoD]"\n')
    profile = read(head + "".join(rows))
    assert [(one.name, one.calls, one.total_ms) for one in profile.kernels] == [("k[2](int)", 3, 6)]
    assert profile.memops[0].total_mb == 1.5  # by 10^6 in those releases


def test_counters_in_both_forms() -> None:
    csv = (
        '==8== Metric result:\n"Device","Kernel","Invocations","Metric Name","Metric Description","Min","Max","Avg"\n'
        '"GTX 1070 (0)","k<int, 2>("x", int)",3,"gld_throughput","Load, All",512.000000KB/s,3.000000MB/s,1.000000MB/s\n'
        '"GTX 1070 (0)","k<int, 2>("x", int)",3,"dram_utilization","Memory","Low (1)","High (7)","Mid (4)"\n'
        '"GTX 1070 (0)","k<int, 2>("x", int)",3,"sm_efficiency (2 instances)","Activity",,,"50.000000%,25.000000%"\n'
    )
    table = """\
==8== Metric result:
Invocations                     Metric Name         Metric Description         Min         Max         Avg
Device "GTX 1070 (0)"
\tKernel: k<int, 2>("x", int)
          3                  gld_throughput                  Load, All  512.00KB/s  3.0000MB/s  1.0000MB/s
          3                dram_utilization                     Memory     Low (1)    High (7)     Mid (4)
          3     sm_efficiency (2 instances)                   Activity           -           -  [ 50.00%     25.00% ]
"""
    kernel = 'k<int, 2>("x", int)'
    wanted = (
        Reading(kernel=kernel, metric="gld_throughput", unit="B/s", calls=3, mean=2**20, min=2**19, max=3 * 2**20),
        Reading(kernel=kernel, metric="dram_utilization", unit="level", calls=3, mean=4, min=1, max=7),
        Reading(kernel=kernel, metric="sm_efficiency", unit="%", calls=3, mean=37.5),
    )
    for text in (csv, table):
        profile = read(text)
        assert profile.readings == wanted
        assert profile.kernels == (Kernel(name=kernel, calls=3),)
        assert (profile.device, profile.skipped_lines) == ("GTX 1070", 0)


def test_events_and_what_counters_could_not_tell() -> None:
    text = (
        '==8== Event result:\n"Device","Kernel","Invocations","Event Name","Min","Max","Avg","Total"\n'
        '"G (0)","k()",2,"warps_launched",10,30,20,40\n"G (0)","k()",2,"elapsed",<OVERFLOW>,<OVERFLOW>,<OVERFLOW>,9\n'
        '==8== Metric result:\n"Device","Kernel","Invocations","Metric Name","Metric Description","Min","Max","Avg"\n'
        '"G (0)","k()",1,"ipc","IPC",inf,n/a,<INVALID>\n"G (0)","k()",3,"ipc","IPC",1.0,3.0,2.0\n'
    )
    profile = read(text)
    warps, elapsed, ipc = profile.readings
    assert (warps.mean, warps.min, warps.max, warps.calls) == (20, 10, 30, 2)
    assert (elapsed.mean, elapsed.min, elapsed.max) == (None, None, None)
    assert (ipc.mean, ipc.min, ipc.max, ipc.calls) == (2, 1, 3, 3)
    assert profile.notes == ("6 figures are <OVERFLOW>, <INVALID>, inf or the like: they are left out",)
    assert profile.skipped_lines == 0


def test_metrics_of_each_launch() -> None:
    text = (
        '==8== Profiling result:\n"Device","Context","Stream","Kernel","Correlation_ID","Warp Execution Efficiency",'
        '"gld_efficiency","dram_read_throughput"\n,,,,,%,%,KB/s\n'
        '"G (0)","1","7","k(int, int)",5,50.0,100.0,2.0\n"G (0)","1","7","k(int, int)",6,100.0,<INVALID>,4.0\n'
    )
    warp, load, dram = read(text).readings
    assert (warp.metric, warp.unit, warp.calls, warp.mean) == ("warp_execution_efficiency", "%", 2, 75)
    assert (load.calls, load.mean, dram.mean, dram.max) == (1, 100, 3072, 4096)


def test_unified_memory_after_a_summary() -> None:
    text = f"""{SUMMARY}
==77== Unified Memory profiling result:
Device "Tesla V100 (0)"
   Count  Avg Size  Min Size  Max Size  Total Size  Total Time  Name
      36  32.889KB  4.0000KB  60.000KB  1.000000MB  196.5440us  Host To Device
      20         -         -         -           -  3.041344ms  Gpu page fault groups
Total CPU Page faults: 17
"""
    profile = read(text)
    moved = profile.memops[-1]
    assert (moved.name, moved.calls, moved.total_mb) == ("unified HtoD", 36, 2**20 / 1e6)
    assert profile.extra["unified_memory_totals"] == {"cpu page faults": 17}
    assert profile.extra["unified_memory"][1]["total_ms"] == pytest.approx(3.041344)  # type: ignore[index]


def test_other_output_within_a_table_is_counted_and_around_it_is_not() -> None:
    lines = SUMMARY.splitlines()
    text = "\n".join(["noise", *lines[:7], "iteration 7 done", *lines[7:], "", "done", "1,2,3"])
    assert (read(text).kernels, read(text).skipped_lines) == (read(SUMMARY).kernels, 1)
    same_line = SUMMARY.replace("==77== Profiling result", "done.==77== Profiling result")
    assert read(same_line).kernels == read(SUMMARY).kernels


@pytest.mark.parametrize(
    "text",
    [
        "Time(%),Total Time (ns),Instances,Average,Minimum,Maximum,Name\n1,2,3,4,5,6,k\n",  # nsys
        "==55== Memcheck, a memory error detector\n==55== Warning: set address range perms\n",  # valgrind
        "==PROF== Connected to process 5\n==ERROR== ERR_NVGPUCTRPERM - no permission\n",  # ncu
        "========= CUDA-MEMCHECK\n========= ERROR SUMMARY: 0 errors\n",
        "[03/01/2021-10:00:00] [I] === Performance summary ===\n",
        "RAM 1/2MB (lfb 1x4MB) CPU [1%@345]\n",
        "",
    ],
)
def test_what_others_write_is_not_taken_for_nvprofs(text: str) -> None:
    assert recognise(text) is None
    assert not read(text).kernels


def test_lines_and_names_without_end_take_no_memory() -> None:
    long_line = '"GPU activities",' + "9" * 3_000_000
    text = SUMMARY.replace('"API calls"', f'{long_line}\n"API calls"')
    profile = read(text)
    assert (profile.kernels, profile.extra) == (read(SUMMARY).kernels, read(SUMMARY).extra)
    assert profile.skipped_lines == 1
    flood = TRACE_HEAD + "".join(launch(f"k{index}" + "x" * 20_000, 1, index) for index in range(1300))
    found = read(flood)
    assert 1000 < len(found.kernels) < 1200
    assert len(found.kernels) + found.skipped_lines == 1300
    assert found.notes[0].startswith(f"{found.skipped_lines} rows are left out")
