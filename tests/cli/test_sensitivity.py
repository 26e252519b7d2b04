"""``espdeploy sensitivity``: what single layers cost, worked out by hand, and everything that can be wrong."""

from __future__ import annotations

import json
import re
import signal
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from espdeploy.artifacts import ClassSet, ModelCard, Preprocessing
from espdeploy.pipeline.building import judging
from tests.cli.conftest import Ran, Run, assert_contract_error, start

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

UNIT = Preprocessing(channel_order="RGB", divisor=255.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
CLASSES = ClassSet(name="two", names=("red", "green"), palette=((255, 0, 0), (0, 255, 0)))
#: ``good`` writes 1000 x red and red - green; ``bad`` takes the second for class 0 and its negative for class 1. In
#: INT8 ``bad`` reads steps of 1000 / 127, in which red - green is nothing: every pixel becomes class 0.
TWO = """g (float[1,3,4,6] x) => (float[1,2,4,6] y)
<float[2,3,1,1] w = {1000,0,0, 1,-1,0}, float[2,2,1,1] v = {0,1, 0,-1}>
{ [good] t = Conv(x, w) [bad] y = Conv(t, v) }"""
RED, GREEN = (200, 0, 0), (0, 200, 0)
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write a network from ONNX text, with what it says about itself, and return its path."""

    def call(
        text: str = TWO, *, name: str = "net.onnx", classes: ClassSet | None = CLASSES, task: str = "segmentation"
    ) -> Path:
        model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 13]> {text}')
        card = ModelCard(name="net", task=task, settings={}, preprocessing=UNIT, classes=classes)
        onnx.helper.set_model_props(model, card.to_metadata())
        onnx.save(model, tmp_path / name)
        return tmp_path / name

    return call


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Six pictures, the left half red and the right half green, with their labels."""
    pixels, label = np.zeros((4, 6, 3), dtype=np.uint8), np.zeros((4, 6), dtype=np.uint8)
    pixels[:, :3], pixels[:, 3:], label[:, 3:] = RED, GREEN, 1
    for folder, picture in (("images", pixels), ("labels", label)):
        (tmp_path / folder).mkdir()
        for index in range(6):
            Image.fromarray(picture).save(tmp_path / folder / f"{index}.png")
    return tmp_path / "images"


def table(run: Run, net: Path, images: Path, *, output: str = "T.json") -> str:
    assert run("calibrate", net, "--data", images, "--method", "minmax", "-o", output).code == 0
    return output


def document(ran: Ran) -> dict[str, Any]:
    assert ran.code == 0, ran
    answer: dict[str, Any] = ran.document
    return answer


# --- what is measured ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", [[], ["--runtime", "onnxruntime"], ["--runtime", "openvino"]])
def test_the_layer_that_costs_is_named_first_with_what_it_costs(
    runtime: list[str], make: Make, images: Path, run: Run
) -> None:
    """By hand: with every pixel of class 0 the IoU are 1/2 and 0, a mean of 25 where it was 100; half the pixels agree.

    The outputs are all 0, so that their error is as large as they were.
    """
    if "openvino" in runtime:
        pytest.importorskip("openvino")
    net = make()
    given = ["--calibration", table(run, net, images), "--data", images, "--labels", "labels", *runtime]
    answer = document(run("sensitivity", net, *given, "--json"))
    assert [(item["layer"], item["operator"]) for item in answer["layers"]] == [("bad", "Conv"), ("good", "Conv")]
    bad, good = answer["layers"]
    assert bad["drop_pct"] == pytest.approx(75.0)
    assert bad["drop_ci95_pct"] == pytest.approx([75.0, 75.0])
    assert bad["agreement_pct"] == pytest.approx(50.0)
    assert bad["relative_error"] == pytest.approx(1.0)
    assert good["drop_pct"] == pytest.approx(0.0)
    assert good["agreement_pct"] == pytest.approx(100.0)
    assert 0 <= good["relative_error"] < 1e-3
    assert answer["all_layers"]["drop_pct"] == pytest.approx(75.0)
    assert (answer["precision"], answer["images"], answer["images_available"]) == ("int8", 6, 6)
    assert answer["labelled"] is True
    assert answer["left"] == {}
    assert answer["runtime"] in ("onnxruntime", "openvino")


def test_without_labels_the_changed_pixels_are_ranked(make: Make, images: Path, run: Run) -> None:
    net = make()
    answer = document(
        run("sensitivity", net, "--calibration", table(run, net, images), "--data", images, "--json", "--limit", 2)
    )
    assert [item["layer"] for item in answer["layers"]] == ["bad", "good"]
    assert answer["layers"][0]["drop_pct"] is None
    assert answer["layers"][0]["drop_ci95_pct"] is None
    assert answer["layers"][0]["agreement_pct"] == pytest.approx(50.0)
    assert (answer["images"], answer["labelled"]) == (2, False)
    assert any("2 of 6 images" in note for note in answer["notes"])


def test_the_table_has_a_row_for_each_layer_and_one_for_all(make: Make, images: Path, run: Run) -> None:
    net = make()
    given = ["--calibration", table(run, net, images), "--data", images, "--labels", "labels"]
    ran = run("sensitivity", net, *given)
    assert ran.code == 0, ran
    rows = [line.split() for line in ran.out.splitlines() if "75.000" in line or "good" in line]
    assert [row[0] for row in rows] == ["bad", "good", "all"]
    assert rows[0][1:] == ["Conv", "75.000", "75.000", "…", "75.000", "50.000", "1.0e+00"]
    assert rows[1][2] == "0.000"


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_floating_point_of_half_the_size_costs_this_network_nothing(
    precision: str, make: Make, images: Path, run: Run
) -> None:
    """200/255 x 1000 is no number of either: the rounding shows in the error of the outputs, and nowhere else."""
    answer = document(
        run("sensitivity", make(), "--precision", precision, "--data", images, "--labels", "labels", "--json")
    )
    assert {item["layer"] for item in answer["layers"]} == {"good", "bad"}
    step = {"fp16": 2.0**-11, "bf16": 2.0**-8}[precision]
    for item in answer["layers"]:
        assert (item["drop_pct"], item["agreement_pct"]) == (0.0, 100.0)
        assert 0 < item["relative_error"] < 4 * step**2


def test_a_layer_that_cannot_go_is_left_with_the_reason(make: Make, images: Path, run: Run) -> None:
    net = make(TWO.replace("bad] y = Conv(t, v)", "bad] u = Conv(t, v) n = Sub(u, u) [dead] y = Conv(n, v)"))
    answer = document(
        run("sensitivity", net, "--calibration", table(run, net, images), "--data", images, "--json", "--limit", 1)
    )
    assert list(answer["left"]) == ["dead"]
    assert "0" in answer["left"]["dead"]
    assert {item["layer"] for item in answer["layers"]} == {"good", "bad"}


def test_a_classifier_is_judged_by_its_classes(make: Make, images: Path, run: Run) -> None:
    """The mean of red - green is 0 in each picture, so the first class wins; in INT8 as well."""
    pooled = TWO.replace("(float[1,2,4,6] y)", "(float[1,2] y)").replace(
        "[bad] y = Conv(t, v)", "[bad] u = Conv(t, v) m = GlobalAveragePool(u) y = Flatten(m)"
    )
    net = make(pooled, task="classification")
    given = ["--calibration", table(run, net, images), "--data", images]
    answer = document(run("sensitivity", net, *given, "--json"))
    assert len(answer["layers"]) == 2
    assert all(0 <= item["agreement_pct"] <= 100 and item["drop_pct"] is None for item in answer["layers"])
    assert_contract_error(run("sensitivity", net, *given, "--labels", "labels"), 2, "classification", "--labels")


# --- the picture -----------------------------------------------------------------------------------------------------


def test_the_picture_is_a_file_of_its_own_with_a_bar_for_each_layer(make: Make, images: Path, run: Run) -> None:
    net = make()
    given = ["--calibration", table(run, net, images), "--data", images, "--labels", "labels"]
    answer = document(run("sensitivity", net, *given, "-o", "rank.svg", "--json"))
    assert answer["output"] == "rank.svg"
    root = ET.parse("rank.svg").getroot()  # noqa: S314 - our own file, just written
    space = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{space}svg"
    bars = [item for item in root.iter(f"{space}rect") if "length" in item.get("class", "")]
    widths = [float(bar.get("width", "0")) for bar in bars]
    assert widths[0] > 50 * widths[1]
    texts = [item.text or "" for item in root.iter(f"{space}text")]
    assert texts.index("bad") < texts.index("good")
    assert "75.000" in texts
    assert any("100" not in text and "All layers together: 75.000 points" in text for text in texts)
    assert set(re.findall(r"https?://[^\"' )<]+", Path("rank.svg").read_text())) == {"http://www.w3.org/2000/svg"}


def test_the_page_holds_picture_and_numbers_and_loads_nothing(make: Make, images: Path, run: Run) -> None:
    net = make(name="a&b<i>.onnx")
    given = ["--calibration", table(run, net, images), "--data", images, "--labels", "labels"]
    assert run("sensitivity", net, *given, "-o", "rank.html").code == 0
    page = Path("rank.html").read_text()
    assert "a&amp;b&lt;i&gt;.onnx" in page
    assert "<i>" not in page
    assert re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page) == []
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("<tr>") == 1 + 2
    assert "default-src 'none'" in page


