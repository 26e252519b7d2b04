"""The fake tool's own life: it reads its command, builds or loads, runs, and says whether it passed.

It knows no networks: an engine is a header that says what was asked for, and padding. What it prints, takes, refuses
and writes follows samples/trtexec/trtexec.cpp and samples/common at each tag, logs of real runs, and for tensorrt_rtx
its documentation. Variables: ``FAKE_FAULT`` names what goes wrong, ``FAKE_COMPUTE`` the GPU's compute capability.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import fake_releases
import fake_texts
from fake_figures import export_layers, export_times, profile, rows, say, summary
from fake_releases import FAST, POOL, RELEASES, SKIP, before, code, fault, is_rtx, options

ENGINE_BYTES = 2_621_440  # 2.5 MiB


def banner(word: str) -> None:
    name = "TensorRT.tensorrt_rtx" if is_rtx() else "TensorRT.trtexec"
    build = "" if before(10, 6) else " [b11]"
    command = " ".join(["trtexec", *sys.argv[1:]])
    sys.stdout.write(f"&&&& {word} {name} [TensorRT v{code()}]{build} # {command}\n")
    sys.stdout.flush()


def help_text() -> None:
    sys.stdout.write("=== Build Options ===\n")
    for name in sorted(options()):
        sys.stdout.write(f"  {name:<34} what it does\n")
    sys.stdout.write("=== Help ===\n  --help, -h                  Print this message\n")
    sys.stdout.flush()


def failed(*texts: str) -> NoReturn:
    for text in texts:
        say("E", text)
    banner("FAILED")
    sys.exit(1)


def refuse(texts: list[str]) -> NoReturn:
    """8.x prints its help after the errors, 10 before them, and 11 leaves the last line out."""
    if not before(10):
        help_text()
    for text in texts:
        say("E", text)
    if before(10):
        help_text()
    if before(11):
        banner("FAILED")
    sys.exit(1)


def arguments() -> dict[str, str]:
    given = {}
    for argument in sys.argv[1:]:
        name, _, value = argument.partition("=")
        given[name] = value
    unknown = [f"Unknown option: {name} {value}" for name, value in given.items() if name not in options()]
    if unknown:
        refuse(unknown)
    if not {"--onnx", "--loadEngine"} & set(given):
        refuse(["Model missing or format not recognized"])
    for name in ("--warmUp", "--duration", "--iterations"):
        if before(8, 5) and not given.get(name, "0").isdecimal():
            refuse([f"stoi: {name}"])  # 8.4 and older read whole numbers and drop the rest
    return given


def settings(given: dict[str, str]) -> dict[str, bool]:
    """What a run does, from its options and the release's defaults."""
    fast = bool(FAST & options())
    graph = "--noCudaGraph" not in given if fast else "--useCudaGraph" in given
    if is_rtx():
        graph = given.get("--rtxCudaGraphStrategy", "wholeGraph") == "wholeGraph"
    if "--useDLACore" in given and graph:
        say("W", fake_texts.GRAPH_ON_DLA)
        graph = False
    return {
        "graph": graph,
        "spin": "--noSpinWait" not in given if fast else "--useSpinWait" in given,
        "transfers": "--includeDataTransfers" in given if fast else "--noDataTransfers" not in given,
    }


def show_options(given: dict[str, str], run: dict[str, bool]) -> None:
    pool = given.get(POOL, "").removeprefix("workspace:") or "default"
    words = {True: "Enabled", False: "Disabled"}
    say("I", "=== Build Options ===")
    if before(8, 4):
        say("I", f"Workspace: {given.get('--workspace', '16')} MiB")
    else:
        say("I", f"Memory Pools: workspace: {pool}, dlaSRAM: default")
    precision = "FP32" + "+FP16" * ("--fp16" in given) + "+INT8" * ("--int8" in given)
    say("I", f"Precision: {precision}")
    say("I", f"Calibration: {given.get('--calib') or ('Dynamic' if '--int8' in given else '')}")
    say("I", "=== Inference Options ===")
    say("I", f"Duration: {given.get('--duration', '3')}s (+ {given.get('--warmUp', '200')}ms warm up)")
    say("I", f"Data transfers: {words[run['transfers']]}")
    say("I", f"Spin-wait: {words[run['spin']]}")
    say("I", f"RTX CUDA Graph Strategy: {run['graph']}" if is_rtx() else f"CUDA Graph: {words[run['graph']]}")


def device(compute: str) -> None:
    if fault() == "no-driver":
        say("E", "Cuda failure: CUDA driver version is insufficient for CUDA runtime version")
        os.abort()
    say("I", "=== Device Information ===")
    say("I", f"Selected Device: {RELEASES[fake_releases.RELEASE]['gpu']}")
    say("I", f"Compute Capability: {compute}")
    say("I", "")
    say("I", f"TensorRT version: {fake_releases.RELEASE.removeprefix('rtx-')}")


