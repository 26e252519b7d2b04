"""ESPNetv2 as ONNX: ONNX Runtime gives what PyTorch gives, and NVIDIA's parser and builder take it."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import ModelProto
from torch import nn

from espdeploy.export import save, trace
from espdeploy.networks.build import BuiltNetwork, build
from espdeploy.networks.onnx_counting import count_onnx
from espdeploy.passes import apply, pipeline_for
from espdeploy.specs import ImageSize, ModelSpec

Case = tuple[str, tuple[tuple[str, str], ...], tuple[int, int]]

#: network, settings, size; two sizes each
CLASSIFICATION: list[Case] = [("espnetv2", (("scale", "0.5"),), size) for size in ((97, 65), (224, 224))]
PAPER: list[Case] = [("espnetv2-seg", (("scale", "0.5"), ("head", "paper")), size) for size in ((96, 48), (16, 16))]
EDGENETS: list[Case] = [
    ("espnetv2-seg", (("scale", "0.5"), ("head", "edgenets")), size) for size in ((176, 112), (16, 16))
]
ALL = [*CLASSIFICATION, *PAPER, *EDGENETS]
ONE_EACH = [CLASSIFICATION[0], PAPER[0], EDGENETS[0]]
#: what the tests of the whole zoo do not have (export/test_zoo.py, tensorrt/test_zoo.py): odd extents, this decoder
BESIDE_THE_ZOO = [CLASSIFICATION[0], EDGENETS[0]]


@cache
def built_at(case: Case) -> BuiltNetwork:
    """With normalisations as after training: fresh ones are the identity and would hide an error in their folding."""
    name, settings, (width, height) = case
    built = build(ModelSpec(name=name, settings=dict(settings)), size=ImageSize(width=width, height=height))
    generator = torch.Generator().manual_seed(1)
    for layer in built.module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1, generator=generator)
            layer.running_var.uniform_(0.5, 1.5, generator=generator)
    return built


@cache
def exported(case: Case, *, opset: int, dynamic: bool = False) -> ModelProto:
    """Traced and simplified; kept, because several tests look at the same file."""
    built = built_at(case)
    shape = (1, 3, built.size.height, built.size.width)
    traced = trace(built.module, input_shape=shape, opset=opset, dynamic_batch=dynamic)
    return apply(traced, pipeline_for(simplify=True)).model


def relative_error(case: Case, model: ModelProto, *, batch: int = 1) -> float:
    built = built_at(case)
    shape = (batch, 3, built.size.height, built.size.width)
    image = np.random.default_rng(3).standard_normal(shape).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = built.module(torch.from_numpy(image)).numpy()
    (output,) = session.run(None, {session.get_inputs()[0].name: image})
    assert output.shape == expected.shape
    return float(np.abs(output - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("case", ALL, ids=str)
def test_opset_13_gives_what_pytorch_gives(case: Case) -> None:
    assert relative_error(case, exported(case, opset=13)) <= 1e-4


@pytest.mark.parametrize("case", BESIDE_THE_ZOO, ids=str)
def test_the_default_opset_gives_what_pytorch_gives(case: Case) -> None:
    assert relative_error(case, exported(case, opset=20)) <= 1e-4


def test_the_batch_stays_dynamic() -> None:
    model = exported(EDGENETS[0], opset=13, dynamic=True)
    assert relative_error(EDGENETS[0], model, batch=3) <= 1e-4


def test_nothing_is_baked_in_that_the_tracer_warns_of(caplog: pytest.LogCaptureFixture) -> None:
    built = built_at(EDGENETS[1])
    trace(built.module, input_shape=(1, 3, 16, 16), opset=13, dynamic_batch=True)
    assert not caplog.records


@pytest.mark.parametrize("case", ONE_EACH, ids=str)
def test_the_file_has_the_multiply_adds_of_the_network(case: Case, tmp_path: Path) -> None:
    card = built_at(case).card
    counts = count_onnx(save(exported(case, opset=13), tmp_path / "x.onnx", card).path)
    assert counts.macs == card.macs
    assert card.params is not None
    assert 0 <= card.params - counts.params < 0.05 * card.params  # folded or unused


@pytest.fixture(scope="module")
def trt() -> ModuleType:
    if importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip("tensorrt_rtx is not installed: pip install tensorrt-rtx-cu13")
    return pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx does not load", exc_type=ImportError)


@pytest.mark.parametrize("opset", [13, 20])
@pytest.mark.parametrize("case", BESIDE_THE_ZOO, ids=str)
def test_tensorrt_rtx_builds_it(trt: ModuleType, case: Case, opset: int) -> None:
    name, _, (width, height) = case
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    parsed = parser.parse(exported(case, opset=opset).SerializeToString())
    assert parsed, [parser.get_error(index).desc() for index in range(parser.num_errors)]
    expected = (1, 1000) if name == "espnetv2" else (1, 20, height, width)
    assert tuple(network.get_output(0).shape) == expected
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM89, 0)
    engine = builder.build_serialized_network(network, config)
    assert engine is not None
    assert engine.nbytes > 0
