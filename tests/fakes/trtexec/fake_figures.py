"""What the fake tool measures, and how each release prints and exports it (samples/common/sampleReporting.cpp)."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from fake_releases import before, is_rtx

WARMUP_ROW_MS, ROW_MS, H2D_MS, D2H_MS, ENQUEUE_MS = 30.0, 10.0, 0.25, 0.125, 0.5
PROFILED = 100


def say(severity: str, text: str) -> None:
    """Information goes to standard output, warnings and errors to standard error, as logging.h has it."""
    stream = sys.stdout if severity in "IV" else sys.stderr
    stream.write(f"[11/20/2026-10:00:00] [{severity}] {text}\n")
    stream.flush()


def layers() -> list[tuple[str, str, float]]:
    """Name, type, and milliseconds."""
    return [
        ("Reformatting CopyNode for Input Tensor 0 to level1 + act", "Reformat", 0.5),
        ("level1 + act", "CaskConvolution", 4.0),
        ("PWN(level2_prelu, add [1])", "PointWiseV2", 1.5),
        ("{ForeignNode[up_1...up_2]}", "CaskDeconvolution", 2.0),
        ("classifier", "CaskConvolution", 2.0),
    ]


def export_layers(path: str, header: dict[str, Any]) -> None:
    """Names alone, unless the engine was built with details; the classifier stays in FP32 whatever is asked for."""
    described: list[Any] = [name for name, _, _ in layers()]
    if header["detailed"]:
        word = {"fp32": "FP32", "fp16": "FP16", "int8": "Int8", "typed": "FP16"}[header["precision"]]
        described = [_described(name, kind, word) for name, kind, _ in layers()]
        described[-1]["Weights"] = {"Type": "Float", "Count": 9}
    text = ",".join(json.dumps(layer, indent=2) for layer in described)
    Path(path).write_text(f'{{"Layers": [{text}],\n"Bindings": ["input"\n,"output"\n]}}\n')


def _described(name: str, kind: str, word: str) -> dict[str, Any]:
    short = {"FP32": "Float", "FP16": "Half", "Int8": "Int8"}[word]
    tensor = f"Row major linear {word} format" if before(10) else short
    layer: dict[str, Any] = {"Name": name, "LayerType": kind}
    layer["Inputs"] = [{"Name": "x", "Dimensions": [1, 3, 8, 8], "Format/Datatype": tensor}]
    if "onvolution" in kind:
        layer |= {"ParameterType": "Convolution", "Weights": {"Type": short, "Count": 9}}
    return layer


def rows(given: dict[str, str], run: dict[str, bool]) -> list[dict[str, float]]:
    """One record for each inference: slow ones while it warms up, then steady ones."""
    warmup_ms = float(given.get("--warmUp", "200"))
    wanted = max(int(given.get("--iterations", "10")), int(float(given.get("--duration", "3")) * 1000 / ROW_MS))
    made, at_ms, counted = [], 5.0, 0
    while counted < wanted:
        warm = at_ms >= warmup_ms
        compute = ROW_MS + 0.01 * (counted % 5) if warm else WARMUP_ROW_MS
        h2d, d2h = (H2D_MS, D2H_MS) if run["transfers"] else (0.0, 0.0)
        row = {"startEnqMs": at_ms - 1, "endEnqMs": at_ms - 1 + ENQUEUE_MS}
        row |= {"startH2dMs": at_ms - h2d, "endH2dMs": at_ms, "startComputeMs": at_ms, "endComputeMs": at_ms + compute}
        row |= {"startD2hMs": at_ms + compute, "endD2hMs": at_ms + compute + d2h}
        row |= {"h2dMs": h2d, "computeMs": compute, "d2hMs": d2h, "latencyMs": h2d + compute + d2h}
        if before(8, 4):
            row["endToEndMs"] = h2d + compute + d2h + 0.02
        made.append(row)
        counted += warm
        at_ms += compute + h2d + d2h
    return made


def export_times(path: str, all_rows: list[dict[str, float]], warmup_ms: float) -> None:
    """8.2 writes the warm-up's rows too."""
    kept = all_rows if before(8, 5) else [r for r in all_rows if r["startComputeMs"] >= warmup_ms]
    text = "\n, ".join("{ " + ", ".join(f'"{key}" : {value:.6g}' for key, value in row.items()) + " }" for row in kept)
    Path(path).write_text(f"[\n  {text}\n]\n")


