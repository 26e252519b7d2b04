"""What ``nsys stats`` prints, in all its layouts, locales and generations; texts made here."""

# ruff: noqa: E501, S311 - tables as wide as the tool draws them; rows that are the same in every run

from __future__ import annotations

import csv
import io
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espdeploy.profilers.nsys.document import parse, recognise
from espdeploy.profilers.nsys.numbers import figure
from espdeploy.profilers.values import Profile

NEW = "Time (%),Total Time (ns),Instances,Avg (ns),Med (ns),Min (ns),Max (ns),StdDev (ns),Name"
GRID = NEW.replace("Name", "GridXYZ,BlockXYZ,Name")
TRACE = (
    "Start (ns),Duration (ns),CorrId,GrdX,GrdY,GrdZ,BlkX,BlkY,BlkZ,Reg/Trd,StcSMem (MB),DymSMem (MB),Bytes (MB),"
    "Throughput (MBps),SrcMemKd,DstMemKd,Device,Ctx,Strm,Name"
)


def read(text: str) -> Profile:
    profile = parse(io.StringIO(text))
    assert profile is not None
    return profile


def table(report: str, title: str, header: str, *rows: str) -> str:
    """A text table as ``nsys stats`` draws it, from cells set apart by bars."""
    cells = [[cell.strip() for cell in line.split("|")] for line in (header, *rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(cells[0]))]
    drawn = [
        " " + "  ".join(cell.rjust(width) for cell, width in zip(line[:-1], widths, strict=False)) for line in cells
    ]
    drawn = [f"{line}  {last[-1].ljust(widths[-1])}" for line, last in zip(drawn, cells, strict=True)]
    rule = " " + "  ".join("-" * width for width in widths)
    return f"[5/8] Executing '{report}' stats report\n\n{title}\n\n{drawn[0]}\n{rule}\n" + "\n".join(drawn[1:]) + "\n\n"


@given(
    rows=st.lists(
        st.tuples(
            st.text(
                alphabet=st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Z")), min_size=1, max_size=40
            ),
            st.integers(1, 10**6),
            st.integers(0, 10**7),
            st.integers(0, 10**7),
        ),
        min_size=1,
        max_size=8,
        unique_by=lambda row: row[0],
    ),
    generation=st.sampled_from(["2020", "2022", "2023"]),
    crlf=st.booleans(),
)
def test_a_csv_summary_is_read_whatever_the_names(
    rows: list[tuple[str, int, int, int]], generation: str, crlf: bool
) -> None:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\r\n" if crlf else "\n")
    old = generation == "2020"
    stream.write("Time(%),Total Time (ns),Instances,Average,Minimum,Maximum,Name\n" if old else "")
    stream.write({"2020": "", "2022": GRID + "\n", "2023": NEW + "\n"}[generation])
    for name, calls, one, other in rows:
        least, most = sorted((one, other))
        head = [50.0, calls * most, calls, float(most)]
        grid = ["  32   32    1", " 128    1    1"] if generation == "2022" else []
        writer.writerow([*head, least, most, name] if old else [*head, 1.0, least, most, 0.0, *grid, name])
    profile = read(stream.getvalue())
    assert profile.skipped_lines == 0
    found = {kernel.name: (kernel.calls, kernel.total_ms, kernel.min_us, kernel.max_us) for kernel in profile.kernels}
    told = {name: (n, n * max(a, b) / 1e6, min(a, b) / 1e3, max(a, b) / 1e3) for name, n, a, b in rows}
    assert {name.rstrip("\u2026"): found[name] for name in found} == {
        name.rstrip("\u2026"): told[name] for name in told
    }


def test_one_kernel_in_several_launch_configurations_is_one_kernel() -> None:
    profile = read(
        f'{GRID}\n60.0,600,3,200.0,200.0,150,250,5.0,   1    1    1, 128    1    1,"void f<int>(int, T1 *)"\n'
        '40.0,400,1,400.0,400.0,400,400,0.0,  64    1    1, 128    1    1,"void f<int>(int, T1 *)"\n'
    )
    (kernel,) = profile.kernels
    assert (kernel.calls, kernel.total_ms, kernel.mean_us) == (4, 1000 / 1e6, 0.25)
    assert (kernel.min_us, kernel.max_us) == (0.15, 0.4)


def test_kernels_that_several_reports_tell_are_counted_once() -> None:
    gpu = NEW.replace("Name", "Category,Operation")
    profile = read(
        f"{NEW}\n100.0,600,3,200.0,200.0,150,250,5.0,f\n\n"
        f"{gpu}\n90.0,600,3,200.0,200.0,150,250,5.0,CUDA_KERNEL,f\n10.0,60,1,60.0,60.0,60,60,0,MEMORY_OPER,[CUDA memset]\n\n"
        f"{TRACE}\n5,600,1,1,1,1,1,1,1,8,0.0,0.0,None,,None,None,A (0),1,7,f\n"
    )
    assert [(one.name, one.calls) for one in profile.kernels] == [("f", 3)]
    assert [(one.name, one.calls) for one in profile.memops] == [("memset", 1)]


