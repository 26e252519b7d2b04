"""`espdeploy build` for NVIDIA GPUs: real engines of TensorRT-RTX, which needs no GPU to build them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Run, assert_contract_error

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx has no wheel for this machine")

RTX = ["--device", "desktop", "--runtime", "tensorrt-rtx"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from PIL import Image

    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for index in range(2):
        coarse = rng.integers(0, 256, (6, 8, 3)).astype(np.uint8)
        Image.fromarray(coarse).resize((64, 48)).save(folder / f"{index}.png")
    return folder


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_an_engine_in_the_precision_that_was_asked_for(run: Run, small_onnx: Path, precision: str) -> None:
    ran = run("build", small_onnx, *RTX, "--precision", precision, "--compute-capability", "8.9", "--json")
    assert ran.code == 0, ran
    document = ran.document
    assert document["runtime"] == "tensorrt-rtx"
    assert document["layers"]["convolution_precision_pct"] == {precision: 100.0}
    assert Path(document["engine"]).suffix == ".engine"
    assert Path(document["engine"]).read_bytes()[:4] != b"\x08\x08\x12\x07"  # no ONNX file under another name
    passport = json.loads(Path(document["engine"] + ".json").read_text())
    assert passport["compute_capability"] == "8.9"
    assert passport["tensorrt_version"] == document["runtime_version"]
    assert any("strongly typed" in flag for flag in passport["flags"])
    again = run("build", small_onnx, *RTX, "--precision", precision, "--compute-capability", "8.9", "--json").document
    assert (again["cache"], again["engine"]) == ("hit", document["engine"])


def test_int8_is_in_the_kernels_or_the_build_fails(run: Run, small_onnx: Path, images: Path) -> None:
    assert run("calibrate", small_onnx, "--data", images, "-o", "T.json").code == 0
    asked = ["build", small_onnx, *RTX, "--precision", "int8", "--calibration", "T.json"]
    ran = run(*asked, "--compute-capability", "8.9", "-o", "ada.engine", "--json")
    assert ran.code == 0, ran
    assert ran.document["layers"]["convolution_precision_pct"]["int8"] > 90
    assert all("ConvTranspose" in name for name in ran.document["layers"]["kept"])
    # Turing has INT8, but TensorRT-RTX chooses none of its kernels there
    ran = run(*asked, "--compute-capability", "7.5", "-o", "turing.engine")
    assert_contract_error(ran, 4, "0 % of the convolutions in int8")
    assert not Path("turing.engine").exists()


def test_engines_for_different_gpus_are_different_engines(run: Run, small_onnx: Path) -> None:
    engines = {
        run("build", small_onnx, *RTX, "--compute-capability", target, "--json").document["engine"]
        for target in ("8.9", "12.0")
    }
    assert len(engines) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ([*RTX, "--compute-capability", "9.0"], 3, "9.0"),
        ([*RTX, "--compute-capability", "ada"], 2, "ada"),
        (["--device", "cpu", "--compute-capability", "8.9"], 2, "would have no effect on cpu"),
        (["--device", "desktop", "--runtime", "tensorrt", "--compute-capability", "8.9"], 2, "TensorRT-RTX"),
        (["--device", "tx2", "--runtime", "tensorrt-rtx"], 2, "tx2"),
    ],
)
def test_what_cannot_be_built_is_refused(
    run: Run, small_onnx: Path, arguments: list[str], code: int, told: str
) -> None:
    assert_contract_error(run("build", small_onnx, *arguments), code, told)


def test_an_engine_that_needs_a_gpu_says_so_where_there_is_none(run: Run, small_onnx: Path) -> None:
    assert run("build", small_onnx, *RTX, "--compute-capability", "8.9", "-o", "ada.engine").code == 0
    ran = run("bench", "ada.engine", "--device", "desktop", "--trials", 5, "--results", "results")
    assert ran.code in (3, 0), ran
    if ran.code:
        assert_contract_error(ran, 3, "desktop")
    ran = run("bench", "ada.engine", "--trials", 5, "--results", "results")
    assert_contract_error(ran, 2, "was built for desktop", "--device desktop")
