"""`espdeploy eval` with networks whose answers are known: scores, limits, confusion, and every bad input."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from espdeploy.artifacts import ClassSet, ModelCard, Preprocessing
from tests.cli.conftest import Run, assert_contract_error

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
COLOURS = ClassSet(
    name="colours",
    names=("red", "green", "blue"),
    palette=(RED, GREEN, BLUE),
    categories=("warm", "cold", "cold"),
    ignore=(255,),
)
UNIT = Preprocessing(channel_order="RGB", divisor=255.0, mean=(0, 0, 0), std=(1, 1, 1))
SEES_ALL, MISSES_BLUE = "1,0,0, 0,1,0, 0,0,1", "1,0,0, 0,1,0, 0,0,0"
Make = Callable[..., Path]


@pytest.fixture
def net(tmp_path: Path) -> Make:
    """Write a network whose class is the strongest colour of a pixel, or of the whole image; it takes 8x8 images.

    Where no score is above the others, the first class is given: blue becomes red where blue is missed.
    """

    def call(name: str, weights: str = SEES_ALL, *, task: str = "segmentation", classes: ClassSet = COLOURS) -> Path:
        end = "y = Conv(x, w)"
        result = "float[1,3,8,8] y"
        if task == "classification":
            end, result = "z = Conv(x, w) m = GlobalAveragePool(z) y = Flatten(m)", "float[1,3] y"
        text = f"g (float[1,3,8,8] x) => ({result}) <float[3,3,1,1] w = {{{weights}}}> {{ {end} }}"
        model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 13]> {text}')
        card = ModelCard(name="colours", task=task, settings={}, preprocessing=UNIT, classes=classes)
        for key, value in card.to_metadata().items():
            model.metadata_props.add(key=key, value=value)
        onnx.save(model, tmp_path / name)
        return tmp_path / name

    return call


def halves(folder: Path, name: str, *, size: tuple[int, int] = (8, 8), right: int = 2) -> None:
    """An image that is red on its left half and another class on its right, with its label map."""
    width, height = size
    label = np.zeros((height, width), np.uint8)
    label[:, width // 2 :] = right
    for kind in ("images", "labels"):
        (folder / kind).mkdir(exist_ok=True)
    Image.fromarray(label).save(folder / f"labels/{name}.png")
    Image.fromarray(np.array(COLOURS.palette, np.uint8)[label]).save(folder / f"images/{name}.png")


@pytest.fixture
def red_and_blue(tmp_path: Path) -> None:
    for name in "abc":
        halves(tmp_path, name)


DATA = ("--data", "images", "--labels", "labels")


# --- scores and limits -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("red_and_blue")
def test_scores_of_a_network_that_misses_blue(net: Make, run: Run) -> None:
    document = run("eval", net("bad.onnx", MISSES_BLUE), *DATA, "--reference", net("good.onnx"), "--json").document
    assert document["images"] == 3
    assert document["class_iou_pct"] == {"red": 50.0, "green": None, "blue": 0.0}
    assert document["category_iou_pct"] == {"warm": 50.0, "cold": 0.0}
    assert document["miou_pct"] == 25.0
    assert document["classes"] == ["red", "green", "blue"]
    assert document["confusion"] == [[96, 0, 0], [0, 0, 0], [96, 0, 0]]
    reference = {"agreement_pct": 50.0, "miou_pct": 100.0, "miou_drop_pct": 75.0, "miou_drop_ci95_pct": [75.0, 75.0]}
    assert document["reference"] == reference
    assert (document["gates"], document["passed"], document["skipped"]) == ([], True, [])


@pytest.mark.usefixtures("red_and_blue")
def test_limits_that_are_met(net: Make, run: Run) -> None:
    limits = ["--reference", net("good.onnx"), "--min-miou", "25", "--max-drop-pct", "75"]
    ran = run("eval", net("bad.onnx", MISSES_BLUE), *DATA, *limits, "--json")
    assert ran.code == 0
    assert ran.document["passed"] is True
    assert ran.document["gates"] == [
        {"name": "min_miou_pct", "limit": 25.0, "value": 25.0, "passed": True},
        {"name": "max_drop_pct", "limit": 75.0, "value": 75.0, "passed": True},
    ]
    assert "error" not in ran.document


@pytest.mark.usefixtures("red_and_blue")
def test_a_limit_that_is_missed_ends_with_1_and_the_whole_document(net: Make, run: Run) -> None:
    limits = ["--reference", net("good.onnx"), "--min-miou", "20", "--max-drop-pct", "0.5"]
    ran = run("eval", net("bad.onnx", MISSES_BLUE), *DATA, *limits, "--json")
    assert_contract_error(ran, 1, "75 points of mIOU are lost", "at most 0.5", "--precision mixed")
    assert ran.document["passed"] is False
    assert [gate["passed"] for gate in ran.document["gates"]] == [True, False]
    assert ran.document["miou_pct"] == 25.0
    assert ran.document["error"]["code"] == 1
    assert ran.document["error"]["do"] in ran.err


@pytest.mark.usefixtures("red_and_blue")
def test_a_missed_limit_for_people(net: Make, run: Run) -> None:
    ran = run("eval", net("bad.onnx", MISSES_BLUE), *DATA, "--min-miou", "90")
    assert_contract_error(ran, 1, "mIOU is 25.00 %, at least 90 % was asked for")
    assert "FAIL: 25.00" in ran.out
    assert "IoU %" in ran.out


def test_a_miss_that_other_images_could_turn_says_so(net: Make, run: Run, tmp_path: Path) -> None:
    for place in range(10):
        halves(tmp_path, f"{place}", right=2 if place < 3 else 1)  # green is seen, blue is not
    bad, good = net("bad.onnx", MISSES_BLUE), net("good.onnx")
    document = run("eval", bad, *DATA, "--reference", good, "--json").document
    low, high = document["reference"]["miou_drop_ci95_pct"]
    drop_pct = document["reference"]["miou_drop_pct"]
    assert low < drop_pct < high
    ran = run("eval", bad, *DATA, "--reference", good, "--max-drop-pct", drop_pct - 0.1)
    assert_contract_error(ran, 1, "other images could meet --max-drop-pct")


def test_nothing_that_counts_meets_no_limit(net: Make, run: Run, tmp_path: Path) -> None:
    halves(tmp_path, "a")
    Image.new("L", (8, 8), 255).save(tmp_path / "labels/a.png")
    ran = run("eval", net("good.onnx"), *DATA, "--min-miou", "0", "--json")
    assert_contract_error(ran, 1, "no pixel of a class that counts")
    assert ran.document["gates"] == [{"name": "min_miou_pct", "limit": 0.0, "value": None, "passed": False}]


@pytest.mark.usefixtures("red_and_blue")
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((*DATA, "--min-miou", "nan"), "--min-miou nan"),
        ((*DATA, "--min-miou", "101"), "from 0 to 100"),
        ((*DATA, "--min-miou", "-1"), "from 0 to 100"),
        ((*DATA, "--max-drop-pct", "inf", "--reference", "good.onnx"), "--max-drop-pct inf"),
        ((*DATA, "--max-drop-pct", "0.5"), "--reference"),
        (("--data", "images", "--max-drop-pct", "0.5", "--reference", "good.onnx"), "--labels"),
        (("--data", "images", "--min-miou", "50", "--reference", "good.onnx"), "--labels"),
        (("--data", "images", "--confusion", "--reference", "good.onnx"), "--confusion needs labels"),
        ((*DATA, "--min-top1", "50"), "--min-miou"),
        ((*DATA, "--limit", "0"), "--limit"),
        ((*DATA, "--confusion-picture", "matrix.jpg"), "matrix.svg"),
        ((*DATA, "--confusion-picture", "images"), "images"),
        (("--data", "images"), "--labels"),
    ],
)
def test_what_means_nothing_is_refused_before_the_work(arguments, told: str, net: Make, run: Run) -> None:
    ran = run("eval", net("good.onnx"), *arguments)
    assert_contract_error(ran, 2, told)
    assert "evaluated" not in ran.err


# --- confusion -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("red_and_blue")
def test_confusion_as_a_table_and_as_pictures(net: Make, run: Run, tmp_path: Path) -> None:
    bad = net("bad.onnx", MISSES_BLUE)
    ran = run("eval", bad, *DATA, "--confusion", "--confusion-picture", "deep/matrix.svg")
    assert ran.code == 0, ran.err
    assert "2 blue 100 ." in ran.out
    assert "red 100.0 %" in ran.out  # what blue is taken for, beside its IoU
    assert "deep/matrix.svg" in ran.err
    text = (tmp_path / "deep/matrix.svg").read_text()
    assert "true blue, taken for red: 100.00 %, 96 pixels" in text
    assert "bad.onnx" in text
    assert run("eval", bad, *DATA, "--confusion-picture", "matrix.png", "--json").code == 0
    with Image.open(tmp_path / "matrix.png") as image:
        assert image.format == "PNG"


@pytest.mark.usefixtures("red_and_blue")
def test_the_picture_is_drawn_though_a_limit_is_missed(net: Make, run: Run, tmp_path: Path) -> None:
    arguments = ["--min-miou", "90", "--confusion-picture", "matrix.svg"]
    assert run("eval", net("bad.onnx", MISSES_BLUE), *DATA, *arguments).code == 1
    assert (tmp_path / "matrix.svg").is_file()


# --- images ----------------------------------------------------------------------------------------------------------


def test_images_of_many_sizes_are_scored_at_their_own(net: Make, run: Run, tmp_path: Path) -> None:
    for name, size in (("a", (8, 8)), ("b", (32, 16)), ("c", (64, 24))):
        halves(tmp_path, name, size=size)
    document = run("eval", net("good.onnx"), *DATA, "--json").document
    assert document["miou_pct"] == 100.0
    assert sum(map(sum, document["confusion"])) == 64 + 32 * 16 + 64 * 24


@pytest.mark.usefixtures("red_and_blue")
def test_one_bad_image_ends_it_or_is_skipped_and_named(net: Make, run: Run, tmp_path: Path) -> None:
    good = net("good.onnx")
    whole = (tmp_path / "images/b.png").read_bytes()
    (tmp_path / "images/b.png").write_bytes(whole[: len(whole) // 2])
    ran = run("eval", good, *DATA)
    assert_contract_error(ran, 2, "images/b.png", "--skip-bad")
    ran = run("eval", good, *DATA, "--skip-bad", "--json")
    assert ran.code == 0, ran.err
    assert ran.document["images"] == 2
    assert [item["image"] for item in ran.document["skipped"]] == ["images/b.png"]
    assert "images/b.png" in ran.document["skipped"][0]["why"]
    assert any("cannot be used, 1: images/b.png" in note for note in ran.document["notes"])
    assert "images/b.png" in run("eval", good, *DATA, "--skip-bad").err
    for name in "ac":
        (tmp_path / f"images/{name}.png").write_bytes(b"")
    assert_contract_error(run("eval", good, *DATA, "--skip-bad"), 2, "none of the 3 images")


@pytest.mark.usefixtures("red_and_blue")
def test_labels_outside_the_classes_are_no_bad_image(net: Make, run: Run, tmp_path: Path) -> None:
    Image.fromarray(np.array([[7, 9], [0, 0]], np.uint8)).save(tmp_path / "labels/b.png")
    for flags in ([], ["--skip-bad"]):
        assert_contract_error(run("eval", net("good.onnx"), *DATA, *flags), 2, "labels/b.png", "values 7, 9", "0 to 2")


@pytest.mark.usefixtures("red_and_blue")
def test_a_limit_of_images_spreads_over_them(net: Make, run: Run, tmp_path: Path) -> None:
    (tmp_path / "images/b.png").write_bytes(b"")  # of two, the first and the second are taken
    assert_contract_error(run("eval", net("good.onnx"), *DATA, "--limit", "2"), 2, "b.png")
    assert run("eval", net("good.onnx"), *DATA, "--limit", "1", "--json").document["images"] == 1
    assert run("eval", net("good.onnx"), *DATA, "--limit", "99", "--skip-bad", "--json").document["images"] == 2


def test_a_folder_without_images(net: Make, run: Run, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/notes.txt").write_text("none")
    assert_contract_error(run("eval", net("good.onnx"), "--data", "images"), 2, "no images in images")
    assert_contract_error(run("eval", net("good.onnx"), "--data", "nowhere"), 2, "nowhere")


@pytest.mark.usefixtures("red_and_blue")
def test_without_labels_there_is_agreement(net: Make, run: Run) -> None:
    good, bad = net("good.onnx"), net("bad.onnx", MISSES_BLUE)
    ran = run("eval", bad, "--data", "images", "--reference", good, "--limit", "2", "--json")
    assert ran.code == 0, ran.err
    assert ran.document["reference"]["agreement_pct"] == 50.0
    assert ran.document["reference"]["miou_drop_pct"] is None
    assert ran.document["miou_pct"] is None
    assert any("no labels" in note for note in ran.document["notes"])
    assert "images evaluated" in ran.err
    assert "50.000 % of pixels" in run("eval", bad, "--data", "images", "--reference", good).out


# --- classification --------------------------------------------------------------------------------------------------


@pytest.fixture
def in_folders(tmp_path: Path) -> None:
    """Two images of each colour in the folder of its class, and one that lies in a wrong one."""
    colours = dict(zip(COLOURS.names, COLOURS.palette, strict=True))
    for folder, colour in [(name, name) for name in colours for _ in range(2)] + [("green", "blue")]:
        (tmp_path / "sorted" / folder).mkdir(parents=True, exist_ok=True)
        number = len(list((tmp_path / "sorted" / folder).iterdir()))
        Image.new("RGB", (30, 20), colours[colour]).save(tmp_path / f"sorted/{folder}/{number}.png")


@pytest.mark.usefixtures("in_folders")
def test_top_1_of_a_classifier(net: Make, run: Run) -> None:
    good = net("good.onnx", task="classification")
    bad = net("bad.onnx", MISSES_BLUE, task="classification")
    ran = run(
        "eval", bad, "--data", "sorted", "--reference", good, "--min-top1", "57", "--max-drop-pct", "20", "--json"
    )
    assert_contract_error(ran, 1, "28.6 points of top-1 accuracy are lost")
    document = ran.document
    assert document["images"] == 7
    assert document["top1_pct"] == pytest.approx(100 * 4 / 7)
    assert document["top5_pct"] is None
    assert any("no top-5" in note for note in document["notes"])
    assert document["reference"]["top1_drop_pct"] == pytest.approx(100 * 2 / 7)
    assert document["reference"]["agreement_pct"] == pytest.approx(100 * 4 / 7)
    assert [gate["passed"] for gate in document["gates"]] == [True, False]
    assert "57.14 %" in run("eval", bad, "--data", "sorted").out


@pytest.mark.usefixtures("in_folders")
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--data", "sorted", "--labels", "sorted"), "--labels"),
        (("--data", "sorted", "--confusion"), "--confusion"),
        (("--data", "sorted", "--min-miou", "50"), "--min-top1"),
        (("--data", "sorted/red"), "folder of images for each class"),
        (("--data", "."), "cannot be told"),
    ],
)
def test_what_a_classifier_cannot_be_asked(arguments, told: str, net: Make, run: Run) -> None:
    ran = run("eval", net("good.onnx", task="classification"), *arguments)
    assert_contract_error(ran, 2, told)
    assert "evaluated" not in ran.err


@pytest.mark.usefixtures("in_folders")
def test_a_benchmark_of_a_classifier_says_at_once_that_label_maps_do_not_fit(net: Make, run: Run) -> None:
    quick = ["--trials", "3", "--duration-s", "0", "--warmup-s", "0", "--warmup-max-s", "0"]
    ran = run("bench", net("good.onnx", task="classification"), *quick, "--data", "sorted", "--labels", "sorted")
    assert_contract_error(ran, 2, "espdeploy eval")
    assert "measuring" not in ran.err


def test_the_real_export_of_a_classifier_is_judged(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    small = "--set scale=0.5 --set classes=10 --size 64x64 --opset 13"
    assert run("export", "--model", "espnetv2", *shlex.split(small), "-o", "net.onnx").code == 0
    random = np.random.default_rng(0)
    for folder in range(10):
        (tmp_path / f"sorted/n{folder:08}").mkdir(parents=True)
        picture = random.integers(0, 256, (50, 70, 3), dtype=np.uint8)
        Image.fromarray(picture).save(tmp_path / f"sorted/n{folder:08}/x.jpg")
    ran = run("eval", "net.onnx", "--data", "sorted", "--reference", "net.onnx", "--json")
    assert ran.code == 0, ran.err
    assert ran.document["images"] == 10
    assert 0 <= ran.document["top1_pct"] <= ran.document["top5_pct"] <= 100
    assert ran.document["reference"]["agreement_pct"] == 100.0
    assert any("sorted order of the folders" in note for note in ran.document["notes"])
