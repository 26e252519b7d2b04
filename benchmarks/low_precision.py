"""What low precision and the graph passes gain and cost on this CPU, against stock ONNX Runtime in FP32.

Engines are built by `espdeploy build` and timed in this process in turns with a plain InferenceSession on the exported
FP32 graph (and on the graph as traced, which no pass of ours has touched); a ratio is taken round by round. Accuracy
is mIOU over the 51 validation frames of CamVid by `espdeploy eval`; calibration and search see training frames only.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import ESPDEPLOY, spread, write

ROUNDS = 10
ROUND_S = 0.7
WEIGHTS = {"1024x512": "espnet_p_2_q_8.pth", "480x360": "espnet_p_2_q_8_camvid.pth"}
LIMITS = {"1024x512": {"fp32": 0.80, "bf16": 0.50}, "480x360": {"int8": 0.40}}


def shared() -> Path:
    return Path(os.environ["ESPDEPLOY_DATA"])


def command(*arguments: object) -> Any:
    argv = [*ESPDEPLOY, *(str(item) for item in arguments), "--json"]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{argv}\n{done.stderr}")
    return json.loads(done.stdout)


def built(folder: Path, onnx: Path, precision: str, *options: object) -> Any:
    return command("build", onnx, "--precision", precision, *options, "-o", folder / f"{onnx.stem}.{precision}.onnx")


def engines(folder: Path, size: str) -> tuple[Path, Path, dict[str, Any]]:
    weights = ["--weights", shared() / "weights" / "espnet" / WEIGHTS[size], "--size", size]
    onnx, traced = folder / f"net{size}.onnx", folder / f"traced{size}.onnx"
    command("export", "--model", "espnet", *weights, "-o", onnx)
    command("export", "--model", "espnet", *weights, "--no-simplify", "-o", traced)
    found = {precision: built(folder, onnx, precision) for precision in ("fp32", "bf16")}
    if size == "480x360":
        camvid = shared() / "data" / "camvid"
        table = folder / "table.json"
        command("calibrate", onnx, "--data", camvid / "train", "-o", table)
        found["int8"] = built(folder, onnx, "int8", "--calibration", table)
        drop = ["--max-drop-pct", 0.2, "--data", camvid / "train", "--labels", camvid / "trainannot"]
        found["mixed"] = built(folder, onnx, "mixed", "--calibration", table, *drop)
    return onnx, traced, found


def stock(onnx: Path, threads: int) -> Callable[[], object]:
    import onnxruntime

    from espdeploy.artifacts import ModelCard
    from espdeploy.export import inspect, load
    from espdeploy.parity import real_looking_inputs

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(str(onnx), options, providers=["CPUExecutionProvider"])
    info = session.get_inputs()[0]
    card = inspect(load(onnx)).card
    assert isinstance(card, ModelCard)
    feed = {info.name: real_looking_inputs(tuple(info.shape), count=1, seed=0, preprocessing=card.preprocessing)[0]}
    return lambda: session.run(None, feed)


def ours(engine: Path, threads: int, stack: contextlib.ExitStack) -> Callable[[], object]:
    from espdeploy.pipeline.engine_files.opening import open_file
    from espdeploy.pipeline.measuring.feeds import feeds
    from espdeploy.recipes import device_profile

    opened = open_file(engine, device_profile("cpu"), runtime=None, precision=None, threads=threads)
    runner = stack.enter_context(opened.runner)
    return runner.stepper(feeds(runner.inputs, runner.card, count=1, batch=1)[0])


def a_round_ms(step: Callable[[], object]) -> float:
    until = time.perf_counter() + ROUND_S
    step()
    step()
    times: list[float] = []
    while time.perf_counter() < until or len(times) < 3:
        begun = time.perf_counter()
        step()
        times.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(times)


def timed(onnx: Path, traced: Path, found: dict[str, Any], threads: int) -> dict[str, Any]:
    with contextlib.ExitStack() as stack:
        steps = {"stock_ort_fp32": stock(onnx, threads), "stock_ort_fp32_as_traced": stock(traced, threads)}
        steps |= {name: ours(Path(item["engine"]), threads, stack) for name, item in found.items()}
        rounds: list[dict[str, float]] = []
        for index in range(ROUNDS):
            order = list(steps) if index % 2 == 0 else list(steps)[::-1]
            rounds.append({name: a_round_ms(steps[name]) for name in order})
    return {
        name: {
            "median_ms": statistics.median(item[name] for item in rounds),
            "ratio_to_stock": spread([item[name] / item["stock_ort_fp32"] for item in rounds]),
        }
        for name in steps
    }


def accuracy(onnx: Path, found: dict[str, Any], folder: Path) -> dict[str, Any]:
    camvid = shared() / "data" / "camvid"
    half = command("convert", onnx, "--precision", "fp16", "-o", folder / "half.onnx")["output"]
    files = {**{name: item["engine"] for name, item in found.items()}, "fp16 graph": half}
    rows = {}
    for name, file in files.items():
        judged = command("eval", file, "--data", camvid / "val", "--labels", camvid / "valannot", "--reference", onnx)
        reference = judged["reference"]
        rows[name] = {
            "miou_pct": judged["miou_pct"],
            "miou_drop_pct": reference["miou_drop_pct"],
            "miou_drop_ci95_pct": reference["miou_drop_ci95_pct"],
            "agreement_pct": reference["agreement_pct"],
        }
    return rows


def main() -> None:
    figures: dict[str, Any] = {
        "limits_ratio": LIMITS,
        "limits_drop_pct": {"int8": 0.5, "mixed": 0.2, "fp16 graph": 0.05, "bf16": 0.2},
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size in WEIGHTS:
            onnx, traced, found = engines(folder, size)
            figures[size] = {
                "engines": {
                    key: {
                        "runtime": item["runtime"],
                        "layers": {k: v for k, v in item["layers"].items() if k != "kept"},
                        "kept": len(item["layers"]["kept"]),
                        "size_mb": item["size_mb"],
                        "passes": item["tried"][0]["passes"],
                    }
                    for key, item in found.items()
                },
                **{f"threads_{threads}": timed(onnx, traced, found, threads) for threads in (1, 2)},
            }
            if size == "480x360":
                figures["camvid_51_frames"] = accuracy(onnx, found, folder)
    write("low_precision", figures)


if __name__ == "__main__":
    main()
