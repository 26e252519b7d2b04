"""What calibration costs: memory at 16 and 160 images, and time against ONNX Runtime's own entropy calibrator.

Each measurement runs in a process of its own. Memory is the peak above the process with the model loaded and one
image through it. Times are measured in turns, ours and the stock calibrator's, on the same graph and images.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from common import ESPDEPLOY, spread, write

ROUNDS = 2
TIMED_IMAGES = 25
FEEDS = """
import itertools, json, sys, time
from pathlib import Path
from espdeploy.accuracy.datasets import ImageFolder, find_pairs
from espdeploy.export import inspect, load
from espdeploy.specs import ImageSize

onnx, data, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
card = inspect(load(onnx)).card
images = ImageFolder(find_pairs(data), preprocessing=card.preprocessing, size=ImageSize(width=480, height=360))

def feeds():
    for sample in itertools.islice(itertools.chain.from_iterable(iter(lambda: images, None)), count):
        yield sample.name, {"input": sample.image}

def resident_mb(field):
    line = next(line for line in open("/proc/self/status") if line.startswith(field))
    return int(line.split()[1]) * 1024 / 1e6
"""
OURS = (
    FEEDS
    + """
import onnxruntime
from espdeploy.quantize.algorithms import amax
from espdeploy.quantize.observe import observe

session = onnxruntime.InferenceSession(str(onnx), providers=["CPUExecutionProvider"])
session.run(None, next(feeds())[1])
before_mb = resident_mb("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
started = time.perf_counter()
seen = observe(onnx, feeds(), threads=2)
ranges = {name: amax(sketch, "entropy") for name, sketch in seen.sketches.items()}
print(json.dumps({"s": time.perf_counter() - started, "peak_mb": resident_mb("VmHWM") - before_mb,
                  "tensors": len(ranges)}))
"""
)
STOCK = (
    FEEDS
    + """
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, create_calibrator

class Reader(CalibrationDataReader):
    def __init__(self):
        self.feeds = feeds()
    def get_next(self):
        return next((feed for _, feed in self.feeds), None)

calibrator = create_calibrator(str(onnx), augmented_model_path=sys.argv[4], calibrate_method=CalibrationMethod.Entropy)
before_mb = resident_mb("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
started = time.perf_counter()
calibrator.collect_data(Reader())
found = calibrator.compute_data()
print(json.dumps({"s": time.perf_counter() - started, "peak_mb": resident_mb("VmHWM") - before_mb,
                  "tensors": len(found.data)}))
"""
)


def measured(script: str, *arguments: object) -> dict[str, float]:
    argv = [sys.executable, "-c", script, *(str(item) for item in arguments)]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def main() -> None:
    shared = Path(os.environ["ESPDEPLOY_DATA"])
    data = shared / "data" / "camvid" / "train"
    with tempfile.TemporaryDirectory() as folder:
        onnx = Path(folder) / "camvid.onnx"
        weights = shared / "weights" / "espnet" / "espnet_p_2_q_8_camvid.pth"
        argv = ["export", "--model", "espnet", "--weights", str(weights), "--size", "480x360", "-o", str(onnx)]
        subprocess.run([*ESPDEPLOY, *argv], check=True, capture_output=True)
        memory = {count: measured(OURS, onnx, data, count) for count in (16, 160)}
        ours, stock = [], []
        for index in range(ROUNDS):
            for kind in ("ours", "stock") if index % 2 == 0 else ("stock", "ours"):
                if kind == "ours":
                    ours.append(measured(OURS, onnx, data, TIMED_IMAGES))
                else:
                    stock.append(measured(STOCK, onnx, data, TIMED_IMAGES, Path(folder) / "augmented.onnx"))
    write(
        "calibration",
        {
            "network": "ESPNet, CamVid checkpoint, 480x360, 192 tensors",
            "peak_mb_16_images": memory[16]["peak_mb"],
            "peak_mb_160_images": memory[160]["peak_mb"],
            "peak_ratio_160_to_16": memory[160]["peak_mb"] / memory[16]["peak_mb"],
            "limit_peak_mb": 600,
            "entropy_25_images_s": spread([item["s"] for item in ours]),
            "stock_entropy_25_images_s": spread([item["s"] for item in stock]),
            "stock_peak_mb": spread([item["peak_mb"] for item in stock]),
            "ratio_ours_to_stock": spread([own["s"] / other["s"] for own, other in zip(ours, stock, strict=True)]),
            "limit_ratio": 0.5,
        },
    )


if __name__ == "__main__":
    main()