# --- what can be wrong ----------------------------------------------------------------------------------------------


def test_int8_needs_a_table(make: Make, images: Path, run: Run) -> None:
    assert_contract_error(run("sensitivity", make(), "--data", images), 2, "ranges", "espdeploy calibrate", "T.json")


def test_a_table_that_is_not_there_or_none(make: Make, images: Path, run: Run, tmp_path: Path) -> None:
    net = make()
    assert_contract_error(run("sensitivity", net, "--data", images, "--calibration", "no.json"), 2, "no.json", "exist")
    (tmp_path / "other.json").write_text("{}")
    ran = run("sensitivity", net, "--data", images, "--calibration", "other.json")
    assert_contract_error(ran, 2, "other.json", "no calibration table")


def test_a_table_of_another_network_is_refused(make: Make, images: Path, run: Run) -> None:
    given = table(run, make(), images)
    other = make(TWO.replace("1000", "999"), name="other.onnx")
    ran = run("sensitivity", other, "--data", images, "--calibration", given)
    assert_contract_error(ran, 2, given, "another network", "espdeploy calibrate")


def test_a_table_that_bf16_has_no_use_for(make: Make, images: Path, run: Run) -> None:
    net = make()
    given = table(run, net, images)
    ran = run("sensitivity", net, "--data", images, "--calibration", given, "--precision", "bf16")
    assert_contract_error(ran, 2, "bf16", "--calibration")


