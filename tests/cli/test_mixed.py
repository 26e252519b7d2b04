"""``espdeploy build --precision mixed``: what is wrong with a request is told in the contract's form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from espdeploy.artifacts import ClassSet, ModelCard, Preprocessing
from tests.cli.conftest import Run, assert_contract_error

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

UNIT = Preprocessing(channel_order="RGB", divisor=255.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
CLASSES = ClassSet(name="two", names=("red", "green"), palette=((255, 0, 0), (0, 255, 0)))
TEXT = """<ir_version: 8, opset_import: ["" : 13]> g (float[1,3,4,6] x) => (float[1,2,4,6] y)
<float[2,3,1,1] w = {WEIGHT,0,0, 0,1,0}> { [conv] y = Conv(x, w) }"""
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def call(name: str = "net.onnx", *, weight: int = 1, classes: ClassSet | None = CLASSES) -> Path:
        model = onnx.parser.parse_model(TEXT.replace("WEIGHT", str(weight)))
        card = ModelCard(name="net", task="segmentation", settings={}, preprocessing=UNIT, classes=classes)
        onnx.helper.set_model_props(model, card.to_metadata())
        onnx.save(model, tmp_path / name)
        return tmp_path / name

    return call


@pytest.fixture
def given(make: Make, run: Run, tmp_path: Path) -> list[str]:
    """A network, its table, and four labelled images of noise."""
    random = np.random.default_rng(0)
    for index in range(4):
        pixels = random.integers(0, 256, size=(4, 6, 3), dtype=np.uint8)
        for folder, values in (("images", pixels), ("labels", pixels[:, :, :2].argmax(axis=2).astype(np.uint8))):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(values).save(tmp_path / folder / f"{index}.png")
    assert run("calibrate", make(), "--data", "images", "-o", "T.json").code == 0
    return ["net.onnx", "--precision", "mixed", "--max-drop-pct", "0.5", "--data", "images", "--labels", "labels"]


def test_no_table(given: list[str], run: Run) -> None:
    assert_contract_error(run("build", *given), 2, "ranges", "espdeploy calibrate", "--calibration T.json")


def test_a_table_of_another_network(given: list[str], make: Make, run: Run) -> None:
    make("net.onnx", weight=2)
    assert_contract_error(run("build", *given, "--calibration", "T.json"), 2, "another network", "espdeploy calibrate")


def test_no_labels(given: list[str], run: Run) -> None:
    assert_contract_error(run("build", *given[:-2], "--calibration", "T.json"), 2, "no labels", "--labels DIR")


def test_too_few_images(given: list[str], run: Run, tmp_path: Path) -> None:
    for folder in ("images", "labels"):
        (tmp_path / folder / "3.png").unlink()
    ran = run("build", *given, "--calibration", "T.json")
    assert_contract_error(ran, 2, "3 labelled images", "4 or more", "--precision int8")


def test_a_network_that_does_not_say_its_classes(given: list[str], make: Make, run: Run) -> None:
    make("net.onnx", classes=None)
    ran = run("build", *given, "--calibration", "T.json")
    assert_contract_error(ran, 2, "net.onnx", "which classes", "espdeploy export")


def test_a_device_without_int8(given: list[str], run: Run) -> None:
    ran = run("build", *given, "--calibration", "T.json", "--device", "tx2")
    assert_contract_error(ran, 3, "tx2", "mixed")


def test_an_unknown_precision(given: list[str], run: Run) -> None:
    ran = run("build", "net.onnx", "--precision", "mixt")
    assert_contract_error(ran, 2, "mixt", "mixed")
