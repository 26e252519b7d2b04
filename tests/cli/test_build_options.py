"""`espdeploy build`: shapes, DLA, workspace, optimization level, timing cache; by TensorRT-RTX and a fake trtexec."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from espdeploy.pipeline.engine_files.opening import open_file
from espdeploy.recipes import device_profile
from tests.cli.boards import CARD, board, tiny_onnx
from tests.cli.conftest import Ran, Run, assert_contract_error

pytest.importorskip("onnx")

RTX = ("--device", "desktop", "--runtime", "tensorrt-rtx", "--compute-capability", "8.9")


@pytest.fixture
def fixed(tmp_path: Path) -> Path:
    return tiny_onnx(tmp_path / "fixed.onnx")


@pytest.fixture
def dynamic(tmp_path: Path) -> Path:
    return tiny_onnx(tmp_path / "dynamic.onnx", batch="N")


def passport(ran: Ran) -> Any:
    assert ran.code == 0, ran
    return json.loads(Path(ran.document["engine"] + ".json").read_text())


def test_an_engine_for_a_range_of_batches_and_what_is_known_of_it(run: Run, dynamic: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx has no wheel for this machine")
    ran = run("build", dynamic, *RTX, "--batch", "1,2,4", "--workspace-mb", 300, "--json")
    kept = passport(ran)
    assert kept["flags"][1:3] == ["workspace 300 MB", "shapes x=1x3x8x8..2x3x8x8..4x3x8x8"]
    assert kept["inputs"] == {"x": ["batch", 3, 8, 8]}
    assert kept["shapes"] == [{"name": "x", "smallest": [1, 3, 8, 8], "usual": [2, 3, 8, 8], "largest": [4, 3, 8, 8]}]
    opened = open_file(
        Path(ran.document["engine"]), device_profile("desktop"), runtime=None, precision=None, threads=None
    )
    assert opened.runner.card == CARD  # an engine carries none; evaluation takes its pre-processing from here
    same = ("--shapes", "x=1x3x8x8..2x3x8x8..4x3x8x8", "--workspace-mb", 300, "--json")
    assert run("build", dynamic, *RTX, *same).document["cache"] == "hit"
    for other in (("--batch", "1,4", "--workspace-mb", 300), ("--batch", "1,2,4", "--workspace-mb", 400)):
        assert run("build", dynamic, *RTX, *other, "--json").document["cache"] == "built"
    shown = run("build", dynamic, *RTX, "--batch", "1,2,4", "--workspace-mb", 300)
    assert "x=1x3x8x8..2x3x8x8..4x3x8x8" in shown.out


@pytest.mark.parametrize(
    ("which", "options", "expected"),
    [
        ("dynamic", RTX, (2, "--batch 1,4,8")),
        ("fixed", (*RTX, "--batch", "1,4"), (2, "export the network with --batch dynamic")),
        ("fixed", (*RTX, "--optimization-level", 3), (2, "same engine at every optimization level")),
        ("fixed", (*RTX, "--timing-cache", "t.cache"), (2, "no use for a timing cache")),
        ("fixed", (*RTX, "--dla", 0, "--precision", "fp16"), (3, "desktop has no DLA")),
        ("fixed", ("--device", "desktop", "--optimization-level", 6), (2, "choose 0 to 5")),
        ("fixed", ("--device", "tx2", "--optimization-level", 3), (3, "TensorRT 8.6")),
        ("fixed", ("--device", "tx2", "--dla", 0, "--precision", "fp16"), (3, "tx2 has no DLA")),
        ("fixed", ("--device", "xavier-nx", "--dla", 2, "--precision", "fp16"), (3, "give 0 to 1")),
        ("fixed", ("--workspace-mb", 300, "--batch", 1), (2, "--batch and --workspace-mb would have no effect on cpu")),
        ("fixed", ("--timing-cache", "t.cache"), (2, "would have no effect on cpu")),
    ],
)
def test_what_cannot_be_is_refused(
    run: Run, tmp_path: Path, which: str, options: tuple[object, ...], expected: tuple[int, str]
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx has no wheel for this machine")
    network = tiny_onnx(tmp_path / "net.onnx", batch="1" if which == "fixed" else "N")
    assert_contract_error(run("build", network, *options), *expected)
    assert not Path("t.cache").exists()


def keeping_timings(program: Path) -> None:
    """Have the fake tool write the timing cache that it is given, one byte for each build."""
    real = program.rename(program.with_name("real"))
    program.write_text(
        '#!/bin/sh\nfor a in "$@"; do case "$a" in --timingCacheFile=*) printf "\\\\000" >> "${a#*=}";; esac; done\n'
        f'exec {shlex.quote(str(real))} "$@"\n'
    )
    program.chmod(0o755)


def test_a_board_is_told_everything_and_its_passport_tells_it(
    run: Run, dynamic: Path, fixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeping_timings(board(tmp_path, "orin-agx", "10.3.0", monkeypatch))
    asked = ("--device", "orin-agx", "--precision", "fp16", "--runtime", "trtexec", "--optimization-level", 5)
    ran = run("build", dynamic, *asked, "--batch", "1,4", "--workspace-mb", 512, "--json")
    flags = passport(ran)["flags"]
    wanted = ["--memPoolSize=workspace:488", "--minShapes=x:1x3x8x8", "--optShapes=x:4x3x8x8", "--maxShapes=x:4x3x8x8"]
    assert set(flags) >= {*wanted, "--builderOptimizationLevel=5"}
    assert not any(str(tmp_path) in flag or "espdeploy-build" in flag for flag in flags)
    (own,) = (tmp_path / "cache").glob("timing.orin-agx.*.cache")
    assert flags[-1] == f"timing cache {own.name}, begun"
    assert own.read_bytes() == b"\0"
    assert run("build", dynamic, *asked, "--batch", "1,4", "--workspace-mb", 512, "--json").document["cache"] == "hit"

    on_dla = run("build", fixed, *asked, "--dla", 1, "--json")
    found = passport(on_dla)
    assert set(found["flags"]) >= {"--useDLACore=1", "--allowGPUFallback", f"timing cache {own.name}, found"}
    assert (found["dla_core"], found["dla_share_pct"], found["precision_share_pct"]) == (1, 100, None)
    assert found["card"]["preprocessing"]["channel_order"] == "BGR"
    assert on_dla.document["layers"]["dla_share_pct"] == 100
    assert "100 % of the layers; the others on the GPU" in run("build", fixed, *asked, "--dla", 1).out
    assert own.read_bytes() == b"\0\0"

    mine = ("--timing-cache", "mine.cache", "--json")
    assert passport(run("build", fixed, *asked, *mine))["flags"][-1] == "timing cache mine.cache, begun"
    assert (Path("mine.cache").read_bytes(), own.read_bytes()) == (b"\0", b"\0\0")
    assert_contract_error(run("build", fixed, *asked, "--timing-cache", dynamic), 2, "no timing cache")
    ran = run("build", fixed, *asked, "--timing-cache", "e.bin", "-o", "e.bin")
    assert_contract_error(ran, 2, "is a file of this build already")
    assert_contract_error(run("build", dynamic, *asked, "--batch", "1,4", "--dla", 1), 2, "--shapes x=4x3x8x8")


def test_a_release_says_which_one_has_what_it_lacks(
    run: Run, fixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board(tmp_path, "orin-agx", "8.5.2", monkeypatch)
    asked = ("build", fixed, "--device", "orin-agx", "--runtime", "trtexec", "--precision", "fp16")
    assert_contract_error(run(*asked, "--optimization-level", 3), 3, "came with TensorRT 8.6")
    assert_contract_error(run(*asked, "--compute-capability", "8.9"), 2, "builds for the GPU that it runs on")
    assert run(*asked, "--dla", 0).code == 0


def test_a_graph_of_an_opset_that_the_board_does_not_read_never_reaches_its_builder(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx

    board(tmp_path, "tx2", "8.2.1", monkeypatch)
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[1,3,8,8] x) => (float[1,3,8,8] y) { y = Relu(x) }'
    onnx.save(onnx.parser.parse_model(text), str(tmp_path / "new.onnx"))
    by_name = ("export", "--model", "espnet", "--opset", 17)
    for command in (("build", "new.onnx"), ("export", "--model", "new.onnx", "-o", "old.onnx"), by_name):
        assert_contract_error(run(*command, "--device", "tx2"), 3, "tx2 cannot read opset 17", "--opset 13")
