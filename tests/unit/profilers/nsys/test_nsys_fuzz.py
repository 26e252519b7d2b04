"""Texts of ``nsys stats``, damaged: never an exception, never a figure that is none."""

# ruff: noqa: ISC004, S311 - texts of many lines; damage that is the same in every run

from __future__ import annotations

import io
import math
import random

from espdeploy.profilers.nsys.document import parse

SEEDS = (
    "Processing [r.sqlite] with [/opt/nvidia/nsight-systems/2024.5.4/reports/cuda_gpu_kern_sum.py]... \n"
    "Time (%),Total Time (ns),Instances,Avg (ns),Med (ns),Min (ns),Max (ns),StdDev (ns),GridXYZ,BlockXYZ,Name\n"
    '60.0,600,3,200.0,200.0,150,250,5.0,   1    1    1, 128    1    1,"void f<int>(int, T1 *)"\n'
    "40.0,400,1,400.0,400.0,400,400,0.0,  64    1    1, 128    1    1,ampere_sgemm_64x64_tn\n\n"
    "SKIPPED: r.sqlite does not contain CUDA Unified Memory CPU page faults data.\n",
    "Start (ns),Duration (ns),CorrId,GrdX,GrdY,GrdZ,BlkX,BlkY,BlkZ,Reg/Trd,StcSMem (MB),DymSMem (MB),Bytes (MB),"
    "Throughput (MBps),SrcMemKd,DstMemKd,Device,Ctx,Strm,Name\n"
    "100,20,1,1,1,1,1,1,1,8,0.0,0.0,None,,None,None,A100 (0),1,7,f\n"
    "130,20,2,1,1,1,1,1,1,8,0.0,0.0,None,,None,None,A100 (0),1,7,f\n"
    '160,20,3,,,,,,,,,,4.194,12008.2,Pageable,Device,A100 (0),1,7,"[CUDA memcpy HtoD]"\n',
    "[6/8] Executing 'gpukernsum' stats report\n\nCUDA Kernel Statistics:\n\n"
    " Time (%)  Total Time (ns)  Instances  Avg (ns)  Min (ns)  Max (ns)           Name          \n"
    " --------  ---------------  ---------  --------  --------  --------  -----------------------\n"
    "     60.0        1,234,567          3   200.000       150       250  void f<int>(int, T1 *)\u2026 \n"
    "     40.0              400          1     400.0       400       400  ampere_sgemm            \n\n"
    "+----------+-----------------+-----------+----------+----------+--------+\n"
    "| Time (%) | Total Time (ns) | Num Calls | Min (ns) | Max (ns) | Name   |\n"
    "+----------+-----------------+-----------+----------+----------+--------+\n"
    "|     10.0 |             100 |         3 |       10 |       50 | poll   |\n",
)
PIECES = (
    "\n",
    "\r",
    '"',
    ",",
    "\t",
    "|",
    "  ",
    "-",
    "\u2026",
    "inf",
    "nan",
    "9" * 400,
    "\x00",
    "\ufffd",
    "Time (%),Total",
    "None",
)


def _damaged(draw: random.Random, text: str) -> str:
    for _ in range(draw.choice((1, 1, 2, 6))):
        at, to = sorted(draw.randrange(len(text) + 1) for _ in range(2))
        to = min(to, at + draw.choice((0, 1, 5, 80, len(text))))
        kind = draw.randrange(4)
        if kind == 0:
            text = text[:at] + text[to:]
        elif kind == 1:
            text = text[:at] + draw.choice(PIECES) + text[at:]
        elif kind == 2:
            text = text[:to] + text[at:to] + text[to:]
        else:
            text = text[:at] + chr(draw.randrange(1, 0x3000)) + text[at + 1 :]
        text = text or "\n"
    return text


def test_damaged_texts_are_read_as_far_as_they_go() -> None:
    draw, read = random.Random(7), 0
    for _ in range(5000):
        profile = parse(io.StringIO(_damaged(draw, draw.choice(SEEDS))))
        if profile is None:
            continue
        read += 1
        for one in (*profile.kernels, *profile.memops):
            assert one.calls >= 0
            for value in (one.total_ms, one.mean_us, one.min_us, one.max_us):
                assert value is None or (math.isfinite(value) and value >= 0)
    assert read > 2500