def build(given: dict[str, str], compute: str) -> dict[str, Any]:
    onnx = Path(given["--onnx"])
    say("I", "Start parsing network model")
    if not onnx.is_file():
        failed(f"[TRT] ModelImporter.cpp:735: Failed to parse ONNX model from file: {onnx}", "Parsing model failed")
    if before(10):
        for line in (369, 369, 392):
            say("W", f"[TRT] onnx2trt_utils.cpp:{line}: {fake_texts.INT64}")
    if fault() == "unsupported-op":
        if before(10):
            say("I", "[TRT] No importer registered for op: Det. Attempting to import as plugin.")
        failed(*fake_texts.unsupported())
    say("I", "Finish parsing network model" if before(8, 6) else "Finished parsing network model. Parse time: 0.01")
    calibration = given.get("--calib")
    if "--int8" in given and fault() != "quantized" and (calibration is None or not Path(calibration).is_file()):
        say("W", f"[TRT] {fake_texts.NO_CALIBRATOR}")
        calibration = "made up"
    if fault() == "no-int8" and "--int8" in given:
        say("W", f"[TRT] {fake_texts.NO_INT8}")
        time.sleep(float(os.environ.get("FAKE_SLEEP_S", "0")))
    build_faults(given)
    say("I", "[TRT] Detected 1 inputs and 1 output network tensors.")
    precision = "int8" if "--int8" in given else "fp16" if "--fp16" in given else "typed" if typed(given) else "fp32"
    header = {
        "code": code(),
        "compute": given.get("--computeCapabilities", "") or compute.replace(".", ""),
        "precision": precision,
        "calibration": calibration,
        "detailed": given.get("--profilingVerbosity") == "detailed",
        "argv": sys.argv[1:],
    }
    save(given, header)
    return header


def typed(given: dict[str, str]) -> bool:
    return "--stronglyTyped" in given or not before(11)


def build_faults(given: dict[str, str]) -> None:
    if fault() == "oom-kill":
        Path(given["--saveEngine"]).write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    if fault() == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if fault() == "hang":
        time.sleep(600)
    if fault() == "no-dla" and "--useDLACore" in given:
        failed(f"Cannot create DLA engine, {given['--useDLACore']} not available", "Engine set up failed")
    texts = {"gpu-oom": fake_texts.GPU_OOM, "no-kernel": fake_texts.NO_KERNEL, "calibration": (fake_texts.CALIBRATION,)}
    if fault() in texts:
        failed(*texts[fault()])


def save(given: dict[str, str], header: dict[str, Any]) -> None:
    blob = json.dumps(header).encode() + b"\n"
    blob += b"\0" * (ENGINE_BYTES - len(blob))
    path = Path(given["--saveEngine"])
    if fault() == "full-disk":
        path.write_bytes(blob[:1000])
        failed("Saving engine to file failed.", "Engine set up failed")
    path.write_bytes(blob[: ENGINE_BYTES // 2] if fault() == "full-disk-unnoticed" else blob)
    mib = ENGINE_BYTES / (1 << 20)
    if not before(8, 6):
        say("I", f"Created engine with size: {mib:g} MiB")
    say("I", f"[TRT] Loaded engine size: {int(mib)} MiB")
    say("I", "Engine built in 334.274 sec.")


def load(given: dict[str, str], compute: str) -> dict[str, Any]:
    path = Path(given["--loadEngine"])
    if not path.is_file():
        failed(f"Error opening engine file: {path}", "Engine set up failed")
    blob = path.read_bytes()
    try:
        header: dict[str, Any] = json.loads(blob.partition(b"\n")[0])
        whole = len(blob) == ENGINE_BYTES and "code" in header
    except ValueError:
        header, whole = {}, False
    if not whole:
        failed(fake_texts.damaged_text(), *fake_texts.NOT_LOADED)
    if header["code"] != code():
        failed(fake_texts.mismatch_text(int(header["code"])), *fake_texts.NOT_LOADED)
    if compute.replace(".", "") not in str(header["compute"]).split(","):
        failed(fake_texts.other_gpu(compute, str(header["compute"])), *fake_texts.NOT_LOADED)
    say("I", "Engine loaded in 0.01 sec.")
    return header


def infer(given: dict[str, str], run: dict[str, bool]) -> None:
    if fault() == "no-graph" and run["graph"]:
        for text in fake_texts.NO_GRAPH:
            say("W", text)
    say("I", "Using random values for input input")
    if before(10):
        say("I", "Created input binding for input with dimensions 1x3x8x8")
    else:
        say("I", "Input binding for input with dimensions 1x3x8x8 is created.")
    say("I", "Starting inference")
    if fault() == "hang":
        time.sleep(600)
    all_rows = rows(given, run)
    warmup_ms = float(given.get("--warmUp", "200"))
    counted = [row for row in all_rows if row["startComputeMs"] >= warmup_ms]
    say("I", f"Warmup completed {len(all_rows) - len(counted)} queries over {warmup_ms:g} ms")
    say("I", f"Timing trace has {len(counted)} queries over 3.0 s")
    say("I", "=== Trace details ===")
    say("I", "Average on 10 runs - GPU latency: 10.02 ms - Host latency: 10.395 ms (enqueue 0.5 ms)")
    summary(counted, run)
    if "--exportTimes" in given:
        export_times(given["--exportTimes"], all_rows, warmup_ms)
    profile(given)


def main() -> None:
    banner("RUNNING")
    if {"--help", "-h"} & set(sys.argv[1:]) or len(sys.argv) == 1:
        help_text()
        return
    given = arguments()
    run = settings(given)
    show_options(given, run)
    here = os.environ.get("FAKE_COMPUTE", str(RELEASES[fake_releases.RELEASE]["compute"]))
    if not (is_rtx() and SKIP in given):  # TensorRT-RTX builds without a GPU
        device(here)
    header = load(given, here) if "--loadEngine" in given else build(given, here)
    if "--exportLayerInfo" in given:
        export_layers(given["--exportLayerInfo"], header)
    if not {SKIP, "--buildOnly"} & set(given):
        infer(given, run)
    if fault() != "silent":
        banner("PASSED")
