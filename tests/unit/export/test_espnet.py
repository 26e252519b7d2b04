"""The released ESPNets through trace, passes and file give in ONNX Runtime what they give in PyTorch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import onnxruntime
import pytest
import torch
from onnx import numpy_helper

from espdeploy import export, parity
from espdeploy.networks.build import build
from espdeploy.passes import apply, pipeline_for
from espdeploy.specs import ImageSize, ModelSpec

SHAPE = (1, 3, 64, 128)


def proven(spec: ModelSpec, folder: Path, *, opset: int) -> parity.Parity:
    built = build(spec, size=ImageSize(width=SHAPE[3], height=SHAPE[2]))
    model = export.trace(built.module, input_shape=SHAPE, opset=opset, dynamic_batch=False)
    path = export.save(apply(model, pipeline_for(simplify=True)).model, folder / "m.onnx", built.card).path
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def original(feed):
        with torch.no_grad():
            return built.module(torch.from_numpy(feed)).numpy()

    inputs = parity.real_looking_inputs(SHAPE, 2, 0, built.card.preprocessing)
    return parity.compare(original, lambda feed: session.run(None, {"input": feed})[0], inputs)


@pytest.mark.data
@pytest.mark.parametrize("checkpoint", ["espnet_p_2_q_8.pth", "espnet_p_2_q_8_camvid.pth"])
def test_released_weights_with_their_denormals(data_dir: Path, tmp_path: Path, checkpoint: str) -> None:
    weights = data_dir / "weights" / "espnet" / checkpoint
    found = proven(ModelSpec(name="espnet", weights=weights), tmp_path, opset=13)
    parity.check(found)
    assert found.argmax_agreement_pct == 100


@pytest.mark.data
def test_released_weights_hold_denormals_and_neither_network_nor_export_does(data_dir: Path) -> None:
    weights = data_dir / "weights" / "espnet" / "espnet_p_2_q_8.pth"
    smallest = torch.finfo(torch.float32).tiny

    def denormals(tensors: Iterable[torch.Tensor]) -> int:
        return sum(int(((tensor != 0) & (tensor.abs() < smallest)).sum()) for tensor in tensors)

    assert denormals(torch.load(weights, map_location="cpu", weights_only=True).values()) > 10_000
    built = build(ModelSpec(name="espnet", weights=weights), size=ImageSize(width=SHAPE[3], height=SHAPE[2]))
    assert denormals(built.module.parameters()) == 0
    traced = export.trace(built.module, input_shape=SHAPE, opset=13, dynamic_batch=False)
    model = apply(traced, pipeline_for(simplify=True)).model
    stored = [torch.from_numpy(numpy_helper.to_array(item).copy()) for item in model.graph.initializer]
    assert denormals(tensor for tensor in stored if tensor.is_floating_point()) == 0
