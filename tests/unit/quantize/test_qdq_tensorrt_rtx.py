"""NVIDIA's parser takes the Q/DQ graphs as they are, finds INT8 around every layer, and builds engines for three GPUs.

TensorRT-RTX builds without a GPU. Beside that it says which kernels an engine has, and in which types they read.
"""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from collections.abc import Callable, Mapping
from types import ModuleType

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from espdeploy.artifacts import ModelCard
from espdeploy.networks.registry import REGISTRY
from espdeploy.parity import real_looking_inputs, real_looking_texts
from espdeploy.protocols import TensorInfo
from espdeploy.quantize.qdq import quantizable, quantize

Exported = Callable[..., tuple[onnx.ModelProto, ModelCard]]
FLOAT = onnx.TensorProto.FLOAT
WEIGHTED = ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY")
#: compute capabilities 7.5, 8.9 and 12.0
GPUS = ("SM75", "SM89", "SM120")
#: of the graphs that tests/unit/tensorrt/test_zoo.py builds for 8.9
OTHER_GPUS = ("SM75", "SM120")


@pytest.fixture(scope="module")
def trt() -> ModuleType:
    if importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip("tensorrt_rtx is not installed: pip install tensorrt-rtx-cu13")
    return pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx does not load", exc_type=ImportError)


class Network:
    """What TensorRT-RTX made of a graph: layers with the layers that they read, and the kernels of an engine."""

    def __init__(self, trt: ModuleType, model: onnx.ModelProto) -> None:
        messages = self.messages = []

        class Log(trt.ILogger):
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: object, message: str) -> None:
                messages.append(message)

        self._trt, self._log = trt, Log()
        self._builder = trt.Builder(self._log)
        self._network = self._builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(self._network, self._log)
        parsed = parser.parse(model.SerializeToString())
        assert parsed, [parser.get_error(index).desc() for index in range(parser.num_errors)]
        self.layers = [self._network.get_layer(index) for index in range(self._network.num_layers)]
        self._written = {layer.get_output(at).name: layer for layer in self.layers for at in range(layer.num_outputs)}

    def kinds(self) -> Counter[str]:
        return Counter(layer.type.name for layer in self.layers)

    def read_by(self, layer: object) -> list[str]:
        """What kinds of layers its two operands come from, looking through changes of shape."""
        found = []
        for index in range(2):
            source = self._written[layer.get_input(index).name]
            while source.type.name in ("SHUFFLE", "UNSQUEEZE"):
                source = self._written[source.get_input(0).name]
            found.append(source.type.name)
        return found

    def build(self, *gpus: str) -> int:
        """The size of an engine for these GPUs."""
        config = self._builder.create_builder_config()
        config.num_compute_capabilities = len(gpus)
        for index, name in enumerate(gpus):
            config.set_compute_capability(getattr(self._trt.ComputeCapability, name), index)
        config.profiling_verbosity = self._trt.ProfilingVerbosity.DETAILED
        engine = self._builder.build_serialized_network(self._network, config)
        assert engine is not None, [message for message in self.messages if "Error" in message]
        return int(engine.nbytes)

    def kernels(self) -> list[tuple[str, str, str]]:
        """Name, kind and type of the first input of each kernel of the engine built last."""
        [listed] = [message for message in self.messages if message.startswith("Layers:")][-1:]
        pattern = r"Name: (\S+), LayerType: (\w+), Inputs: \[(?: \{ Name.*?Datatype: (\w+))?"
        return re.findall(pattern, listed)


def ranges(model: onnx.ModelProto, name: str) -> dict[str, float]:
    """The greatest |x| of every FP32 tensor over two photographs, or two texts."""
    described = [*model.graph.value_info, *model.graph.output]
    floats = [value.name for value in described if value.type.tensor_type.elem_type == FLOAT]
    observed = onnx.ModelProto.FromString(model.SerializeToString())
    del observed.graph.output[:]
    observed.graph.output.extend(helper.make_tensor_value_info(tensor, FLOAT, None) for tensor in floats)
    session = onnxruntime.InferenceSession(observed.SerializeToString())
    found: dict[str, float] = {}
    for feed in feeds(model, name):
        values = dict(zip(floats, session.run(floats, feed), strict=True)) | feed
        for tensor, value in values.items():
            found[tensor] = max(found.get(tensor, 0.0), float(np.abs(value).max()))
    return found


