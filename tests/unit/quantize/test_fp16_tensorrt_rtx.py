"""NVIDIA's parser takes the FP16 graphs as strongly typed networks, finds FP16 in them, and builds engines."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from espdeploy.artifacts import ModelCard
from espdeploy.quantize.fp16 import to_fp16

Exported = Callable[..., tuple[onnx.ModelProto, ModelCard]]
CONVOLUTIONS = ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY")


@pytest.fixture(scope="module")
def trt() -> ModuleType:
    if importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip("tensorrt_rtx is not installed: pip install tensorrt-rtx-cu13")
    return pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx does not load", exc_type=ImportError)


class Built(NamedTuple):
    """What the parser made of a graph: type of each layer's output, inputs and outputs; and the engine's size."""

    layers: list[tuple[str, str, str]]  # kind, name, type
    border: list[str]
    engine_bytes: int

    def types(self, *kinds: str) -> set[str]:
        return {kind_of for kind, _, kind_of in self.layers if kind in kinds}


def built(trt: ModuleType, model: onnx.ModelProto, capability: str = "SM89") -> Built:
    """Parse and build; fails with the parser's own words."""
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    parsed = parser.parse(model.SerializeToString())
    assert parsed, [parser.get_error(index).desc() for index in range(parser.num_errors)]
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, capability), 0)
    for index in range(network.num_inputs):
        shape = tuple(network.get_input(index).shape)
        if -1 in shape:
            profile = builder.create_optimization_profile()
            profile.set_shape(network.get_input(index).name, *((batch, *shape[1:]) for batch in (1, 2, 4)))
            config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    assert engine is not None
    ends = [network.get_input(index) for index in range(network.num_inputs)]
    ends += [network.get_output(index) for index in range(network.num_outputs)]
    return Built(
        layers=[(layer.type.name, layer.name, layer.get_output(0).dtype.name) for layer in layers],
        border=[end.dtype.name for end in ends],
        engine_bytes=engine.nbytes,
    )


# tests/unit/tensorrt/test_zoo.py builds every network for 8.9: here the generations round it, with the two networks of
# the papers and those that have operators that are odd in FP16
@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("espnet", "SM75"),
        ("espnet", "SM120"),
        ("espnetv2-seg", "SM75"),
        ("espnetv2-seg", "SM120"),
        ("enet", "SM75"),
        ("shufflenetv1", "SM120"),
        ("eru", "SM120"),
    ],
)
def test_half_tensors_are_all_that_the_engine_has(
    trt: ModuleType, exported: Exported, name: str, capability: str
) -> None:
    half = to_fp16(exported(name)[0])
    assert half.kept == {}
    found = built(trt, half.model, capability)
    assert found.types(*CONVOLUTIONS) == {"HALF"}
    fp32 = [layer for layer, _, kind in found.layers if kind == "FLOAT"]
    assert fp32 == ["CAST"] * len(half.model.graph.output)  # nothing but the border
    assert "HALF" not in found.border
    weights = sum(len(tensor.raw_data) for tensor in half.model.graph.initializer)
    assert found.engine_bytes > weights  # an engine carries them


def test_what_is_kept_is_fp32_in_the_engine_too(trt: ModuleType, exported: Exported) -> None:
    """Every third convolution and normalization: islands of one, and neighbours."""
    model = exported("espnet")[0]
    named = [node.name for node in model.graph.node if node.op_type in ("Conv", "BatchNormalization", "PRelu", "Add")]
    half = to_fp16(model, keep_fp32=dict.fromkeys(named[::3], "every third"))
    found = built(trt, half.model)
    fp32 = {name for kind, name, kind_of in found.layers if kind == "CONVOLUTION" and kind_of == "FLOAT"}
    assert fp32 == {name for name in half.kept if name.endswith("/Conv") or "/Conv_" in name}
    assert found.types("CONVOLUTION") == {"FLOAT", "HALF"}


def test_inputs_and_outputs_in_fp16(trt: ModuleType, exported: Exported) -> None:
    found = built(trt, to_fp16(exported("espnet")[0], keep_io=False).model)
    assert found.border == ["HALF", "HALF"]
    assert "CAST" not in {kind for kind, _, _ in found.layers}


def test_a_dynamic_batch_and_the_newest_opset(trt: ModuleType, exported: Exported) -> None:
    found = built(trt, to_fp16(exported("espnet", opset=20, batch=None)[0]).model)
    assert found.types(*CONVOLUTIONS) == {"HALF"}


@pytest.mark.parametrize("scale", [0.01, 1e-6])
def test_int8_with_fp16_round_it(trt: ModuleType, scale: float) -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 9, opset_import: ["" : 20]> g (float[1, 16, 8, 8] x) => (float[1, 16, 8, 8] y)
        <float s = {0.05}, int8 z = {0}> {
        q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)  v = DequantizeLinear<axis = 0>(w, t, o)
        c = Conv<pads = [1, 1, 1, 1]>(d, v)  y = Relu(c) }"""
    )
    weights = np.resize(np.arange(-127, 128, dtype=np.int8), (16, 16, 3, 3))
    scales, zeros = np.full(16, scale, np.float32), np.zeros(16, np.int8)
    for name, array in {"w": weights, "t": scales, "o": zeros}.items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    for capability in ("SM75", "SM89", "SM120"):
        found = built(trt, to_fp16(model).model, capability)
        assert found.types("CONVOLUTION") == {"HALF"}
        assert found.types("QUANTIZE") == {"INT8"}


def test_the_proof_can_fail(trt: ModuleType, exported: Exported) -> None:
    assert built(trt, exported("espnet")[0]).types(*CONVOLUTIONS) == {"FLOAT"}
    mixed = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 13]>
        g (float[4] x, float16[4] z) => (float[4] y) { y = Add(x, z) }"""
    )
    with pytest.raises(AssertionError):
        built(trt, mixed)
