"""Every image network of the zoo, at two sizes and both opsets, comes out of the export equal to PyTorch."""

from __future__ import annotations

from pathlib import Path

import pytest

from espdeploy.networks.registry import REGISTRY
from espdeploy.parity import FP32_LIMIT_REL, FP32_MIN_AGREEMENT_PCT
from espdeploy.pipeline.export import ExportRequest, export_model
from espdeploy.protocols import no_progress
from espdeploy.recipes import device_profile
from espdeploy.specs import ImageSize, ModelSpec

IMAGE_NETWORKS = [name for name, entry in REGISTRY.items() if entry.inputs is None]
SIZES = [ImageSize(width=64, height=32), ImageSize(width=96, height=64)]


@pytest.mark.parametrize("device", ["tx2", "cpu"])  # opset 13 and the default
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", IMAGE_NETWORKS)
def test_the_export_is_equal(name: str, size: ImageSize, device: str, tmp_path: Path) -> None:
    request = ExportRequest(model=ModelSpec(name=name), profile=device_profile(device), size=size)
    exported = export_model(request, tmp_path / "net.onnx", no_progress)
    assert exported.artifact.opset == device_profile(device).opset
    assert exported.artifact.input_shape == (1, 3, size.height, size.width)
    assert exported.nodes_after <= exported.nodes_before
    parity = exported.parity
    assert parity.argmax_agreement_pct is not None
    assert parity.argmax_agreement_pct >= FP32_MIN_AGREEMENT_PCT
    jumps_pct = REGISTRY[name].jumps_pct  # ENet's unpooling alone: docs/decisions/0005
    assert parity.max_rel_err <= FP32_LIMIT_REL or 0 < parity.over_limit_pct <= jumps_pct


def test_all_but_the_language_model_take_images() -> None:
    assert set(REGISTRY) - set(IMAGE_NETWORKS) == {"eru"}
    assert len(IMAGE_NETWORKS) == 12
