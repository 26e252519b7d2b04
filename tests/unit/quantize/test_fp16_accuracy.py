"""FP16 graphs of real networks answer as their FP32 ones do, with every tensor rounded to FP16."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espdeploy import parity
from espdeploy.accuracy.images import preprocess, read_rgb
from espdeploy.artifacts import ModelCard
from espdeploy.networks.registry import REGISTRY
from espdeploy.quantize.fp16 import to_fp16
from espdeploy.specs import ImageSize

Open = Callable[[onnx.ModelProto], onnxruntime.InferenceSession]
Exported = Callable[..., tuple[onnx.ModelProto, ModelCard]]
IMAGE_NETWORKS = sorted(name for name, entry in REGISTRY.items() if entry.inputs is None)


def error_limit(model: onnx.ModelProto) -> float:
    """How far FP16 may be off, of the largest output: five standard deviations of what its roundings add up to.

    Each node on the longest way through the graph rounds its weights and its output once. A rounding is off by at
    most 2^-11 of the number, evenly spread: a standard deviation of 2^-11 / sqrt(3). Normalised layers hand errors on
    with a gain of about one, so n independent roundings add up to sqrt(n) of that.
    """
    depth: Counter[str] = Counter()
    for node in model.graph.node:
        longest = 1 + max((depth[name] for name in node.input), default=0)
        depth.update(dict.fromkeys(node.output, longest))
    roundings = 2 * max(depth[value.name] for value in model.graph.output)
    return 5 * math.sqrt(roundings / 3) * 2**-11


def compare(
    open_session: Open, model: onnx.ModelProto, half: onnx.ModelProto, inputs: list[np.ndarray]
) -> tuple[float, float, float]:
    """Largest relative error, share of its values beyond the limit, and share of equal classes, the last two in %."""
    reference = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    rounding = open_session(half)
    limit, errors, beyond, equal = error_limit(model), [], [], []
    for tensor in inputs:
        expected, found = (session.run(None, {"input": tensor})[0] for session in (reference, rounding))
        relative = np.abs(found - expected) / np.abs(expected).max()
        errors.append(relative.max())
        beyond.append(100 * (relative > limit).mean())
        equal.append(100 * (found.argmax(1) == expected.argmax(1)).mean())
    return max(errors), max(beyond), float(np.mean(equal))


@pytest.mark.parametrize("name", IMAGE_NETWORKS)
def test_the_zoo_is_off_by_rounding_alone(rounding_session: Open, exported: Exported, name: str) -> None:
    model, card = exported(name)
    half = to_fp16(model)
    assert half.kept == {}
    inputs = parity.real_looking_inputs((1, 3, 64, 96), 1, 0, card.preprocessing)
    error, beyond_pct, _ = compare(rounding_session, model, half.model, inputs)
    assert error > 2**-16  # it is not FP32 that is compared
    if REGISTRY[name].jumps_pct:  # ENet chooses places by comparing values: docs/decisions/0005
        assert beyond_pct < 5
    else:
        assert error <= error_limit(model)


def frames(data_dir: Path, card: ModelCard, size: ImageSize, count: int) -> list[np.ndarray]:
    """Evenly spread over the CamVid validation frames."""
    paths = sorted((data_dir / "data" / "camvid" / "val").glob("*.png"))
    return [preprocess(read_rgb(path), card.preprocessing, size) for path in paths[:: len(paths) // count][:count]]


class Case(NamedTuple):
    """Released weights of a network, and on how many CamVid frames they are compared."""

    name: str
    weights: str
    size: ImageSize
    frames: int


CASES = [
    Case("espnet", "espnet/espnet_p_2_q_8_camvid.pth", ImageSize(width=480, height=360), 3),
    Case("espnetv2-seg", "espnetv2-seg/espnetv2_s_2.0_city_512x256.pth", ImageSize(width=512, height=256), 2),
    Case("espnetv2-seg", "espnetv2-seg/espnetv2_s_0.5_pascal_256x256.pth", ImageSize(width=256, height=256), 2),
]


@pytest.mark.data
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.weights)
def test_released_weights_on_photographs(
    rounding_session: Open, exported: Exported, data_dir: Path, case: Case
) -> None:
    model, card = exported(case.name, size=str(case.size), weights=data_dir / "weights" / case.weights)
    half = to_fp16(model)
    inputs = frames(data_dir, card, case.size, case.frames)
    error, _, equal_pct = compare(rounding_session, model, half.model, inputs)
    assert error <= error_limit(model)
    assert equal_pct >= 99.9


@pytest.mark.data
def test_released_espnet_is_fp16_throughout_and_espnetv2_keeps_its_long_sums(
    data_dir: Path, exported: Exported
) -> None:
    espnet, _, pascal = CASES
    model, _ = exported(espnet.name, size=str(espnet.size), weights=data_dir / "weights" / espnet.weights)
    half = to_fp16(model)
    assert half.kept == {}
    assert half.flushed > 1000  # this network has dead channels
    model, _ = exported(pascal.name, size=str(pascal.size), weights=data_dir / "weights" / pascal.weights)
    assert sorted(reason.partition(";")[0] for reason in to_fp16(model).kept.values()) == [
        "it adds up 16384 numbers",
        "it adds up 4096 numbers",
    ]


@settings(max_examples=10)
@given(picks=st.lists(st.integers(0, 10_000), max_size=60), keep_io=st.booleans())
def test_whatever_is_kept_the_casts_are_as_few_as_can_be(
    rounding_session: Open, exported: Exported, picks: list[int], keep_io: bool
) -> None:
    """Of each tensor, one cast if somebody reads it in the type that its writer does not give."""
    model, _ = exported("espnet")
    nodes = model.graph.node
    kept = {nodes[pick % len(nodes)].name: "drawn" for pick in picks}
    half = to_fp16(model, keep_fp32=kept, keep_io=keep_io)
    assert half.kept == kept
    written = {name: node.name in kept for node in nodes for name in node.output} | {"input": keep_io}
    read = {(name, node.name in kept) for node in nodes for name in node.input if name in written}
    read |= {(value.name, keep_io) for value in model.graph.output}
    needed = sum(1 for name, in_fp32 in read if written[name] != in_fp32)
    assert Counter(node.op_type for node in half.model.graph.node)["Cast"] == needed
    kind = np.float32 if keep_io else np.float16
    tensor = np.random.default_rng(0).standard_normal((1, 3, 64, 96)).astype(kind)
    found = rounding_session(half.model).run(None, {"input": tensor})[0].astype(np.float32)
    expected = rounding_session(model).run(None, {"input": tensor.astype(np.float32)})[0]
    assert np.abs(found - expected).max() <= error_limit(model) * np.abs(expected).max()
