"""``espdeploy calibrate``: everything that can be wrong with the request, the network and the images."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path

import pytest

from espdeploy.quantize.table import read_table
from espdeploy.quantize.tensorrt_cache import read_cache
from tests.cli.calibrating import CONVOLUTION, Make, camvid, document, image, network, ten_images
from tests.cli.conftest import Run, assert_contract_error

pytest.importorskip("onnxruntime")


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write a network into the folder that commands run in."""
    return functools.partial(network, tmp_path)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Ten plain images of rising red: 10, 20, … 100."""
    return ten_images(tmp_path / "images")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--data", "nowhere"], "nowhere"),
        (["--data", "empty"], "no images in empty"),
        (["--data", "images", "--method", "entrpy"], "entropy"),
        (["--data", "images", "--limit", "0"], "--limit"),
        (["--data", "images", "--limit", "-3"], "--limit"),
        (["--data", "images", "--seed", "-1"], "--seed"),
        (["--data", "images", "--recipe", "camvit"], "camvid"),
        (["--data", "images", "--recipe", "./none.toml"], "none.toml"),
        (["--data", "images", "--trt-version", "8.2.1"], "--trt-cache"),
        (["--data", "images", "--trt-cache", "c", "--trt-version", "8.2"], "8.2.1"),
        (["--data", "images", "-o", "images"], "images is a folder"),
        (["--data", "images", "-o", "net.onnx"], "the network"),
        (["--data", "images", "--trt-cache", "net.onnx"], "the network"),
        (["--data", "images", "--trt-cache", "net.calibration.json"], "one file"),
        (["--recipe", "camvid"], "--data"),
    ],
)
@pytest.mark.usefixtures("images")
def test_wrong_usage_is_refused_before_the_work(
    arguments: list[str], told: str, make: Make, run: Run, tmp_path: Path
) -> None:
    net = make().read_bytes()
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/readme.txt").write_text("no image")
    ran = run("calibrate", "net.onnx", *arguments)
    assert_contract_error(ran, 2, told)
    assert "calibrating" not in ran.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "images", "net.onnx"]
    assert (tmp_path / "net.onnx").read_bytes() == net


@pytest.mark.parametrize("option", ["-o", "--trt-cache"])
def test_a_place_that_cannot_be_written_is_found_before_the_work(
    option: str, make: Make, run: Run, images: Path, tmp_path: Path
) -> None:
    make()
    (tmp_path / "file").write_text("in the way")
    ran = run("calibrate", "net.onnx", "--data", images, option, "file/t")
    assert_contract_error(ran, 3, "file/t")
    assert "calibrating" not in ran.err


QUANTIZED = """g (float[1,3,4,6] x) => (float[1,1,4,6] y)
<float[1,3,1,1] w = {1, 2, 3}, float s = {0.1}, int8 o = {0}>
{ q = QuantizeLinear(x, s, o) d = DequantizeLinear(q, s, o) y = Conv(d, w) }"""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("g (float[1,3,4,6] x) => (float[1,3,4,6] y) { y = Relu(x) }", "nothing to quantize"),
        ("g (float[1,8] x) => (float[1,8] y) <float[8,8,1] w> { y = Conv(x, w) }", "net.onnx"),
        (CONVOLUTION.replace("1,3,4,6", "1,4,4,6").replace("1,3,1,1", "1,4,1,1").replace("0}", "0, 0}"), "4 channels"),
        (QUANTIZED, "quantized already"),
    ],
)
def test_a_network_that_cannot_be_calibrated(text: str, told: str, make: Make, run: Run, images: Path) -> None:
    make(text)
    assert_contract_error(run("calibrate", "net.onnx", "--data", images), 2, told)


def test_a_file_that_is_no_network(run: Run, images: Path, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"no network")
    assert_contract_error(run("calibrate", "net.onnx", "--data", images), 2, "net.onnx")
    assert_contract_error(run("calibrate", "gone.onnx", "--data", images), 2, "gone.onnx")


def test_a_network_without_pre_processing_says_how(make: Make, run: Run, images: Path, tmp_path: Path) -> None:
    """A layout that is only recognised says nothing of what the network wants."""
    make(states=None)
    assert_contract_error(run("calibrate", "net.onnx", "--data", images), 2, "pre-processing", "--recipe", "[preproc")
    root = camvid(tmp_path / "data")
    assert_contract_error(run("calibrate", "net.onnx", "--data", root), 2, "pre-processing")
    assert document(run("calibrate", "net.onnx", "--data", root, "--recipe", "camvid", "--json"))["images"] == 2


def spoil(images: Path, *names: str) -> None:
    for name in names:
        (images / name).write_bytes((images / name).read_bytes()[:40])


def test_a_corrupt_image_is_named_and_skipped_only_on_request(make: Make, run: Run, images: Path) -> None:
    make()
    spoil(images, "3.png", "7.png")
    ran = run("calibrate", "net.onnx", "--data", images)
    assert_contract_error(ran, 2, "3.png", "--skip-bad")
    assert not Path("net.calibration.json").exists()
    ran = run("calibrate", "net.onnx", "--data", images, "--skip-bad")
    assert ran.code == 0
    assert "3.png" in ran.err
    assert "7.png" in ran.err
    table = read_table(Path("net.calibration.json"))
    assert table.skipped == ("3.png", "7.png")
    assert table.images == 8
    answer = document(run("calibrate", "net.onnx", "--data", images, "--skip-bad", "--json"))
    assert (answer["skipped"], answer["images"]) == (["3.png", "7.png"], 8)
    for name in ("3.png", "7.png"):
        (images / name).unlink()
    assert document(run("calibrate", "net.onnx", "--data", images, "--json"))["data_sha256"] == table.data_sha256


def test_nothing_but_corrupt_images_is_an_error_with_skip_bad_too(make: Make, run: Run, images: Path) -> None:
    make()
    spoil(images, *(path.name for path in images.iterdir()))
    assert_contract_error(run("calibrate", "net.onnx", "--data", images, "--skip-bad"), 2, "none of the 10 images")
    assert not Path("net.calibration.json").exists()


def test_a_tensor_of_one_value_is_noted(make: Make, run: Run, tmp_path: Path) -> None:
    text = CONVOLUTION.replace("z = Relu(y)", "n = Neg(y) z = Relu(n)")
    make(text)
    for name, red in (("a", 50), ("b", 100)):
        image(tmp_path / f"images/{name}.png", (red, 0, 0))
    answer = document(run("calibrate", "net.onnx", "--data", "images", "--trt-cache", "c", "--json"))
    assert answer["constant"] == ["z"]
    assert any("z" in note for note in answer["notes"])
    assert read_table(tmp_path / "net.calibration.json").ranges["z"].amax == 0
    assert read_cache(tmp_path / "c").scales["z"] > 0


def test_an_activation_that_is_not_a_number_is_named_with_its_image(make: Make, run: Run, images: Path) -> None:
    """The root of a negative number, for the one image with more green than red."""
    make(CONVOLUTION.replace("z = Relu(y)", "z = Sqrt(y)"))
    image(images / "5.png", (0, 90, 0))
    ran = run("calibrate", "net.onnx", "--data", images)
    assert_contract_error(ran, 2, "z", "5.png")
    assert "NaN" in ran.err
    assert not Path("net.calibration.json").exists()


def test_a_name_in_another_encoding_is_no_reason_to_fail(make: Make, run: Run, images: Path, tmp_path: Path) -> None:
    make()
    odd = os.fsencode(images) + b"/bad\xff.png"
    Path(os.fsdecode(odd)).write_bytes(b"no image")
    answer = document(run("calibrate", "net.onnx", "--data", images, "--skip-bad", "--json"))
    assert answer["skipped"] == ["bad\\udcff.png"]
    assert json.loads((tmp_path / "net.calibration.json").read_text())["skipped"] == ["bad\\udcff.png"]
