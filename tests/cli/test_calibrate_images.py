"""``espdeploy calibrate``: which images are taken, from which data set, in which form."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from espdeploy.artifacts import Preprocessing
from espdeploy.quantize.table import read_table
from tests.cli.calibrating import CONVOLUTION, Make, camvid, document, image, network, reds, ten_images
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


def test_a_plain_folder_is_used_whole_or_evenly_spread(make: Make, run: Run, images: Path) -> None:
    make()
    assert reds(run, "--data", images) == (10, 100)
    answer = document(run("calibrate", "net.onnx", "--data", images, "--limit", "2", "--json"))
    assert (answer["images"], answer["images_available"], answer["seed"]) == (2, 10, None)
    assert reds(run, "--data", images, "--limit", "2") == (10, 60)  # the first of each half


def test_a_seed_draws_the_same_images_anywhere(make: Make, run: Run, images: Path, tmp_path: Path) -> None:
    make()

    def drawn(folder: Path, *arguments: object) -> object:
        return document(run("calibrate", "net.onnx", "--data", folder, *arguments, "--json"))["data_sha256"]

    first = drawn(images, "--limit", "3", "--seed", "1")
    moved = images.rename(tmp_path / "elsewhere")
    assert drawn(moved, "--limit", "3", "--seed", "1") == first
    assert len({drawn(moved, "--limit", "3", "--seed", seed) for seed in range(6)}) > 1
    assert drawn(moved, "--seed", "1") == drawn(moved)  # where all are used there is nothing to draw


def cityscapes(root: Path) -> Path:
    for part, red in (("train", 10), ("val", 200), ("test", 250)):
        image(root / f"leftImg8bit/{part}/ulm/ulm_000000_000019_leftImg8bit.png", (red, 0, 0))
        image(
            root / f"leftImg8bit/{part}/bonn/bonn_000000_000019_leftImg8bit.png", (2 * red if red < 20 else red, 0, 0)
        )
        image(root / f"gtFine/{part}/ulm/ulm_000000_000019_gtFine_color.png", (255, 255, 255))
    return root


def plain_parts(root: Path) -> Path:
    image(root / "train/cars/a.png", (10, 0, 0))
    image(root / "train/trees/b.png", (20, 0, 0))
    image(root / "val/cars/c.png", (200, 0, 0))
    return root


LAYOUTS = {"camvid": camvid, "cityscapes": cityscapes, "folder": plain_parts}


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("recipe", list(LAYOUTS))
def test_of_a_data_set_the_training_part_is_used_and_said(
    recipe: str, named: bool, make: Make, run: Run, tmp_path: Path
) -> None:
    make()
    root = LAYOUTS[recipe](tmp_path / "data")
    arguments = ["--data", root, *(["--recipe", recipe] if named else [])]
    assert reds(run, *arguments) == (10, 20)
    answer = document(run("calibrate", "net.onnx", *arguments, "--json"))
    assert (answer["recipe"], answer["images"]) == (recipe, 2)
    assert "train" in str(answer["folder"])
    assert any("train" in note for note in answer["notes"])
    assert str(answer["folder"]) in run("calibrate", "net.onnx", *arguments).out


@pytest.mark.parametrize("lay_out", list(LAYOUTS.values()))
@pytest.mark.parametrize("recipe", [[], ["--recipe", "folder"], ["--recipe", "camvid"], ["--recipe", "cityscapes"]])
def test_validation_images_are_never_taken_silently(
    lay_out: Callable[[Path], Path], recipe: list[str], make: Make, run: Run, tmp_path: Path
) -> None:
    """Whatever recipe is named: the training part or an error, and without that part always an error."""
    make()
    root = lay_out(tmp_path / "data")
    ran = run("calibrate", "net.onnx", "--data", root, *recipe, "--json")
    assert ran.code == 2 or "train" in ran.document["folder"]
    for train in (root / "train", root / "leftImg8bit/train", root / "trainannot"):
        if train.is_dir():
            train.rename(tmp_path / f"away {train.name}")
    assert_contract_error(run("calibrate", "net.onnx", "--data", root, *recipe), 2, str(root))


def test_validation_images_that_are_named_are_used_and_told_of(make: Make, run: Run, tmp_path: Path) -> None:
    make()
    answer = document(run("calibrate", "net.onnx", "--data", camvid(tmp_path / "data") / "val", "--json"))
    assert answer["images"] == 1
    assert any("flatters" in note for note in answer["notes"])


def test_the_training_part_may_be_named_itself(make: Make, run: Run, tmp_path: Path) -> None:
    make()
    train = camvid(tmp_path / "data") / "train"
    for recipe in ([], ["--recipe", "camvid"]):
        assert reds(run, "--data", train, *recipe) == (10, 20)


def test_a_class_that_is_called_train_is_no_training_part(make: Make, run: Run, tmp_path: Path) -> None:
    make()
    for name, red in (("aeroplane", 10), ("train", 20), ("zebra", 30)):
        image(tmp_path / f"data/{name}/a.png", (red, 0, 0))
    assert reds(run, "--data", tmp_path / "data") == (10, 30)


MINE = """name = "mine"
description = "my camera"
folder = "frames"
data = "recordings"
count = 2
method = "percentile"
[preprocessing]
channel_order = "BGR"
divisor = 1.0
mean = [0.0, 0.0, 55.0]
std = [1.0, 1.0, 2.0]
post_divisor = 10.0
"""


def test_a_recipe_of_ones_own_says_everything(make: Make, run: Run, tmp_path: Path) -> None:
    """By hand: red is the last channel of BGR, (105 - 55) / 2 / 10 = 2.5; the weights take -2 green, 1 blue."""
    make(states=None)
    for index in range(4):
        image(tmp_path / f"recordings/frames/{index}.png", (105, 10, 20))
    (tmp_path / "mine.toml").write_text(MINE)
    answer = document(run("calibrate", "net.onnx", "--recipe", "mine.toml", "--json"))
    assert (answer["images"], answer["method"], answer["recipe"]) == (2, "percentile", "mine.toml")
    assert answer["preprocessing_from"] == "the recipe mine"
    ranges = read_table(tmp_path / "net.calibration.json").ranges
    assert ranges["x"].highest == pytest.approx(2.5)
    assert ranges["y"].highest == pytest.approx((20 - 2 * 10) / 10)
    answer = document(
        run("calibrate", "net.onnx", "--recipe", "mine.toml", "--method", "mse", "--limit", "3", "--json")
    )
    assert (answer["images"], answer["method"]) == (3, "mse")  # what the command says goes first


def test_the_networks_own_pre_processing_goes_before_a_recipes(make: Make, run: Run, images: Path) -> None:
    make()
    assert reds(run, "--data", images, "--recipe", "camvid") == (10, 100)


def test_images_of_other_sizes_are_resized(make: Make, run: Run, tmp_path: Path) -> None:
    make()
    image(tmp_path / "images/large.png", (100, 0, 0), size=(60, 40))
    image(tmp_path / "images/tall.png", (50, 0, 0), size=(2, 9))
    assert reds(run, "--data", "images") == (50, 100)


@pytest.mark.parametrize("shape", ["2,3,4,6", "N,3,4,6", "1,3,H,W", "N,3,H,W"])
def test_batches_and_sizes_that_a_network_may_have(shape: str, make: Make, run: Run, images: Path) -> None:
    make(CONVOLUTION.replace("1,3,4,6", shape).replace("float[1,1,4,6]", "float[a,b,c,d]"))
    assert reds(run, "--data", images) == (10, 100)


PIXELS = """g (uint8[1,3,4,6] p) => (float[1,1,4,6] y) <float[1,3,1,1] w = {1, 0, 0}>
{ x = Cast<to = 1>(p) y = Conv(x, w) }"""


def test_a_network_that_takes_pixels_gets_whole_numbers(make: Make, run: Run, images: Path) -> None:
    make(PIXELS, states=Preprocessing(channel_order="RGB", divisor=1.0, mean=(0, 0, 0), std=(1, 1, 1)))
    answer = document(run("calibrate", "net.onnx", "--data", images, "--method", "minmax", "--json"))
    assert answer["tensors"] == 2  # whole numbers are not quantized
    assert read_table(Path("net.calibration.json")).ranges["y"].highest == 100


@pytest.mark.data
def test_camvid_as_it_is_shared(make: Make, run: Run, data_dir: Path) -> None:
    make(CONVOLUTION.replace("4,6", "36,48"))
    root = data_dir / "data/camvid"
    answer = document(run("calibrate", "net.onnx", "--data", root, "--json"))
    digest = hashlib.sha256()
    for path in sorted((root / "train").iterdir()):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    assert (answer["recipe"], answer["images"], answer["data_sha256"]) == ("camvid", 25, digest.hexdigest())
