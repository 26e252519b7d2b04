"""Graphs as ONNX text, and a runtime that does nothing to them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest


@pytest.fixture(scope="session")
def run() -> Callable[[onnx.ModelProto, np.ndarray], list[np.ndarray]]:
    """Runs a model with ONNX Runtime's own graph optimizations off: what the graph says, node by node."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL

    def call(model: onnx.ModelProto, feed: np.ndarray) -> list[np.ndarray]:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return session.run(None, {session.get_inputs()[0].name: feed})

    return call
