"""What NVML says of a GPU against what nvidia-smi prints of it. Needs a desktop GPU with its driver."""

from __future__ import annotations

import shutil

import pytest

from espdeploy import shell
from espdeploy.devices import gpus

pytestmark = pytest.mark.gpu


def test_gpus_are_those_that_nvidia_smi_lists() -> None:
    if shutil.which("nvidia-smi") is None:
        pytest.skip("no NVIDIA driver here: nvidia-smi is not on PATH")
    pytest.importorskip("pynvml")
    query = ["nvidia-smi", "--query-gpu=name,compute_cap,memory.total", "--format=csv,noheader,nounits"]
    printed = [line.split(", ") for line in shell.run(query, timeout_s=60).stdout.strip().splitlines()]
    found = gpus.by_nvml()
    assert found is not None
    assert [gpu.name for gpu in found] == [row[0] for row in printed]
    assert [gpu.compute_capability for gpu in found] == [row[1] for row in printed]
    for gpu, row in zip(found, printed, strict=True):
        assert gpu.memory_total_mb == pytest.approx(float(row[2]) * 1.048576, rel=0.01)  # nvidia-smi prints MiB