@pytest.mark.parametrize(
    ("total", "size", "least"),
    [
        ("4,105,892", "4.194", "36,544"),
        ("4.105.892", "4,194", "36.544"),
        ("4\u202f105\u202f892", "4,194", "36\u202f544"),
        ("41,05,892", "4.194", "36,544"),
        ("410,5892", "4.194", "3,6544"),
        ("4\u2019105\u2019892", "4.194", "36\u2019544"),
        ("4105892", "4.194", "36544"),
    ],
    ids=["en_US", "de_DE", "fr_FR", "en_IN", "zh_TW of a Jetson", "de_CH", "C"],
)
def test_a_text_table_is_read_in_every_locale(total: str, size: str, least: str) -> None:
    header = "Time (%) | Total Time (ns) | Instances | Avg (ns) | Min (ns) | Max (ns) | Name"
    sizes = "Total (MB) | Count | Avg (MB) | Min (MB) | Max (MB) | Operation"
    text = table(
        "gpukernsum", "CUDA Kernel Statistics:", header, f"51.3 | {total} | 101 | 4,0 | {least} | {total} | k(int)"
    )
    text += table(
        "gpumemsizesum", "CUDA Memory Operation Statistics (by size):", sizes, f"{size} | 1 | 1 | 1 | 1 | [CUDA memset]"
    )
    profile = read(text)
    (kernel,), (memop,) = profile.kernels, profile.memops
    assert (kernel.name, kernel.calls, kernel.total_ms, kernel.min_us) == ("k(int)", 101, 4.105892, 36.544)
    assert (memop.name, memop.total_mb) == ("memset", pytest.approx(4.194))
    assert profile.skipped_lines == 0


def test_names_that_a_table_cut_stay_apart_and_are_noted() -> None:
    header = "Time (%) | Total Time (ns) | Instances | Avg (ns) | Min (ns) | Max (ns) | Name"
    rows = (
        "60.0 | 600 | 3 | 200.0 | 100 | 300 | void cut\u2026",
        "40.0 | 400 | 2 | 200.0 | 200 | 200 | void cut\u2026",
    )
    profile = read(table("cuda_gpu_kern_sum", " ** CUDA GPU Kernel Summary (cuda_gpu_kern_sum):", header, *rows))
    assert [kernel.total_ms for kernel in profile.kernels] == [600 / 1e6, 400 / 1e6]
    assert len({kernel.name for kernel in profile.kernels}) == 2
    assert any("--format csv" in note for note in profile.notes)


def test_a_console_with_progress_bars_and_the_application_between() -> None:
    header = "Time (%) | Total Time (ns) | Num Calls | Avg (ns) | Min (ns) | Max (ns) | Name"
    text = (
        "WARNING: CPU sampling not supported, disabling.\nMax error: 0\nGenerating '/tmp/nsys-report-1.qdstrm'\n"
        "\r[1/8] [0%                ] r.nsys-rep\r[1/8] [=====50%   ] r.nsys-rep\r[1/8] [====100%] r.nsys-rep\n"
        + table(
            "osrt_sum", " ** OS Runtime Summary (osrt_sum):", header, "70.0 | 7,000 | 2 | 3,500.0 | 1 | 6,999 | poll"
        )
        + table(
            "cuda_api_sum",
            " ** CUDA API Summary (cuda_api_sum):",
            header,
            "70.0 | 9,000 | 3 | 1.0 | 1 | 8 | cudaLaunchKernel",
        )
        + "Generated:\n    /tmp/r.nsys-rep\n"
    )
    profile = read(text)
    assert profile.skipped_lines == 0
    assert (profile.extra["launch_calls"], profile.extra["launch_call_total_ms"]) == (3, 0.009)
    assert [one["name"] for one in _listed(profile, "os_runtime")] == ["poll"]
    assert profile.notes[0].startswith("CPU sampling not supported")


