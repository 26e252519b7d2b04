"""What makes a candidate an engine: the precision that really runs, and answers that are the graph's own."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from espdeploy.errors import ToolFailed
from espdeploy.pipeline.building.agreement import rms_error_pct
from espdeploy.pipeline.building.candidates import Proof, Way, check_shares, fastest, prove
from espdeploy.protocols import RunnerFacts, no_progress

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")

WAY = Way(runtime="onnxruntime", passes=())


def net(folder: Path, *, channels: int, size: int) -> Path:
    rng = np.random.default_rng(0)
    weight = onnx.numpy_helper.from_array(rng.standard_normal((channels, 3, 3, 3)).astype(np.float32), "w")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Conv", ["x", "w"], ["y"], name="conv", pads=[1, 1, 1, 1])],
        "net",
        [onnx.helper.make_tensor_value_info("x", 1, [1, 3, size, size])],
        [onnx.helper.make_tensor_value_info("y", 1, [1, channels, size, size])],
        [weight],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    path = folder / f"net{channels}.onnx"
    onnx.save(model, str(path))
    return path


def facts(**shares: float) -> RunnerFacts:
    return RunnerFacts(
        runtime="some", runtime_version="1", provider="CPU", threads=1, precision_share_pct=shares or None
    )


def test_answers_that_are_not_the_graphs_own_are_refused(tmp_path: Path) -> None:
    path = net(tmp_path, channels=4, size=8)
    x = np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype(np.float32)
    weight = onnx.numpy_helper.to_array(onnx.load(str(path)).graph.initializer[0])
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    right = np.einsum("nchwij,ocij->nohw", windows, weight)
    proven = prove(WAY, path, "fp32", 100.0, Proof(feed={"x": x}, answers=[right]))
    assert proven.rms_error_pct is not None
    assert proven.rms_error_pct < 1e-3
    with pytest.raises(ToolFailed, match="does not compute what"):
        prove(WAY, path, "fp32", 100.0, Proof(feed={"x": x}, answers=[right[:, ::-1]]))


def test_the_smaller_network_is_ranked_before_one_of_a_hundred_times_the_work(tmp_path: Path) -> None:
    x = np.zeros((1, 3, 64, 64), np.float32)
    proof = Proof(feed={"x": x}, answers=None)
    found = [prove(WAY, net(tmp_path, channels=channels, size=64), "fp32", 100.0, proof) for channels in (400, 4)]
    ranked = fastest(found, "fp32", proof, no_progress)
    assert [item.path.name for item in ranked] == ["net4.onnx", "net400.onnx"]
    assert all(item.median_ms for item in ranked)


@pytest.mark.parametrize(
    ("shares", "precision", "expected_pct", "passes"),
    [
        ({"int8": 96.0, "fp32": 4.0}, "int8", 100.0, True),
        ({"int8": 1.0, "fp32": 99.0}, "int8", 100.0, False),  # what ONNX Runtime makes of most Q/DQ graphs
        ({"fp32": 100.0}, "fp16", 100.0, False),
        ({"bf16": 99.0, "fp32": 1.0}, "bf16", 100.0, True),
        ({"int8": 50.0, "fp32": 50.0}, "mixed", 52.0, True),
        ({"int8": 20.0, "fp32": 80.0}, "mixed", 52.0, False),
        ({"fp32": 100.0}, "mixed", 0.0, True),
        ({}, "int8", 100.0, True),  # a runtime that does not tell
    ],
)
def test_too_few_layers_in_the_precision_asked_for(
    shares: dict[str, float], precision: str, expected_pct: float, passes: bool
) -> None:
    if passes:
        check_shares(facts(**shares), precision, expected_pct)
    else:
        with pytest.raises(ToolFailed, match="where the graph asks for"):
            check_shares(facts(**shares), precision, expected_pct)


def test_rms_error_by_hand() -> None:
    right = [np.array([3.0, 4.0])]  # root mean square sqrt(12.5)
    assert rms_error_pct(right, [np.array([3.0, 4.5])]) == pytest.approx(100 * math.sqrt(0.125) / math.sqrt(12.5))
    assert rms_error_pct(right, [np.array([3.0, np.nan])]) == math.inf
    assert rms_error_pct(right, [np.array([3.0])]) == math.inf
    assert rms_error_pct([np.zeros(2)], [np.zeros(2)]) == 0.0
