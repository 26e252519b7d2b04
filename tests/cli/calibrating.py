"""Networks and images for the tests of ``espdeploy calibrate``, with ranges that one can find by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from espdeploy.artifacts import ModelCard, Preprocessing
from espdeploy.quantize.table import read_table
from tests.cli.conftest import Ran, Run

onnx = pytest.importorskip("onnx")

UNIT = Preprocessing(channel_order="RGB", divisor=255.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
#: y is red minus twice green; z is y where it is positive
CONVOLUTION = """g (float[1,3,4,6] x) => (float[1,1,4,6] z)
<float[1,3,1,1] w = {1, -2, 0}> { y = Conv(x, w) z = Relu(y) }"""
Make = Callable[..., Path]


def network(
    folder: Path, text: str = CONVOLUTION, *, name: str = "net.onnx", states: Preprocessing | None = UNIT
) -> Path:
    """A network from ONNX text, with the pre-processing that it states."""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 13]> {text}')
    if states is not None:
        card = ModelCard(name="net", task="semantic-segmentation", settings={}, preprocessing=states)
        onnx.helper.set_model_props(model, card.to_metadata())
    onnx.save(model, folder / name)
    return folder / name


def image(path: Path, colour: tuple[int, int, int] = (51, 0, 0), size: tuple[int, int] = (6, 4)) -> Path:
    """A picture of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def ten_images(folder: Path) -> Path:
    """Ten plain images of rising red: 10, 20, … 100."""
    for index in range(10):
        image(folder / f"{index}.png", (10 * (index + 1), 0, 0))
    return folder


def camvid(root: Path) -> Path:
    """CamVid's folders; red tells the part: 10 and 20 train, 200 val, 250 test."""
    image(root / "train/a.png", (10, 0, 0))
    image(root / "train/b.png", (20, 0, 0))
    image(root / "val/c.png", (200, 0, 0))
    image(root / "test/d.png", (250, 0, 0))
    for part in ("train", "val", "test"):
        image(root / f"{part}annot/x.png", (255, 255, 255))
    return root


def document(ran: Ran) -> dict[str, Any]:
    """What a command that succeeded printed as JSON."""
    assert ran.code == 0, ran
    answer: dict[str, Any] = ran.document
    return answer


def reds(run: Run, *arguments: object) -> tuple[float, float]:
    """The least and greatest red that the network saw, 0 … 255: which images were taken."""
    answer = document(run("calibrate", "net.onnx", *arguments, "--method", "minmax", "--json"))
    seen = read_table(Path(str(answer["output"]))).ranges["y"]
    return round(seen.lowest * 255, 3), round(seen.highest * 255, 3)
