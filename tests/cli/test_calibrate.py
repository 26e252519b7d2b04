"""``espdeploy calibrate``: what the table and the cache say, and how it is told."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from espdeploy.errors import InputFileError
from espdeploy.quantize.table import check_fits, read_table
from espdeploy.quantize.tensorrt_cache import read_cache
from tests.cli.calibrating import CONVOLUTION, UNIT, Make, document, image, network, ten_images
from tests.cli.conftest import Run, assert_contract_error, start

pytest.importorskip("onnxruntime")


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write a network into the folder that commands run in."""
    return functools.partial(network, tmp_path)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Ten plain images of rising red: 10, 20, … 100."""
    return ten_images(tmp_path / "images")


def test_the_ranges_are_those_of_the_images(make: Make, run: Run, tmp_path: Path) -> None:
    """By hand: y = red - 2 green, of (51, 0) and of (0, 51); z has no negative values."""
    net = make()
    image(tmp_path / "images/a.png", (51, 0, 0))
    image(tmp_path / "images/b.png", (0, 51, 0))
    answer = document(run("calibrate", net, "--data", "images", "--method", "minmax", "--json"))
    keys = {"output", "method", "images", "tensors", "peak_rss_mb", "skipped", "constant", "onnx_sha256", "data_sha256"}
    assert keys | {"images_per_s", "trt_cache", "recipe", "random", "notes"} <= set(answer)
    assert (answer["output"], answer["method"]) == (str(tmp_path / "net.calibration.json"), "minmax")
    assert (answer["images"], answer["tensors"], answer["recipe"], answer["skipped"]) == (2, 3, "folder", [])
    table = read_table(tmp_path / "net.calibration.json")
    assert list(table.ranges) == ["x", "y", "z"]
    for name, lowest, highest, amax in (("x", 0, 0.2, 0.2), ("y", -0.4, 0.2, 0.4), ("z", 0, 0.2, 0.2)):
        found = table.ranges[name]
        assert (found.lowest, found.highest, found.amax) == pytest.approx((lowest, highest, amax))
    assert table.onnx_sha256 == answer["onnx_sha256"] == hashlib.sha256(net.read_bytes()).hexdigest()
    assert table.preprocessing == UNIT
    assert not table.random
    check_fits(table, net)


def test_the_digest_of_the_data_is_over_the_files_in_order(make: Make, run: Run, images: Path) -> None:
    make()
    answer = document(run("calibrate", "net.onnx", "--data", images, "--json"))
    digest = hashlib.sha256()
    for path in sorted(images.iterdir()):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    assert answer["data_sha256"] == digest.hexdigest()
    image(images / "5.png", (1, 2, 3))
    assert document(run("calibrate", "net.onnx", "--data", images, "--json"))["data_sha256"] != digest.hexdigest()


def test_memory_and_speed_are_told(make: Make, run: Run, images: Path) -> None:
    answer = document(run("calibrate", make(), "--data", images, "--json"))
    import psutil

    now_mb = psutil.Process().memory_info().rss / 1e6
    assert isinstance(answer["peak_rss_mb"], float)
    assert now_mb * 0.5 < answer["peak_rss_mb"] < psutil.virtual_memory().total / 1e6
    assert isinstance(answer["images_per_s"], float)
    assert answer["images_per_s"] > 0


def test_a_person_reads_what_was_done(make: Make, run: Run, images: Path) -> None:
    ran = run("calibrate", make(), "--data", images, "--limit", "4", "--trt-cache", "net.cache")
    assert ran.code == 0, ran
    for told in ("net.calibration.json", "4 of 10", "folder", "from the network", "net.cache"):
        assert told in ran.out
    assert ran.err.count("calibrating") == 1  # in a file each stage once
    assert "8.2.1" in ran.err


@pytest.mark.parametrize("method", ["entropy", "percentile", "mse", "minmax"])
def test_every_method_gives_a_range_within_what_was_seen(method: str, make: Make, run: Run, tmp_path: Path) -> None:
    for index, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (20, 4, 6, 3), dtype=np.uint8)):
        Image.fromarray(pixels).save(image(tmp_path / f"images/{index}.png"))
    make()
    assert document(run("calibrate", "net.onnx", "--data", "images", "--method", method, "--json"))["method"] == method
    for name, found in read_table(tmp_path / "net.calibration.json").ranges.items():
        assert 0 < found.amax <= max(-found.lowest, found.highest) * (1 + 1e-6), name


def test_the_cache_has_the_tensors_that_tensorrts_parser_sees(make: Make, run: Run, images: Path) -> None:
    """The graph's inputs and what its nodes write, and no weights."""
    make()
    answer = document(
        run("calibrate", "net.onnx", "--data", images, "--trt-cache", "net.cache", "--trt-version", "10.3.0", "--json")
    )
    assert answer["trt_cache"] == "net.cache"
    cache = read_cache(Path("net.cache"))
    assert cache.header == "TRT-100300-EntropyCalibration2"
    assert list(cache.scales) == ["x", "y", "z"]
    ranges = read_table(Path("net.calibration.json")).ranges
    for name, scale in cache.scales.items():
        assert scale == float(np.float32(ranges[name].amax / 127))


