"""What is judged on images in memory, against the evaluation that streams them, and the runtime that is trusted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from espdeploy.accuracy.datasets import ImageFolder, Pair, find_pairs
from espdeploy.accuracy.evaluate import evaluate
from espdeploy.artifacts import ClassSet, Preprocessing
from espdeploy.pipeline.building.judging import JudgedBy, keep, opened
from espdeploy.protocols import no_progress
from espdeploy.specs import ImageSize, RunSpec

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

UNIT = Preprocessing(channel_order="RGB", divisor=255.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
CLASSES = ClassSet(name="three", names=("red", "green", "blue", "void"), palette=((0, 0, 0),) * 4, ignore=(3, 255))
FP32 = RunSpec(runtime="onnxruntime", precision="fp32", threads=1)
SIZE = ImageSize(width=8, height=6)


def network(noise: float) -> onnx.ModelProto:
    """The colours are the scores of three classes, mixed with each other the more ``noise`` there is."""
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 13]> g (float[1,3,6,8] x) => (float[1,4,6,8] y) { y = Conv(x, w) }'
    )
    weights = np.zeros((4, 3, 1, 1), dtype=np.float32)
    weights[:3, :, 0, 0] = np.eye(3) + noise * np.random.default_rng(0).normal(size=(3, 3))
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    return model


@pytest.fixture
def pairs(tmp_path: Path) -> tuple[Pair, ...]:
    """Seven pictures of noise; labels are mostly the strongest colour, in places another class or void."""
    random = np.random.default_rng(1)
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for index in range(7):
        pixels = random.integers(0, 256, size=(6, 8, 3), dtype=np.uint8)
        label = pixels.argmax(axis=2).astype(np.uint8)
        label[random.random(label.shape) < 0.2] = random.choice([0, 1, 2, 3, 255])
        Image.fromarray(pixels).save(tmp_path / f"images/{index}.png")
        Image.fromarray(label).save(tmp_path / f"labels/{index}.png")
    return tuple(find_pairs(tmp_path / "images", tmp_path / "labels"))


def folder(pairs: Sequence[Pair]) -> ImageFolder:
    return ImageFolder(pairs, preprocessing=UNIT, size=SIZE)


@pytest.fixture
def images(pairs: tuple[Pair, ...]) -> JudgedBy:
    return JudgedBy(pairs=pairs, classes=CLASSES, folder=folder)


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.6])
def test_a_judge_agrees_with_the_evaluation_that_streams(noise: float, images: JudgedBy) -> None:
    with opened(network(0.0), FP32) as reference, opened(network(noise), FP32) as runner:
        judge = keep(reference, images, limit=None, usual=100, progress=no_progress)
        effect = judge.effect(runner)
        right = evaluate(runner, folder(images.pairs), CLASSES, reference=reference).reference
    assert right is not None
    assert judge.images == 7
    assert effect.drop_pct == pytest.approx(right.miou_drop_pct)
    assert effect.drop_ci95_pct == pytest.approx(right.miou_drop_ci95_pct)
    assert effect.agreement_pct == pytest.approx(right.agreement_pct)
    assert effect.error is not None
    assert (effect.error == 0.0) == (noise == 0.0)


def test_the_reference_may_be_closed_when_others_are_judged(images: JudgedBy) -> None:
    with opened(network(0.0), FP32) as reference:
        judge = keep(reference, images, limit=3, usual=100, progress=no_progress)
    with opened(network(0.0), FP32) as runner:
        assert judge.effect(runner).agreement_pct == 100.0
    assert judge.images == 3
    assert judge.feed["x"].shape == (1, 3, 6, 8)


def test_a_part_is_judged_as_those_images_alone(images: JudgedBy) -> None:
    with opened(network(0.0), FP32) as reference, opened(network(0.6), FP32) as runner:
        part = keep(reference, images, limit=None, usual=100, progress=no_progress).part(3).effect(runner)
        three = dataclasses.replace(images, pairs=tuple(images.pairs[index] for index in (0, 2, 4)))
        alone = keep(reference, three, limit=None, usual=100, progress=no_progress).effect(runner)
    assert part == alone


def test_without_classes_only_agreement_and_error_are_known(images: JudgedBy) -> None:
    with opened(network(0.0), FP32) as reference, opened(network(0.6), FP32) as runner:
        unlabelled = dataclasses.replace(images, classes=None)
        effect = keep(reference, unlabelled, limit=None, usual=100, progress=no_progress).effect(runner)
    assert effect.drop_pct is None
    assert effect.drop_ci95_pct is None
    assert 0.0 < effect.agreement_pct < 100.0
    assert effect.error is not None


def test_labels_larger_than_the_output_are_brought_to_its_size(images: JudgedBy, tmp_path: Path) -> None:
    """Each label pixel twice in both directions: the same scores."""
    with opened(network(0.0), FP32) as reference, opened(network(0.6), FP32) as runner:
        small = keep(reference, images, limit=None, usual=100, progress=no_progress).effect(runner)
        for path in (tmp_path / "labels").iterdir():
            label = Image.open(path)
            label.resize((16, 12), Image.Resampling.NEAREST).save(path)
        large = keep(reference, images, limit=None, usual=100, progress=no_progress).effect(runner)
    assert large == small


def test_an_answer_that_is_not_finite_is_a_loss_and_no_failure(images: JudgedBy) -> None:
    endless = network(0.0)
    weights = np.full((4, 3, 1, 1), np.nan, dtype=np.float32)
    endless.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weights, "w"))
    with opened(network(0.0), FP32) as reference, opened(endless, FP32) as runner:
        effect = keep(reference, images, limit=None, usual=100, progress=no_progress).effect(runner)
    assert effect.error == float("inf")
    assert effect.drop_pct is not None
    assert effect.drop_pct > 30.0


@pytest.mark.data
def test_the_trusted_runtime_computes_espnets_int8_graph_rightly(
    data_dir: Path, tmp_path: Path, run_command: Callable[..., int]
) -> None:
    """OpenVINO 2026.4 is known to compute some quantized graphs of it with an error above 1, most labels wrong."""
    from espdeploy.pipeline.building.lowering import judged_by, lowering, read_network
    from espdeploy.pipeline.building.trusted_runtime import trusted_runtime
    from espdeploy.quantize.table import read_table

    pytest.importorskip("torch")
    pytest.importorskip("openvino")
    weights = data_dir / "weights/espnet/espnet_p_2_q_8_camvid.pth"
    net, made = tmp_path / "net.onnx", tmp_path / "T.json"
    size = ["--size", "480x360"]
    assert run_command("export", "--model", "espnet", "--weights", weights, *size, "-o", net) == 0
    camvid = data_dir / "data/camvid"
    assert run_command("calibrate", net, "--data", camvid / "train", "--limit", 2, "--method", "mse", "-o", made) == 0
    network = read_network(net, read_table(made))
    lower = lowering(network, "int8", read_table(made))
    with opened(network.model, FP32) as reference:
        judge = keep(reference, judged_by(network, camvid / "val", None), limit=1, usual=1, progress=no_progress)
    whole = lower.graph(lower.layers)
    chosen = trusted_runtime(network.model, whole, judge.feed, images=12, threads=1)
    with opened(whole, RunSpec(runtime=chosen.runtime, precision="int8", threads=1)) as runner:
        effect = judge.effect(runner)
    assert effect.error is not None
    assert effect.error < 0.02


@pytest.fixture
def run_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    from espdeploy.cli.main import main

    monkeypatch.setenv("ESPDEPLOY_CACHE", str(tmp_path / "cache"))
    return lambda *arguments: main([str(item) for item in arguments])
