"""What ``build`` adds for a runtime, run in that runtime."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import numpy as np
import onnx
import pytest

from espdeploy.passes import PASSES, apply, pipeline_for, pipeline_for_runtime

FEED = np.random.default_rng(0).standard_normal((1, 3, 128, 256)).astype(np.float32)
Answer = Callable[[onnx.ModelProto], np.ndarray]


def in_openvino(model: onnx.ModelProto) -> np.ndarray:
    from espdeploy.backends.openvino import core as shared_core

    core = shared_core()
    read = core.read_model(model.SerializeToString())
    return core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(FEED)[0]


def in_onnxruntime(model: onnx.ModelProto) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"input": FEED})[0]


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime", "torch", "tensorrt"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_every_pass_is_known_and_runs_on_a_bare_graph(runtime, precision, build) -> None:
    names = pipeline_for_runtime(runtime, precision)
    assert set(names) <= set(PASSES)
    assert bool(names) == (runtime in ("openvino", "onnxruntime"))
    model = build("output = Relu(input)")
    assert apply(model, names).model == model


@pytest.mark.data
@pytest.mark.parametrize("opset", [13, 20])
@pytest.mark.parametrize(("runtime", "answer"), [("openvino", in_openvino), ("onnxruntime", in_onnxruntime)])
def test_the_released_network_answers_as_before(runtime: str, answer: Answer, opset: int, released) -> None:
    if importlib.util.find_spec(runtime) is None:
        pytest.skip(f"{runtime} is not installed")
    model = released(pipeline_for(simplify=True), opset=opset)
    applied = apply(model, pipeline_for_runtime(runtime))
    assert set(applied.changed_by) >= {"pool-to-convolution"}
    expected = answer(model)
    np.testing.assert_allclose(answer(applied.model), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.data
@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_a_calibration_table_of_the_exported_graph_still_fits(runtime: str, released) -> None:
    """INT8 takes the range of what convolutions read by its name."""
    model = released(pipeline_for(simplify=True))
    known = {name for node in model.graph.node for name in node.output} | {"input"}
    changed = apply(model, pipeline_for_runtime(runtime)).model
    read = {node.input[0] for node in changed.graph.node if node.op_type in ("Conv", "ConvTranspose")}
    assert read <= known
