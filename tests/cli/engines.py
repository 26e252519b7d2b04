"""Engines and passports for tests of `espdeploy doctor engine`."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

from espdeploy import __version__
from espdeploy.pipeline.engine_files.passport import Passport, write_passport

#: the first bytes of a plan of TensorRT 10, and something behind them
PLAN = b"ftrt" + bytes(range(256)) * 8
ONNX_SHA256 = hashlib.sha256(b"the graph").hexdigest()

TX2 = Passport(
    schema=1,
    sha256="",
    onnx="net.onnx",
    onnx_sha256=ONNX_SHA256,
    device="tx2",
    runtime="trtexec",
    runtime_version="8.2.1",
    precision="fp16",
    precision_share_pct={"fp16": 100.0},
    cpu="Denver 2 + Cortex-A57",
    built="2026-01-02T03:04:05+00:00",
    build_s=60.0,
    espdeploy_version=__version__,
    gpu="GP10B (Pascal)",
    compute_capability="6.2",
    tensorrt_version="8.2.1",
    jetpack="4.6.1",
    l4t="32.7.1",
    gpu_clock_mhz=1300.5,
    flags=("--fp16",),
)


def written(path: Path, passport: Passport, content: bytes = PLAN) -> Path:
    """An engine of that content with that passport."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    write_passport(dataclasses.replace(passport, sha256=hashlib.sha256(content).hexdigest()), path)
    return path
