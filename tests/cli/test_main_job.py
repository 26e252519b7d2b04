"""The main job on real input: the authors' CamVid checkpoint gives the authors' score, and pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Run, assert_contract_error

pytestmark = pytest.mark.data
pytest.importorskip("torch")
QUICK = ["--trials", "3", "--duration-s", "0", "--warmup-s", "0", "--warmup-max-s", "0"]


@pytest.fixture(scope="module")
def camvid_onnx(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from espdeploy.cli.main import main

    path = tmp_path_factory.mktemp("camvid") / "camvid.onnx"
    weights = data_dir / "weights/espnet/espnet_p_2_q_8_camvid.pth"
    assert main(["export", "--model", "espnet", "--weights", str(weights), "-o", str(path)]) == 0
    return path


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_camvid_miou_is_the_authors(runtime: str, camvid_onnx: Path, data_dir: Path, run: Run) -> None:
    pytest.importorskip(runtime)
    val = data_dir / "data/camvid"
    ran = run("eval", camvid_onnx, "--data", val / "val", "--labels", val / "valannot", "--runtime", runtime, "--json")
    assert ran.code == 0, ran.err
    truth = json.loads((data_dir / "reference/camvid_val51_fp32.json").read_text())
    document = ran.document
    assert document["images"] == truth["images"] == 51
    assert document["miou_pct"] == pytest.approx(100 * truth["miou"], abs=0.05)
    assert document["pixel_accuracy_pct"] == pytest.approx(100 * truth["pixel_accuracy"], abs=0.05)
    ours = list(document["class_iou_pct"].values())
    assert ours == pytest.approx([100 * value for value in truth["class_iou"]], abs=0.1)
    assert list(document["class_iou_pct"])[:3] == ["sky", "building", "pole"]


def test_two_runtimes_agree_without_labels(camvid_onnx: Path, data_dir: Path, run: Run, tmp_path: Path) -> None:
    images = tmp_path / "few"
    images.mkdir()
    for path in sorted((data_dir / "data/camvid/val").iterdir())[:2]:
        (images / path.name).symlink_to(path)
    ran = run("eval", camvid_onnx, "--data", images, "--reference", camvid_onnx, "--json")
    assert ran.document["reference"]["agreement_pct"] == 100.0
    assert ran.document["miou_pct"] is None
    assert_contract_error(run("eval", camvid_onnx, "--data", images), 2, "--labels")


def test_a_benchmark_shows_speed_beside_accuracy(camvid_onnx: Path, data_dir: Path, run: Run, tmp_path: Path) -> None:
    for kind in ("val", "valannot"):
        (tmp_path / kind).mkdir()
        for path in sorted((data_dir / "data/camvid" / kind).iterdir())[:2]:
            (tmp_path / kind / path.name).symlink_to(path)
    record = run("bench", camvid_onnx, *QUICK, "--data", "val", "--labels", "valannot", "--json").document
    assert record["accuracy"]["metric"] == "miou_pct"
    assert 40 < record["accuracy"]["value"] < 90
    assert "2 images" in record["accuracy"]["data"]
    assert record["model"]["weights"] == "espnet_p_2_q_8_camvid.pth"


def test_predictions_of_a_photograph_are_pictures_of_its_size(
    camvid_onnx: Path, data_dir: Path, run: Run, tmp_path: Path
) -> None:
    from PIL import Image

    photograph = data_dir / "data/camvid/val/0016E5_07959.png"
    ran = run("predict", camvid_onnx, photograph, photograph, "-o", "pictures", "--json")
    assert ran.code == 0, ran.err
    first, second = ran.document["images"]
    assert first["overlay"] != second["overlay"]  # two images of one name do not overwrite each other
    with Image.open(tmp_path / first["labels"]) as picture:
        labels = np.asarray(picture)
    assert labels.shape == (360, 480)
    with Image.open(data_dir / "data/camvid/valannot/0016E5_07959.png") as picture:
        truth = np.asarray(picture)
    scored = truth != 11
    assert (labels == truth)[scored].mean() > 0.85
    with Image.open(tmp_path / first["overlay"]) as picture:
        assert picture.size[0] == 480


def test_pictures_that_are_none(camvid_onnx: Path, run: Run, tmp_path: Path, data_dir: Path) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    assert_contract_error(run("predict", camvid_onnx, "text.png", "-o", "out"), 2, "text.png")
    assert_contract_error(run("predict", camvid_onnx, "none.png", "-o", "out"), 2, "none.png")
    (tmp_path / "images").mkdir()
    assert_contract_error(run("eval", camvid_onnx, "--data", "images", "--labels", "images"), 2, "images")
    val = data_dir / "data/camvid"
    mixed = run("eval", camvid_onnx, "--data", val / "val", "--labels", val / "trainannot")
    assert_contract_error(mixed, 2, "trainannot", "51")
