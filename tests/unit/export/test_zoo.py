"""Every image network of the zoo, at two sizes and both opsets, comes out of the export equal to PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import onnx
import onnxruntime
import pytest
import torch

from espdeploy import export, parity
from espdeploy.networks.build import build
from espdeploy.networks.registry import REGISTRY
from espdeploy.passes import apply, pipeline_for
from espdeploy.pipeline.export import Exported
from espdeploy.specs import ImageSize, ModelSpec


class Written(Protocol):
    """As the fixture ``written`` gives it."""

    exported: Exported
    path: Path
    module: torch.nn.Module


Write = Callable[..., Written]
IMAGE_NETWORKS = [name for name, entry in REGISTRY.items() if entry.inputs is None]
OPSETS = [13, 20]  # for TX2, and the default
SIZES = ["64x32", "96x64"]
#: what reads a shape at run time, or what TensorRT has no good answer to
UNWANTED = {"Shape", "Gather", "ScatterND", "ScatterElements", "MaxUnpool", "Pad", "Loop", "If"}
#: those behind a concatenation of a convolution with a pooled image, which can be folded into neither; of the networks
#: that normalise nothing but convolutions elsewhere
NORMS_LEFT = {"enet": 1, "erfnet": 3, "mobilenetv1": 0, "mobilenetv2": 0, "shufflenetv1": 0, "shufflenetv2": 0}


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", IMAGE_NETWORKS)
def test_the_export_is_equal(written: Write, name: str, size: str, opset: int) -> None:
    made = written(name, opset=opset, size=size)
    image = ImageSize.parse(size)
    shape = (1, 3, image.height, image.width)
    assert (made.exported.artifact.opset, made.exported.artifact.input_shape) == (opset, shape)
    assert made.exported.nodes_after <= made.exported.nodes_before
    session = onnxruntime.InferenceSession(made.path, providers=["CPUExecutionProvider"])
    found = parity.compare(
        lambda feed: made.module(torch.from_numpy(feed)).numpy(),
        lambda feed: session.run(None, {"input": feed})[0],
        parity.real_looking_inputs(shape, 2, 0, REGISTRY[name].preprocessing),
    )
    jumps_pct = REGISTRY[name].jumps_pct  # ENet's unpooling alone: docs/decisions/0005
    parity.check(found, jumps_pct=jumps_pct)
    assert made.exported.parity.over_limit_pct <= jumps_pct
    assert made.exported.parity.argmax_agreement_pct is not None


@pytest.mark.parametrize("name", IMAGE_NETWORKS)
def test_both_exporters_name_the_modules_alike(written: Write, name: str) -> None:
    """Or a profile on a TX2 could not be set beside one on a desktop GPU."""
    graphs = [onnx.load(written(name, opset=opset, size="96x64").path).graph for opset in OPSETS]
    older, newer = ({node.name.rpartition("/")[0] for node in graph.node} - {""} for graph in graphs)
    assert older == newer


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", IMAGE_NETWORKS)
def test_shapes_are_static_and_normalisation_is_folded(written: Write, name: str, size: str, opset: int) -> None:
    graph = onnx.load(written(name, opset=opset, size=size).path).graph
    kinds = [node.op_type for node in graph.node]
    assert not UNWANTED & set(kinds)
    if name in NORMS_LEFT:
        assert kinds.count("BatchNormalization") == NORMS_LEFT[name]
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    for node in graph.node:
        if node.op_type in ("Reshape", "Slice", "Split"):
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


def test_all_but_the_language_model_take_images() -> None:
    assert set(REGISTRY) - set(IMAGE_NETWORKS) == {"eru"}
    assert len(IMAGE_NETWORKS) == 12
