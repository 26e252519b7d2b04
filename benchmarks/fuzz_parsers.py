"""Damaged outputs of all tools through ``espdeploy parse``: no crash, no hang, nothing but the contract's errors.

Each input is made from a real capture (ESPDEPLOY_DATA names the folder with logs/) or from texts of our own: bits
turned, bytes cut out, lines doubled, dropped and swapped, two files spliced, figures and fields made huge, line ends
changed. Captures are taken whole up to 24 KB; of larger ones a piece is damaged that begins or ends where they do.
Half of them are read with --kind given, right or wrong. ESPDEPLOY_FUZZ sets another number of inputs; those that fail
are kept in the folder that ESPDEPLOY_FUZZ_KEEP names.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from common import write

INPUTS = 200_000
#: of the processor's time; and on the clock, for what would wait for ever without using it
LIMIT_S, LIMIT_WAIT_S = 5.0, 120.0
FOLDERS = {
    "nvprof": "nvprof",
    "nsys": "nsys",
    "ncu": "ncu",
    "trtexec": "trtexec",
    "tegrastats": "tegrastats",
    "nvsmi": "nvidia-smi",
}
WHOLE = 24_000
FAILED = "none of the contract's errors"
HUGE = (b"9" * 400, b"-1", b"1e999", b"nan", b"inf", b"<OVERFLOW>", b"n/a", b"1,234.5", b"1.234,5", b"\xff\xfe", b"\0")
OWN = {
    "nvprof": b'"Type","Time(%)","Time","Calls","Avg","Min","Max","Name"\n,%,ms,,us,us,us,\n'
    b'"GPU activities",60.0,6.0,3,2000.0,1.0,1.0,"void f<int=5>(int, float const *)"\n'
    b'==9== Metric result:\n"Device","Kernel","Invocations","Metric Name","Metric Description","Min","Max","Avg"\n'
    b'"T (0)","void f<int=5>(int, float const *)",3,"gld_efficiency","d",50%,50%,50%\n',
    "nsys": b"Time (%),Total Time (ns),Instances,Avg (ns),Med (ns),Min (ns),Max (ns),StdDev (ns),Name\n"
    b'60.0,6000,3,2000.0,2000.0,1,9,1.0,"void f<(int)5>(int, const float *)"\n40.0,4000,1,4000.0,4000.0,1,9,1.0,g\n',
    "ncu": b'==PROF== Connected to process 7\n"ID","Process ID","Process Name","Host Name","Kernel Name","Context",'
    b'"Stream","Block Size","Grid Size","Device","CC","Section Name","Metric Name","Metric Unit","Metric Value"\n'
    b'"0","7","x","h","f","1","7","(1, 1, 1)","(1, 1, 1)","0","8.7","S","gpu__time_duration.sum","nsecond","1,234"\n',
    "trtexec": b"&&&& RUNNING TensorRT.trtexec [TensorRT v8201] # trtexec --onnx=x\n[05/14/2022-02:21:17] [I] === "
    b"Performance summary ===\n[05/14/2022-02:21:17] [I] GPU Compute Time: min = 1 ms, max = 3 ms, mean = 2 ms, "
    b"median = 2 ms, percentile(99%) = 3 ms\n&&&& PASSED TensorRT.trtexec [TensorRT v8201] # trtexec --onnx=x\n",
    "tegrastats": b"RAM 896/7859MB (lfb 5x4MB) CPU [5%@345,off] GR3D_FREQ 99%@1134 GPU@41C VDD_IN 3624/3624\n" * 3,
    "nvidia-smi": b"timestamp, name, power.draw [W]\n2026/11/20 10:00:00.000, NVIDIA X, 33.09 W\n" * 3,
}


class TookTooLongError(Exception):
    pass


def seeds() -> list[tuple[str, bytes]]:
    """Each capture with its kind; our own texts where there are none."""
    folder = Path(os.environ.get("ESPDEPLOY_DATA", "")) / "logs"
    found = [
        (kind, path.read_bytes())
        for name, kind in FOLDERS.items()
        for path in (sorted((folder / name).iterdir()) if (folder / name).is_dir() else [])
        if not path.name.endswith(".expected.json")
    ]
    return [*found, *OWN.items()]


def piece(draw: random.Random, content: bytes) -> bytes:
    """All of it, or its begin, its end, or both."""
    if len(content) <= WHOLE or content.startswith(b"SQLite"):
        return content
    begin, end = content[: WHOLE // 2], content[-WHOLE // 2 :]
    return draw.choice((content[:WHOLE], content[-WHOLE:], begin + end))


def turn_bits(draw: random.Random, content: bytearray, _: bytes) -> bytearray:
    for _ in range(draw.choice((1, 1, 4, 40))):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return content


def cut(draw: random.Random, content: bytearray, _: bytes) -> bytearray:
    at = draw.randrange(len(content))
    return content[:at] if draw.random() < 0.5 else content[at:]


def cut_out(draw: random.Random, content: bytearray, _: bytes) -> bytearray:
    at = draw.randrange(len(content))
    del content[at : at + draw.choice((1, 3, 30, 3000))]
    return content


def shuffle_lines(draw: random.Random, content: bytearray, _: bytes) -> bytearray:
    lines = content.split(b"\n")
    at = draw.randrange(len(lines))
    change = draw.randrange(3)
    if change == 0:
        lines[at:at] = [lines[at]] * draw.choice((1, 2, 50))
    elif change == 1:
        del lines[at]
    else:
        other = draw.randrange(len(lines))
        lines[at], lines[other] = lines[other], lines[at]
    return bytearray(b"\n".join(lines))


def splice(draw: random.Random, content: bytearray, other: bytes) -> bytearray:
    here, there = draw.randrange(len(content)), draw.randrange(len(other))
    return content[:here] + other[there:]


def put_in(draw: random.Random, content: bytearray, _: bytes) -> bytearray:
    at = draw.randrange(len(content))
    thing = draw.choice(HUGE)
    if draw.random() < 0.02:
        thing = draw.choice((b"a", b"9", b",", b'"', b"<", b"(", b" ", b"[{", b"=")) * draw.choice((70_000, 1_100_000))
    end = at + draw.choice((0, len(thing), 8))
    return content[:at] + thing + content[end:]


def change_ends(draw: random.Random, content: bytearray, _: bytes) -> bytearray:
    return content.replace(b"\n", draw.choice((b"\r\n", b"\r", b"\n\n", b"", b"\0\n")))


CHANGES: tuple[Callable[[random.Random, bytearray, bytes], bytearray], ...] = (
    turn_bits,
    cut,
    cut_out,
    shuffle_lines,
    splice,
    put_in,
    change_ends,
)


def damaged(draw: random.Random, found: list[tuple[str, bytes]]) -> tuple[str, bytes]:
    """An input and the kind that it was made from."""
    kind, content = draw.choice(found)
    changed = bytearray(piece(draw, content))
    for _ in range(draw.choice((1, 1, 2, 4))):
        if changed:
            changed = draw.choice(CHANGES)(draw, changed, piece(draw, draw.choice(found)[1]))
    return kind, bytes(changed)


def attempt(path: Path, kind: str | None) -> str:
    """What became of one input: the kind that it was read as, or the name of the error."""
    from espdeploy.errors import EspdeployError
    from espdeploy.pipeline.profiling.parse import parse_files

    try:
        document = parse_files([str(path)], kind)
        json.dumps(document, allow_nan=False)
    except EspdeployError as error:
        return type(error).__name__ if error.exit_code == 2 and error.what and error.do else f"{FAILED}: {error}"
    check(document)
    return str(document["kind"])


def check(document: dict[str, object]) -> None:
    """What holds of every document, however damaged the input was."""
    assert isinstance(document.get("skipped_lines", 0), int)
    kernels = document.get("kernels")
    if not isinstance(kernels, list):
        return
    shares = [one["time_pct"] for one in kernels if one["time_pct"] is not None]
    assert all(-1e-9 <= share <= 100 + 1e-9 for share in shares)
    categories = document["categories"]
    assert isinstance(categories, dict)
    known = [share for share in categories.values() if share is not None]
    assert not known or abs(sum(known) - 100) < 1e-6
    assert all(one["calls"] >= 0 for one in kernels)


def _too_long(_signal: int, _frame: FrameType | None) -> None:
    raise TookTooLongError


def tried(path: Path, kind: str | None) -> tuple[str, str]:
    """What became of one input, and how it failed if it did."""
    signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_WAIT_S)
    try:
        outcome = attempt(path, kind)
    except TookTooLongError:
        return "", f"more than {LIMIT_S:g} s of work, or {LIMIT_WAIT_S:g} s of waiting"
    except Exception as error:
        return "", f"{type(error).__name__}: {error}"[:300]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
    return outcome, outcome if outcome.startswith(FAILED) else ""


def run(count: int, seed: int, keep: Path | None = None) -> dict[str, object]:
    """Try so many inputs; those that fail are kept in a folder if one is given."""
    draw = random.Random(seed)  # noqa: S311 - the same inputs each time
    found = seeds()
    became: Counter[str] = Counter()
    made_from: Counter[str] = Counter()
    failures: list[str] = []
    slowest_s = 0.0
    before = {number: signal.signal(number, _too_long) for number in (signal.SIGALRM, signal.SIGPROF)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "input"
        for number in range(count):
            kind, content = damaged(draw, found)
            path.write_bytes(content)
            made_from[kind] += 1
            started_s = time.process_time()
            outcome, failure = tried(path, draw.choice((None, None, kind, draw.choice(list(OWN)))))
            slowest_s = max(slowest_s, time.process_time() - started_s)
            became[outcome or "failed"] += 1
            if failure:
                failures.append(f"input {number}, of {kind}: {failure}")
                if keep is not None:
                    (keep / f"{number}-{kind}").write_bytes(content)
    for number, handler in before.items():
        signal.signal(number, handler)
    return {
        "inputs": count,
        "seeds": len(found),
        "made_from": dict(sorted(made_from.items())),
        "became": dict(sorted(became.items())),
        "limit_s": LIMIT_S,
        "slowest_s": round(slowest_s, 3),
        "failed": len(failures),
        "failures": failures[:50],
    }


def main() -> None:
    keep = Path(os.environ["ESPDEPLOY_FUZZ_KEEP"]) if "ESPDEPLOY_FUZZ_KEEP" in os.environ else None
    started = time.perf_counter()
    figures = run(int(os.environ.get("ESPDEPLOY_FUZZ", INPUTS)), seed=7, keep=keep)
    figures["wall_s"] = round(time.perf_counter() - started, 1)
    write("fuzz_parsers", figures)
    sys.exit(bool(figures["failed"]))


if __name__ == "__main__":
    main()
