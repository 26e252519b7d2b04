"""The whole of `bench --device tx2` against a stand-in TX2 whose exact energies and times are known.

Three frequencies, 20 s each, power at 10 Hz from the sensors and from tegrastats. The limits are issue 6's: energy per
inference within 1 %, sensitivity within 0.02. Nothing here says anything of a real board.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from common import ESPDEPLOY, write

INSTALL = Path(__file__).parents[1] / "tests/fakes/tx2/install.py"
FREQUENCIES_MHZ = "624,824,1134"
ENERGY_LIMIT_PCT, SENSITIVITY_LIMIT = 1.0, 0.02


def stand_in() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tx2_install", INSTALL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tx2_install"] = module
    spec.loader.exec_module(module)
    return module


def graph(path: Path) -> None:
    import onnx

    weights = ", ".join(["0.5"] * 108)
    text = (
        '<ir_version: 8, opset_import: ["" : 13]> net (float[1,3,512,1024] x) => (float[1,4,512,1024] y) '
        f"<float[4,3,3,3] w = {{{weights}}}> {{ y = Conv <pads = [1,1,1,1]> (x, w) }}"
    )
    onnx.save(onnx.parser.parse_model(text), str(path))


def records(environment: dict[str, str], folder: Path, source: str) -> list[dict[str, Any]]:
    argv = [
        *ESPDEPLOY, "bench", folder / "net.engine", "--device", "tx2", "--freq", FREQUENCIES_MHZ, "--trials", "200",
        "--duration-s", "20", "--warmup-s", "1", "--idle-s", "3", "--power-source", source,
        "--results", folder / source,
        "--json",
    ]  # fmt: skip
    done = subprocess.run(argv, env=environment, cwd=folder, check=True, capture_output=True, text=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def error_pct(record: dict[str, Any], truth: Any, module: ModuleType) -> float:
    """Energy per inference against the model's power at that clock, under load, times the time per inference."""
    state = module.State(mhz=record["device"]["gpu_freq_mhz"]["set"], load=1.0, temperature_c=40.0, host_busy=True)
    exact_j = truth.power_w("VDD_IN", state) / record["fps"]
    return (record["power"]["energy_per_inference_j"] / exact_j - 1) * 100


def main() -> None:
    module = stand_in()
    figures: dict[str, object] = {"energy_limit_pct": ENERGY_LIMIT_PCT, "sensitivity_limit": SENSITIVITY_LIMIT}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with module.install(folder / "board", leakage_w=0.0) as board:
            environment = {**os.environ, **board.environment, "ESPDEPLOY_CACHE": str(folder / "cache")}
            graph(folder / "net.onnx")
            build = [*ESPDEPLOY, "build", folder / "net.onnx", "--device", "tx2", "--precision", "fp16"]
            subprocess.run([*build, "-o", folder / "net.engine"], env=environment, check=True, capture_output=True)
            truth = board.truth()
            for source in ("ina3221", "tegrastats"):
                found = records(environment, folder, source)
                span = found[0]["frequency_sensitivity"]["span"]
                exact = abs(truth.sensitivity(span["from_mhz"], span["to_mhz"], precision="fp16"))
                figures[source] = {
                    "energy_error_pct": {
                        f"{record['device']['gpu_freq_mhz']['set']:g} MHz": error_pct(record, truth, module)
                        for record in found
                    },
                    "power_samples": [record["power"]["samples"] for record in found],
                    "sensitivity": {"measured": span["value"], "exact": exact, "ci95": span["ci95"]},
                    "sampler_cpu_pct": [record["overhead"]["sampler_cpu_pct"] for record in found],
                }
    write("board", figures)


if __name__ == "__main__":
    main()