@pytest.mark.parametrize("precision", ["int9", "fp32", "mixed"])
def test_a_precision_that_no_layer_goes_to(precision: str, make: Make, images: Path, run: Run) -> None:
    ran = run("sensitivity", make(), "--data", images, "--precision", precision)
    assert_contract_error(ran, 2, precision, "int8")


def test_a_device_without_int8(make: Make, images: Path, run: Run) -> None:
    ran = run("sensitivity", make(), "--data", images, "--device", "tx2", "--calibration", "T.json")
    assert_contract_error(ran, 3, "tx2", "DP4A")


@pytest.mark.parametrize(
    ("precision", "runtime"), [("int8", "torch"), ("int8", "onnx"), ("fp16", "openvino"), ("bf16", "openvino")]
)
def test_a_runtime_that_would_compute_something_else(
    precision: str, runtime: str, make: Make, images: Path, run: Run
) -> None:
    ran = run("sensitivity", make(), "--data", images, "--precision", precision, "--runtime", runtime)
    assert_contract_error(ran, 2, runtime, "--runtime onnxruntime")


@pytest.mark.parametrize("name", ["rank.png", "rank", "images", "no/such/../../images"])
def test_a_picture_that_cannot_be_written_is_refused_first(name: str, make: Make, images: Path, run: Run) -> None:
    ran = run("sensitivity", make(), "--data", images, "-o", name)
    assert_contract_error(ran, 2, name.rpartition("/")[2])


