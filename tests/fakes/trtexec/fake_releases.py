"""Which release the fake tool is of, and what its command line knows (samples/common/sampleOptions.cpp at each tag)."""

from __future__ import annotations

import os
from typing import Any

RELEASE = "8.2.1"  # the installed program sets its own

RELEASES: dict[str, dict[str, Any]] = {
    "8.2.1": {"code": 8201, "compute": "6.2", "gpu": "NVIDIA Tegra X2"},
    "8.5.2": {"code": 8502, "compute": "8.7", "gpu": "Orin"},
    "8.6.1": {"code": 8601, "compute": "8.6", "gpu": "NVIDIA GeForce RTX 3060"},
    "10.3.0": {"code": 100300, "compute": "8.7", "gpu": "Orin"},
    "11.1.0": {"code": 110100, "compute": "8.9", "gpu": "NVIDIA L4"},
    "rtx-1.7.1": {"code": 10701, "compute": "8.9", "gpu": "NVIDIA GeForce RTX 4070"},
}

COMMON = {
    "--onnx", "--saveEngine", "--loadEngine", "--minShapes", "--optShapes", "--maxShapes", "--shapes", "--noTF32",
    "--profilingVerbosity", "--exportLayerInfo", "--exportTimes", "--exportProfile", "--dumpProfile", "--dumpLayerInfo",
    "--warmUp", "--duration", "--iterations", "--verbose", "--avgRuns", "--percentile", "--device", "--noDataTransfers",
    "--useSpinWait", "--useCudaGraph", "--separateProfileRun",
}  # fmt: skip
NOT_RTX = {"--useDLACore", "--allowGPUFallback", "--timingCacheFile"}
FLAGS = {"--fp16", "--int8", "--best", "--calib"}
SKIP, POOL, LEVEL, STREAMS = "--skipInference", "--memPoolSize", "--builderOptimizationLevel", "--infStreams"
FAST = {"--includeDataTransfers", "--noSpinWait", "--noCudaGraph"}


def major() -> tuple[int, ...]:
    return tuple(int(part) for part in RELEASE.removeprefix("rtx-").split("."))


def is_rtx() -> bool:
    return RELEASE.startswith("rtx-")


def options() -> set[str]:
    if is_rtx():
        fast = {"--includeDataTransfers", "--noSpinWait", "--rtxCudaGraphStrategy"}
        return (
            COMMON - {"--useCudaGraph"}
            | fast
            | {SKIP, POOL, STREAMS, "--computeCapabilities", "--useGpu", "--runtimeCacheFile"}
        )
    known = COMMON | NOT_RTX
    if major() < (8, 4):
        return known | FLAGS | {"--workspace", "--buildOnly", "--streams"}
    if major() < (8, 6):
        return known | FLAGS | {"--workspace", POOL, "--buildOnly", "--streams"}
    if major() < (10,):
        return known | FLAGS | {"--workspace", POOL, "--buildOnly", SKIP, "--streams", STREAMS, LEVEL}
    known |= {POOL, SKIP, "--streams", STREAMS, LEVEL, "--stronglyTyped"}
    return known | FLAGS if major() < (11,) else known | FAST


def fault() -> str:
    return os.environ.get("FAKE_FAULT", "")


def before(*version: int) -> bool:
    """Whether the release is TensorRT's and older."""
    return not is_rtx() and major() < version


def code() -> int:
    """NV_TENSORRT_VERSION."""
    return int(RELEASES[RELEASE]["code"])