def test_the_cache_names_what_tensorrts_own_parser_names(run: Run, small_onnx: Path, tmp_path: Path) -> None:
    """Against NVIDIA's parser, which runs without a GPU in TensorRT-RTX."""
    if importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip("tensorrt_rtx is not installed: pip install tensorrt-rtx-cu13")
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx does not load", exc_type=ImportError)
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    assert parser.parse(small_onnx.read_bytes())
    named = {network.get_input(index).name for index in range(network.num_inputs)}
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        named |= {layer.get_output(position).name for position in range(layer.num_outputs)}
    image(tmp_path / "images/a.png", size=(64, 48))
    for release in ("8.2.1", "10.3.0"):
        ran = run("calibrate", small_onnx, "--data", "images", "-o", "t", "--trt-cache", "c", "--trt-version", release)
        assert ran.code == 0, ran
        missing = named ^ set(read_cache(Path("c")).scales)
        if release == "10.3.0":
            assert missing == set()
        else:  # its parser counts layers to name constants, which are the slopes of PReLU here
            assert all(name.endswith("weight_output") for name in missing)


def test_the_table_is_refused_for_another_network(make: Make, run: Run, images: Path) -> None:
    make()
    assert run("calibrate", "net.onnx", "--data", images, "-o", "t.json").code == 0
    other = make(CONVOLUTION.replace("-2", "-3"), name="other.onnx")
    with pytest.raises(InputFileError, match="another network"):
        check_fits(read_table(Path("t.json")), other)


SLOW = CONVOLUTION.replace("4,6", "512,512")


def many(folder: Path, count: int) -> None:
    """As many images as keep the network at work for some seconds, in one file with many names."""
    first = image(folder / "0.png", size=(512, 512))
    for index in range(1, count):
        (folder / f"{index}.png").symlink_to(first)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_nothing(how: signal.Signals, make: Make, tmp_path: Path) -> None:
    make(SLOW)
    many(tmp_path / "images", 400)
    process = start(["calibrate", "net.onnx", "--data", "images", "--trt-cache", "net.cache"], tmp_path)
    assert process.stderr is not None
    for line in process.stderr:
        if "calibrating" in line:
            break
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "net.onnx"]


def test_a_terminal_shows_images_per_second(make: Make, tmp_path: Path) -> None:
    make(SLOW)
    many(tmp_path / "images", 60)
    leader, follower = pty.openpty()
    argv = [sys.executable, "-m", "espdeploy", "calibrate", "net.onnx", "--data", "images"]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=follower, cwd=tmp_path, env=environment) as process:
        os.close(follower)
        shown = b""
        while piece := _read_or_end(leader):
            shown += piece
        assert process.wait(timeout=60) == 0
    os.close(leader)
    assert re.search(rb"calibrating, \d+\.\d images/s", shown)
    assert re.search(rb"\d+/60", shown)


def _read_or_end(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux tells the end of a pseudo-terminal so
        return b""


def test_made_up_inputs_only_where_asked_for_and_marked(make: Make, run: Run, tmp_path: Path) -> None:
    make()
    assert_contract_error(run("calibrate", "net.onnx"), 2, "no images", "--data", "--allow-random-calibration")
    ran = run("calibrate", "net.onnx", "--allow-random-calibration")
    assert ran.code == 0
    assert "timing only" in ran.err
    first = read_table(tmp_path / "net.calibration.json")
    assert first.random
    assert first.data_sha256 is None
    assert first.recipe is None
    answer = document(run("calibrate", "net.onnx", "--allow-random-calibration", "--json"))
    assert answer["random"] is True
    assert read_table(tmp_path / "net.calibration.json").ranges == first.ranges
    assert run("calibrate", "net.onnx", "--allow-random-calibration", "--seed", "1").code == 0
    assert read_table(tmp_path / "net.calibration.json").ranges != first.ranges


def test_the_permission_changes_nothing_where_there_are_images(make: Make, run: Run, images: Path) -> None:
    make()
    answer = document(run("calibrate", "net.onnx", "--data", images, "--allow-random-calibration", "--json"))
    assert (answer["random"], answer["images"]) == (False, 10)