def feeds(model: onnx.ModelProto, name: str) -> list[Mapping[str, np.ndarray]]:
    shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in model.graph.input}
    if REGISTRY[name].inputs is None:
        return [{"input": tensor} for tensor in real_looking_inputs(tuple(shapes["input"]), 2, 0, None)[:-1]]
    dtypes = {
        value.name: helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type) for value in model.graph.input
    }
    inputs = [TensorInfo(name=key, shape=tuple(shape), dtype=str(dtypes[key])) for key, shape in shapes.items()]
    return real_looking_texts(inputs, words=500, count=2, seed=0)


def with_half_products(model: onnx.ModelProto) -> onnx.ModelProto:
    """Gemm and MatMul read and write FP16: TensorRT-RTX 1.7 has no FP32 matrix products for 7.5, quantized or not."""
    half = onnx.ModelProto.FromString(model.SerializeToString())
    nodes = []
    for node in model.graph.node:
        if node.op_type not in ("Gemm", "MatMul"):
            nodes.append(node)
            continue
        stem = node.output[0]
        inputs = [f"{stem}/half{index}" for index in range(len(node.input))]
        for name, cast in zip(node.input, inputs, strict=True):
            nodes.append(helper.make_node("Cast", [name], [cast], to=onnx.TensorProto.FLOAT16))
        product = onnx.NodeProto.FromString(node.SerializeToString())
        product.input[:], product.output[:] = inputs, [f"{stem}/half"]
        nodes += [product, helper.make_node("Cast", [f"{stem}/half"], [stem], to=FLOAT)]
    del half.graph.node[:]
    half.graph.node.extend(nodes)
    return half


@pytest.mark.parametrize(
    ("name", "opset", "placement"),
    [
        *((name, 13, "convolutions") for name in sorted(REGISTRY)),
        ("espnet", 20, "convolutions"),
        ("espnet", 13, "dense"),
        ("espnetv2-seg", 13, "dense"),
        ("eru", 13, "dense"),
    ],
)
def test_every_network_of_the_zoo_builds_in_int8(
    trt: ModuleType, exported: Exported, name: str, opset: int, placement: str
) -> None:
    model, _ = exported(name, opset=opset)
    found = quantize(model, ranges(model, name), placement=placement)
    assert found.quantized == quantizable(model)
    assert found.left == {}
    assert (len(found.joined) > 10) == (placement == "dense")
    onnx.shape_inference.infer_shapes(found.model, check_type=True, strict_mode=True)

    network = Network(trt, found.model)
    kinds, nodes = network.kinds(), Counter(node.op_type for node in found.model.graph.node)
    assert kinds["QUANTIZE"] == nodes["QuantizeLinear"]
    assert kinds["DEQUANTIZE"] == nodes["DequantizeLinear"] > len(found.quantized)
    weighted = [layer for layer in network.layers if layer.type.name in WEIGHTED]
    assert len(weighted) == len(found.quantized)
    assert all(network.read_by(layer) == ["DEQUANTIZE", "DEQUANTIZE"] for layer in weighted)
    stored = sum(len(tensor.raw_data) for tensor in found.model.graph.initializer)
    gpus = OTHER_GPUS if (opset, placement) == (13, "convolutions") else GPUS
    if kinds["MATRIX_MULTIPLY"]:
        assert network.build(*gpus[1:]) > stored
        network = Network(trt, with_half_products(found.model))
    assert network.build(*gpus) > stored


@pytest.mark.parametrize("gpu", GPUS[1:])
def test_its_engine_convolves_in_int8_and_moves_no_data_for_it(trt: ModuleType, exported: Exported, gpu: str) -> None:
    """The placement of docs/decisions/0006: no kernel changes a layout, none dequantizes before a convolution."""
    model, _ = exported("espnet")
    quantized = quantize(model, ranges(model, "espnet")).model
    network = Network(trt, quantized)
    network.build(gpu)
    kernels = network.kernels()
    convolutions = [read for _, kind, read in kernels if kind == "correlation"]
    assert convolutions == ["Int8"] * sum(node.op_type == "Conv" for node in quantized.graph.node)
    assert [name for name, _, _ in kernels if re.match(r"__myl_(Move|Tran)+_", name)] == []


def test_the_proof_can_fail(trt: ModuleType) -> None:
    """What ONNX Runtime's quantizer writes: a bias in INT32."""
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 13]> g (float[1, 1, 4, 4] x) => (float[1, 1, 4, 4] y)
        <float s = {0.5}, int8 z = {0}, int8[1, 1, 1, 1] w = {3}, int32[1] b = {5}, int32 i = {0}> {
        q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z)
        e = DequantizeLinear(w, s, z) f = DequantizeLinear(b, s, i) y = Conv(d, e, f) }"""
    )
    with pytest.raises(AssertionError, match="Int32"):
        Network(trt, model)