def test_labels_that_fit_neither_network_nor_images(make: Make, images: Path, run: Run, tmp_path: Path) -> None:
    net = make()
    given = ["--calibration", table(run, net, images), "--data", images, "--labels", "labels"]
    Image.fromarray(np.full((4, 6), 7, dtype=np.uint8)).save(tmp_path / "labels/3.png")
    assert_contract_error(run("sensitivity", net, *given), 2, "value 7", "no class")
    (tmp_path / "labels/3.png").unlink()
    assert_contract_error(run("sensitivity", net, *given), 2, "no label", "3")
    nameless = make(classes=None, name="nameless.onnx")
    given[1] = table(run, nameless, images, output="N.json")
    assert_contract_error(run("sensitivity", nameless, *given), 2, "--labels", "which classes")


def test_folders_and_files_that_are_not_there(make: Make, images: Path, run: Run, tmp_path: Path) -> None:
    net = make()
    given = table(run, net, images)
    assert_contract_error(run("sensitivity", "no.onnx", "--data", images, "--precision", "fp16"), 2, "no.onnx")
    assert_contract_error(run("sensitivity", net, "--data", "nowhere", "--calibration", given), 2, "nowhere")
    (tmp_path / "empty").mkdir()
    assert_contract_error(run("sensitivity", net, "--data", "empty", "--calibration", given), 2, "no images")
    (images / "2.png").write_bytes(b"")
    assert_contract_error(run("sensitivity", net, "--data", images, "--calibration", given), 2, "2.png", "empty")


def test_a_network_with_nothing_to_lower(make: Make, images: Path, run: Run) -> None:
    net = make("g (float[1,3,4,6] x) => (float[1,3,4,6] y) { y = Relu(x) }")
    ran = run("sensitivity", net, "--data", images, "--precision", "fp16")
    assert_contract_error(ran, 2, "no layer", "convolution")


def test_more_images_than_memory_is_meant_for(
    make: Make, images: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image with its answer takes 4 x 6 pixels x (3 + 2 floats + a byte): 504 bytes."""
    monkeypatch.setattr(judging, "MOST_KEPT_MB", 2.1 * 504e-6)
    net = make()
    given = ["--calibration", table(run, net, images), "--data", images, "--json"]
    assert document(run("sensitivity", net, *given))["images"] == 2
    ran = run("sensitivity", net, *given[:-1], "--limit", 3)
    assert_contract_error(ran, 2, "3 images", "--limit 2")


def test_ctrl_c_leaves_nothing_behind(small_onnx: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "scratch").mkdir()
    for index in range(40):
        Image.new("RGB", (64, 48), (index, 100, 100)).save(tmp_path / f"images/{index}.png")
    given = ["--data", "images", "--precision", "fp16", "--limit", 40, "-o", "rank.svg", "--json"]
    process = start(["sensitivity", small_onnx, *given], tmp_path, TMPDIR=str(tmp_path / "scratch"))
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("layers measured"):
            break
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads(out)["error"]["code"] == 130
    assert sorted(item.name for item in tmp_path.iterdir()) == ["images", "scratch"]
    assert list((tmp_path / "scratch").iterdir()) == []
