"""`espdeploy bench` against a bare loop over `InferenceSession.run`: same file, same threads, interleaved.

The machine is noisy by 15 % over minutes, so both are measured in turn, A B B A, and the medians compared pair by pair.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from common import ESPDEPLOY, spread, write

ROUNDS = 6
TRIALS = 60
BARE = """
import statistics, sys, time
import numpy as np, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(sys.argv[2])
options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
feed = {session.get_inputs()[0].name: np.load(sys.argv[4])}  # the very input that espdeploy feeds
end = time.perf_counter() + 2
while time.perf_counter() < end:
    session.run(None, feed)
times = []
for _ in range(int(sys.argv[3])):
    start = time.perf_counter()
    session.run(None, feed)
    times.append(time.perf_counter() - start)
print(statistics.median(times) * 1000)
"""


def bare_ms(onnx: Path, threads: int) -> float:
    argv = [sys.executable, "-c", BARE, str(onnx), str(threads), str(TRIALS), str(onnx.with_suffix(".npy"))]
    return float(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)


def ours_ms(onnx: Path, threads: int) -> float:
    argv = [*ESPDEPLOY, "bench", str(onnx), "--device", "cpu", "--threads", str(threads), "--trials", str(TRIALS)]
    argv += ["--warmup-s", "2", "--results", str(onnx.parent / "results"), "--json"]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout)["latency_ms"]["p50"])


def espdeploys_input(onnx: Path) -> np.ndarray:
    """What `espdeploy bench` feeds to this file: its time depends a little on the values."""
    from espdeploy.artifacts import ModelCard
    from espdeploy.export import inspect, load
    from espdeploy.parity import real_looking_inputs

    card = inspect(load(onnx)).card
    assert isinstance(card, ModelCard)
    return real_looking_inputs((1, 3, 360, 480), count=1, seed=0, preprocessing=card.preprocessing)[0]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        onnx = Path(folder) / "espnet.onnx"
        argv = [*ESPDEPLOY, "export", "--model", "espnet", "--size", "480x360", "-o", str(onnx)]
        subprocess.run(argv, check=True, capture_output=True)
        np.save(onnx.with_suffix(".npy"), espdeploys_input(onnx))
        figures: dict[str, object] = {"limit_ratio": 1.03}
        for threads in (1, 2):
            ratios, bare_all, ours_all = [], [], []
            for index in range(ROUNDS):
                pair = [bare_ms, ours_ms] if index % 2 == 0 else [ours_ms, bare_ms]
                got = {function.__name__: function(onnx, threads) for function in pair}
                ratios.append(got["ours_ms"] / got["bare_ms"])
                bare_all.append(got["bare_ms"])
                ours_all.append(got["ours_ms"])
            figures[f"threads_{threads}"] = {
                "ratio_ours_to_bare": spread(ratios),
                "bare_median_ms": statistics.median(bare_all),
                "ours_median_ms": statistics.median(ours_all),
            }
    write("loop_overhead", figures)


if __name__ == "__main__":
    main()
