"""ESPNetv2 as ONNX: ONNX Runtime gives what PyTorch gives, and NVIDIA's parser and builder take it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import ModelProto
from torch import nn

from espdeploy.export import save, trace
from espdeploy.networks import registry
from espdeploy.networks.build import BuiltNetwork, build
from espdeploy.networks.onnx_counting import count_onnx
from espdeploy.passes import apply, pipeline_for
from espdeploy.specs import ImageSize, ModelSpec

CASES = [
    ("espnetv2", {"scale": "0.5"}, [(97, 65), (224, 224)]),
    ("espnetv2-seg", {"scale": "0.5", "head": "paper"}, [(16, 16), (96, 48)]),
    ("espnetv2-seg", {"scale": "0.5", "head": "edgenets"}, [(16, 16), (176, 112)]),
]
SIZED = [(name, settings, size) for name, settings, sizes in CASES for size in sizes]


def built_at(name: str, settings: dict[str, str], size: tuple[int, int]) -> BuiltNetwork:
    """With normalisations as after training: fresh ones are the identity and would hide an error in their folding."""
    built = build(ModelSpec(name=name, settings=settings), size=ImageSize(width=size[0], height=size[1]))
    generator = torch.Generator().manual_seed(1)
    for layer in built.module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1, generator=generator)
            layer.running_var.uniform_(0.5, 1.5, generator=generator)
    return built


def exported(built: BuiltNetwork, *, opset: int, dynamic: bool = False) -> ModelProto:
    shape = (1, 3, built.size.height, built.size.width)
    return apply(
        trace(built.module, input_shape=shape, opset=opset, dynamic_batch=dynamic), pipeline_for(simplify=True)
    ).model


def relative_error(built: BuiltNetwork, model: ModelProto, *, batch: int = 1) -> float:
    image = np.random.default_rng(3).standard_normal((batch, 3, built.size.height, built.size.width))
    image = image.astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = built.module(torch.from_numpy(image)).numpy()
    (output,) = session.run(None, {session.get_inputs()[0].name: image})
    assert output.shape == expected.shape
    return float(np.abs(output - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize(("name", "settings", "size"), SIZED)
def test_opset_13_gives_what_pytorch_gives(
    name: str, settings: dict[str, str], size: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    built = built_at(name, settings, size)
    assert relative_error(built, exported(built, opset=13)) <= 1e-4
    assert not caplog.records  # the tracer warns where it bakes in what it should not


@pytest.mark.parametrize(("name", "settings", "size"), [SIZED[0], SIZED[3], SIZED[5]])
def test_the_default_opset_gives_what_pytorch_gives(name: str, settings: dict[str, str], size: tuple[int, int]) -> None:
    built = built_at(name, settings, size)
    assert relative_error(built, exported(built, opset=20)) <= 1e-4


@pytest.mark.parametrize(("name", "settings", "size"), [SIZED[0], SIZED[3], SIZED[5]])
def test_the_batch_stays_dynamic(name: str, settings: dict[str, str], size: tuple[int, int]) -> None:
    built = built_at(name, settings, size)
    assert relative_error(built, exported(built, opset=13, dynamic=True), batch=3) <= 1e-4


@pytest.mark.parametrize(("name", "settings", "size"), [SIZED[1], SIZED[3], SIZED[5]])
def test_the_file_has_the_multiply_adds_of_the_network(
    name: str, settings: dict[str, str], size: tuple[int, int], tmp_path: Path
) -> None:
    built = built_at(name, settings, size)
    path = save(exported(built, opset=13), tmp_path / "x.onnx", built.card).path
    counts = count_onnx(path)
    assert counts.macs == built.card.macs
    assert built.card.params is not None
    assert 0 <= built.card.params - counts.params < 0.05 * built.card.params  # folded or unused


@pytest.fixture(scope="module")
def trt() -> Any:
    if importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip("tensorrt_rtx is not installed: pip install tensorrt-rtx-cu13")
    return pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx does not load", exc_type=ImportError)


@pytest.mark.parametrize("opset", [13, 20])
@pytest.mark.parametrize(("name", "settings", "size"), [SIZED[0], SIZED[3], SIZED[5]])
def test_tensorrt_rtx_builds_it(
    trt: Any, name: str, settings: dict[str, str], size: tuple[int, int], opset: int
) -> None:
    built = built_at(name, settings, size)
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    parsed = parser.parse(exported(built, opset=opset).SerializeToString())
    assert parsed, [parser.get_error(index).desc() for index in range(parser.num_errors)]
    classes = int(registry.entry(name).defaults["classes"])
    spatial = () if name == "espnetv2" else (size[1], size[0])
    assert tuple(network.get_output(0).shape) == (1, classes, *spatial)
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM89, 0)
    engine = builder.build_serialized_network(network, config)
    assert engine is not None
    assert engine.nbytes > 0
