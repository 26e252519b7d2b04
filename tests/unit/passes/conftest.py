"""Graphs as ONNX text, a runtime that does nothing to them, and the released ESPNet."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper, parser

Runs = Callable[[onnx.ModelProto, np.ndarray], "list[np.ndarray]"]


@pytest.fixture(scope="session")
def run() -> Runs:
    """Runs a model with ONNX Runtime's own graph optimizations off: what the graph says, node by node."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL

    def call(model: onnx.ModelProto, feed: np.ndarray) -> list[np.ndarray]:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return session.run(None, {session.get_inputs()[0].name: feed})

    return call


@pytest.fixture(scope="session")
def build() -> Callable[..., onnx.ModelProto]:
    """A checked model from the body of an ONNX text and arrays as its constants."""

    def call(
        body: str,
        constants: Mapping[str, np.ndarray] | None = None,
        *,
        inputs: str = "float[1, 4, 7, 9] input",
        outputs: str = "float[n, c, h, w] output",
        opset: int = 13,
    ) -> onnx.ModelProto:
        model = parser.parse_model(
            f'<ir_version: 9, opset_import: ["" : {opset}]> g ({inputs}) => ({outputs}) {{ {body} }}'
        )
        arrays = {name: np.asarray(array) for name, array in (constants or {}).items()}
        as_float = {name: a.astype(np.float32) if a.dtype == np.float64 else a for name, a in arrays.items()}
        model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in as_float.items())
        onnx.checker.check_model(model, full_check=True)
        return model

    return call


@pytest.fixture(scope="session")
def norm() -> Callable[[int], dict[str, np.ndarray]]:
    """Parameters of a batch normalization over so many channels, named gamma, beta, mean and var."""

    def call(channels: int) -> dict[str, np.ndarray]:
        random = np.random.default_rng(channels)
        return {
            "gamma": random.uniform(-2, 2, channels),
            "beta": random.standard_normal(channels),
            "mean": random.standard_normal(channels),
            "var": random.uniform(0.1, 3, channels),
        }

    return call


@pytest.fixture(scope="session")
def released(data_dir: Path, once: Callable[..., Path]) -> Callable[..., onnx.ModelProto]:
    """The released Cityscapes ESPNet as a graph of 256x128, after the passes ``names``."""
    from espdeploy import export
    from espdeploy.networks.build import build as build_network
    from espdeploy.passes import apply
    from espdeploy.specs import ImageSize, ModelSpec

    weights = data_dir / "weights" / "espnet" / "espnet_p_2_q_8.pth"

    @functools.cache
    def traced(opset: int, dynamic: bool) -> onnx.ModelProto:
        def write(path: Path) -> None:
            built = build_network(ModelSpec(name="espnet", weights=weights), size=ImageSize(width=256, height=128))
            shape = (1, 3, 128, 256)
            onnx.save(export.trace(built.module, input_shape=shape, opset=opset, dynamic_batch=dynamic), path)

        return onnx.load(once(f"traced-{opset}-{dynamic}.onnx", write))

    def call(names: Sequence[str], *, opset: int = 13, dynamic: bool = False) -> onnx.ModelProto:
        return apply(traced(opset, dynamic), names).model

    return call


@pytest.fixture(scope="session")
def equal(run: Runs) -> Callable[[onnx.ModelProto, onnx.ModelProto, np.ndarray], None]:
    """Fails unless two models are valid and give the same answers but for the rounding of FP32."""

    def call(changed: onnx.ModelProto, original: onnx.ModelProto, feed: np.ndarray) -> None:
        onnx.checker.check_model(changed, full_check=True)
        assert [value.name for value in changed.graph.output] == [value.name for value in original.graph.output]
        for actual, wanted in zip(run(changed, feed), run(original, feed), strict=True):
            assert actual.dtype == wanted.dtype
            np.testing.assert_allclose(actual, wanted, rtol=0, atol=3e-6 * max(1e-3, np.abs(wanted).max()))

    return call
