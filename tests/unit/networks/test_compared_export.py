"""The compared networks through trace and passes: equal in ONNX Runtime, taken by NVIDIA's parser and builder."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from espdeploy import export, parity
from espdeploy.networks import registry
from espdeploy.networks.build import build
from espdeploy.passes import apply, pipeline_for
from espdeploy.specs import ImageSize, ModelSpec

NETWORKS = ("enet", "erfnet", "mobilenetv1", "mobilenetv2", "shufflenetv1", "shufflenetv2")
#: opset 20 comes from another exporter, which takes seconds: one size is enough to see that it writes the same
CASES = [(name, opset, size) for name in NETWORKS for opset, size in [(13, "64x32"), (13, "96x64"), (20, "96x64")]]


class Exported(NamedTuple):
    network: nn.Module
    model: onnx.ModelProto
    shape: tuple[int, int, int, int]


def unsettle(network: nn.Module) -> None:
    """Statistics and scales as training leaves them: an untrained normalisation does next to nothing."""
    generator = torch.Generator().manual_seed(1)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for tensor, low, high in (
                (norm.weight, 0.6, 1.6),
                (norm.bias, -0.3, 0.3),
                (norm.running_mean, -0.2, 0.2),
                (norm.running_var, 0.3, 1.5),
            ):
                tensor.copy_(low + (high - low) * torch.rand(tensor.shape, generator=generator))


@pytest.fixture(scope="module")
def exported() -> Callable[[str, int, str], Exported]:
    @functools.cache
    def make(name: str, opset: int, size: str) -> Exported:
        built = build(ModelSpec(name=name), size=ImageSize.parse(size))
        unsettle(built.module)
        shape = (1, 3, built.size.height, built.size.width)
        traced = export.trace(built.module, input_shape=shape, opset=opset, dynamic_batch=False)
        return Exported(built.module, apply(traced, pipeline_for(simplify=True)).model, shape)

    return make


@pytest.mark.parametrize(("name", "opset", "size"), CASES)
def test_onnx_runtime_gives_the_same(
    exported: Callable[[str, int, str], Exported], name: str, opset: int, size: str
) -> None:
    network, model, shape = exported(name, opset, size)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    inputs = parity.real_looking_inputs(shape, 2, 0, registry.entry(name).preprocessing)
    found = parity.compare(
        lambda feed: network(torch.from_numpy(feed)).numpy(),
        lambda feed: session.run(None, {"input": feed})[0],
        inputs,
    )
    parity.check(found)


@pytest.mark.parametrize(("name", "opset", "size"), CASES)
def test_shapes_are_static_and_normalisation_is_folded(
    exported: Callable[[str, int, str], Exported], name: str, opset: int, size: str
) -> None:
    graph = exported(name, opset, size).model.graph
    kinds = [node.op_type for node in graph.node]
    assert not {"Shape", "Gather", "ScatterND", "ScatterElements", "MaxUnpool", "Pad", "Loop", "If"} & set(kinds)
    # one follows each concatenation of a convolution with a pooled image, and can be folded into neither
    assert kinds.count("BatchNormalization") == {"enet": 1, "erfnet": 3}.get(name, 0)
    for node in graph.node:
        if node.op_type in ("Reshape", "Slice", "Split"):
            constants = {tensor.name for tensor in graph.initializer}
            constants |= {other.output[0] for other in graph.node if other.op_type == "Constant"}
            assert set(filter(None, node.input[1:])) <= constants, node.name


@pytest.mark.parametrize("name", ["enet", "shufflenetv1", "shufflenetv2"])
def test_a_dynamic_batch_reads_no_shapes_at_run_time(name: str) -> None:
    built = build(ModelSpec(name=name), size=ImageSize(width=64, height=32))
    traced = export.trace(built.module, input_shape=(1, 3, 32, 64), opset=13, dynamic_batch=True)
    model = apply(traced, pipeline_for(simplify=True)).model
    assert "Shape" not in {node.op_type for node in model.graph.node}
    images = torch.rand(3, 3, 32, 64, generator=torch.Generator().manual_seed(0))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    answer = torch.from_numpy(session.run(None, {"input": images.numpy()})[0])
    expected = built.module(images)
    assert (answer - expected).abs().max() <= parity.FP32_LIMIT_REL * expected.abs().max()


@pytest.fixture(scope="module")
def trt() -> ModuleType:
    if importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip("tensorrt_rtx is not installed: pip install tensorrt-rtx-cu13")
    return pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx does not load", exc_type=ImportError)


@pytest.mark.parametrize("opset", [13, 20])
@pytest.mark.parametrize("name", NETWORKS)
def test_tensorrt_rtx_builds_it(
    trt: ModuleType, exported: Callable[[str, int, str], Exported], name: str, opset: int
) -> None:
    model = exported(name, opset, "96x64").model
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    parsed = parser.parse(model.SerializeToString())
    assert parsed, [parser.get_error(index).desc() for index in range(parser.num_errors)]
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM89, 0)
    engine = builder.build_serialized_network(network, config)
    assert engine is not None
    assert engine.nbytes > sum(len(tensor.raw_data) for tensor in model.graph.initializer)