def test_the_tables_of_the_first_releases_without_units() -> None:
    text = (
        "CUDA Kernel Statistics (nanoseconds)\n\n"
        "Time(%)      Total Time   Instances         Average         Minimum         Maximum  Name\n"
        "-------  --------------  ----------  --------------  --------------  --------------  -----------------\n"
        "  100.0         2000000           4        500000.0          400000          600000  init(int, float*)\n\n"
        "CUDA Memory Operation Statistics (KiB)\n\n"
        "            Total      Operations            Average            Minimum            Maximum  Name\n"
        "-----------------  --------------  -----------------  -----------------  -----------------  ------------------\n"
        "         1024.000               2            512.000            512.000            512.000  [CUDA memcpy HtoD]\n"
    )
    profile = read(text)
    assert [(one.name, one.calls, one.total_ms, one.min_us) for one in profile.kernels] == [
        ("init(int, float*)", 4, 2.0, 400.0)
    ]
    assert [(one.name, one.calls, one.total_mb) for one in profile.memops] == [("HtoD", 2, 1.048576)]


def test_a_trace_adds_up_as_brute_force_does() -> None:
    draw = random.Random(5)
    rows, at = [(1000, 5, "a(int)")], 1000
    for _ in range(400):
        at += draw.randint(0, 60)
        rows.append((at, draw.randint(1, 50), draw.choice(["a(int)", "void b<T1, 2>(x)", "[CUDA memcpy HtoD]"])))
    rows.append((at + 100, 7, "a(int)"))
    lines = [
        f"{start},{long},{number},1,1,1,1,1,1,8,0.0,0.0,{'0.004' if name[0] == '[' else 'None'},,None,None,A100 (0),1,"
        f'{number % 3},"{name}"'
        for number, (start, long, name) in enumerate(rows)
    ]
    profile = read("\n".join([TRACE, *lines, ""]))
    for one in (*profile.kernels, *profile.memops):
        held = [long for _, long, name in rows if name in (one.name, f"[CUDA memcpy {one.name}]")]
        assert (one.calls, round((one.total_ms or 0) * 1e6), one.max_us) == (len(held), sum(held), max(held) / 1e3)
    assert (len(profile.kernels), len(profile.memops)) == (2, 1)
    assert profile.memops[0].total_mb == pytest.approx(0.004 * profile.memops[0].calls)
    busy = {moment for start, long, _ in rows for moment in range(start, start + long)}
    span = range(1000, at + 107)
    assert profile.extra["idle_pct"] == pytest.approx(100 * sum(moment not in busy for moment in span) / len(span))
    assert profile.device == "A100"


def test_damaged_rows_are_counted_and_the_others_used() -> None:
    good = "50.0,600,3,200.0,200.0,150,250,5.0,good"
    bad = ["50.0,600", "x,y,z,1,1,1,1,1,n", "50.0,abc,3,200.0,200.0,150,250,5.0,name", "\x00\ufffd\x01,,,,,,,,"]
    profile = read("\n".join([NEW, *bad, good, ""]))
    assert [kernel.name for kernel in profile.kernels] == ["good"]
    assert profile.skipped_lines == len(bad)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("SKIPPED: r.sqlite does not contain CUDA kernel data.\n", "no_kernels"),
        (
            "Processing [r.sqlite] with [bogus]...\nERROR: Report 'cuda_gpu_kern_sum' could not be found.\n",
            "unknown_report",
        ),
        ("Importer error status: The importer binary and its dependencies were not found.\n", "import_failed"),
        ("ERROR: Database file r.sqlite does not exist.\n", "no_export"),
        ("ERROR: Database file r.sqlite could not be opened and appears to be invalid.\n", "damaged_export"),
    ],
)
def test_refusals_become_messages_with_what_to_do(text: str, code: str) -> None:
    (error,) = read(text).errors
    assert error.code == code
    assert error.text in text
    assert error.do


def test_a_report_without_kernels_is_no_error_beside_one_with() -> None:
    profile = read(
        f"{NEW}\n50.0,600,3,200.0,200.0,150,250,5.0,f\n\nSKIPPED: r.sqlite does not contain GPU trace data.\n"
    )
    assert profile.errors == ()


def test_other_texts_are_not_taken() -> None:
    for text in ("", "hello\n", '"Type","Time(%)","Time","Calls","Avg","Min","Max","Name"\n', "Time,Total\n1,2\n"):
        assert recognise(text) is None
        assert parse(io.StringIO(text)) is None


def test_a_gigantic_line_is_passed_over() -> None:
    profile = read(f"{NEW}\n1.0,1,1,1.0,1.0,1,1,0.0,{'x' * (3 << 20)}\n50.0,600,3,200.0,200.0,150,250,5.0,f\n")
    assert ([kernel.name for kernel in profile.kernels], profile.skipped_lines) == (["f"], 1)


@pytest.mark.parametrize("text", ["", "None", "nan", "inf", "-5", "1e999", "1.2e", "\u0663", "9" * 50, "0x10", "1_0"])
def test_what_is_no_figure_is_none(text: str) -> None:
    assert figure(text) is None


def _listed(profile: Profile, key: str) -> list[dict[str, Any]]:
    found = profile.extra[key]
    assert isinstance(found, list)
    return found