def summary(counted: list[dict[str, float]], run: dict[str, bool]) -> None:
    pcts = (99,) if before(8, 5) else (90, 95, 99)

    def line(label: str, values: list[float]) -> None:
        up, last = sorted(values), len(values) - 1
        at = {pct: up[max(last - int((1 - pct / 100) * len(values)), 0)] for pct in pcts}
        head = f"{label}: min = {up[0]:.6g} ms, max = {up[-1]:.6g} ms, mean = {statistics.fmean(values):.6g} ms"
        tail = "".join(f", percentile({pct}%) = {value:.6g} ms" for pct, value in at.items())
        say("I", f"{head}, median = {statistics.median(values):.6g} ms{tail}")

    wall_ms = counted[-1]["endD2hMs"] - counted[0]["startH2dMs"]
    say("I", "=== Performance summary ===")
    say("I", f"Throughput: {len(counted) / wall_ms * 1000:.6g} qps")
    line("Latency", [row["latencyMs"] for row in counted])
    if "endToEndMs" in counted[0]:
        line("End-to-End Host Latency", [row["endToEndMs"] for row in counted])
    line("Enqueue Time", [row["endEnqMs"] - row["startEnqMs"] for row in counted])
    if not is_rtx() or run["transfers"]:
        line("H2D Latency", [row["h2dMs"] for row in counted])
    line("GPU Compute Time", [row["computeMs"] for row in counted])
    if not is_rtx() or run["transfers"]:
        line("D2H Latency", [row["d2hMs"] for row in counted])
    say("I", f"Total Host Walltime: {wall_ms / 1000:.6g} s")
    say("I", "Explanations of the performance metrics are printed in the verbose logs.")


def profile(given: dict[str, str]) -> None:
    if "--dumpProfile" in given:
        for text in _table():
            say("I", text)
    if "--exportProfile" in given:
        total = sum(ms for _, _, ms in layers())
        lines = [f'  {{ "count" : {PROFILED} }}']
        for name, _, ms in layers():
            median = "" if before(8, 5) else f', "medianMs" : {ms:g}'
            share = f'"percentage" : {100 * ms / total:.6g}'
            lines.append(
                f', {{ "name" : "{name}", "timeMs" : {ms * PROFILED:g}, "averageMs" : {ms:g}{median}, {share} }}'
            )
        Path(given["--exportProfile"]).write_text("[\n" + "\n".join(lines) + "\n]\n")


def _table() -> list[str]:
    """Up to 8.x with names on the left, from 10 on with names on the right."""
    width = max(len(name) for name, _, _ in layers()) + 1
    total = sum(ms for _, _, ms in layers())
    lines = ["", f"=== Profile ({PROFILED} iterations ) ==="]
    if before(10):
        median = "" if before(8, 5) else "   Median Time (ms)"
        lines.append(f"{'Layer':>{width}}   Time (ms)   Avg. Time (ms){median}   Time %")
    else:
        lines.append("   Time(ms)     Avg.(ms)   Median(ms)   Time(%)   Layer")
    for name, ms in [*((name, ms) for name, _, ms in layers()), ("Total", total)]:
        pct, all_ms = 100 * ms / total, ms * PROFILED
        if before(10):
            middle = "" if before(8, 5) else f"{ms:>19.4f}"
            lines.append(f"{name:>{width}}{all_ms:>12.2f}{ms:>17.4f}{middle}{pct:>9.1f}")
        else:
            lines.append(f"{all_ms:>11.2f}{ms:>13.4f}{ms:>13.4f}{pct:>10.1f}   {name}")
    return [*lines, ""]
