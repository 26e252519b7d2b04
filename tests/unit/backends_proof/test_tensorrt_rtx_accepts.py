"""NVIDIA's own parser and builder take what is exported. TensorRT-RTX builds engines without a GPU."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from types import ModuleType
from typing import Any

import onnx
import pytest


@pytest.fixture(scope="module")
def trt() -> ModuleType:
    if importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip("tensorrt_rtx is not installed: pip install tensorrt-rtx-cu13")
    return pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx does not load", exc_type=ImportError)


def engine_bytes(trt: ModuleType, content: bytes) -> int:
    """Parse and build for compute capability 8.9; fails with the parser's own words."""
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    parsed = parser.parse(content)
    assert parsed, [parser.get_error(index).desc() for index in range(parser.num_errors)]
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM89, 0)
    for index in range(network.num_inputs):
        shape = network.get_input(index).shape
        if -1 in tuple(shape):
            profile = builder.create_optimization_profile()
            profile.set_shape(network.get_input(index).name, *((batch, *tuple(shape)[1:]) for batch in (1, 2, 4)))
            config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    assert engine is not None
    return engine.nbytes


@pytest.mark.parametrize("opset", [13, 20])
def test_it_builds_a_dynamic_batch(trt: ModuleType, written: Callable[..., Any], opset: int) -> None:
    """Of fixed batches, tests/unit/tensorrt/test_zoo.py builds every network at both opsets."""
    made = written("espnet", opset=opset, batch=None)
    weights = sum(len(tensor.raw_data) for tensor in onnx.load(made.path).graph.initializer)
    assert engine_bytes(trt, made.path.read_bytes()) > weights  # an engine carries the weights


def test_the_proof_can_fail(trt: ModuleType) -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 13]>
        g (float[4] input) => (float[4] output) { output = NotAnOperator(input) }"""
    )
    with pytest.raises(AssertionError):
        engine_bytes(trt, model.SerializeToString())
