"""A small graph that every runtime opens, and a module that computes the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def conv_weight() -> np.ndarray:
    return np.random.default_rng(7).standard_normal((8, 3, 3, 3), dtype=np.float32)


@pytest.fixture(scope="session")
def conv_onnx(tmp_path_factory: pytest.TempPathFactory, conv_weight: np.ndarray) -> Path:
    """One 3x3 convolution with a dynamic batch, without any metadata."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [helper.make_node("Conv", ["input", "w"], ["output"], pads=[1, 1, 1, 1])],
        "one_convolution",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 16, 24])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 8, 16, 24])],
        [numpy_helper.from_array(conv_weight, "w")],
    )
    path = tmp_path_factory.mktemp("onnx") / "conv.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7), path)
    return path
